"""The precision of TensorRT's engines. An engine may have another precision than the requested one."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# How TensorRT spells the types of layers. The first match counts.
_TYPES = {
    "bfloat16": ("bf16", "bfloat16"),
    "float16": ("fp16", "half", "float16"),
    "int8": ("int8",),
    "float32": ("fp32", "float"),
}


def say_precision(folder: Path, requested: str) -> None:
    """Logs the types of the layers in a folder's engines, as a warning if fewer than half have the requested one.

    Args:
        folder: The folder with `*.engine` files.
        requested: The requested precision.
    """
    counts = engine_types(folder)
    if counts is None:
        logger.info("the precision of TensorRT's engines is unknown: the Python package tensorrt is not installed")
    elif not counts:
        logger.info("the precision of TensorRT's engines is unknown: they were built without this information")
    else:
        text = ", ".join(f"{count} in {name}" for name, count in counts.most_common())
        wanted = "float32" if requested == "tf32" else requested
        level = logging.INFO if counts[wanted] >= sum(counts.values()) / 2 else logging.WARNING
        logger.log(level, "TensorRT was asked for %s; of its engine's layers there are %s", requested, text)


def engine_types(folder: Path) -> Counter[str] | None:
    """Counts the layers of a folder's engines by type; None if TensorRT's Python package is not installed."""
    try:
        import tensorrt  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    counts: Counter[str] = Counter()
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    for path in folder.glob("*.engine"):
        engine: Any = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is not None:
            inspector = engine.create_engine_inspector()
            counts += layer_types(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))
    return counts


def layer_types(information: str) -> Counter[str]:
    """Counts layers by type.

    Args:
        information: The JSON of TensorRT's inspector. Layers without a type do not count.

    Returns:
        Number of layers by type, as in {"float16": 12}.
    """
    counts: Counter[str] = Counter()
    for layer in json.loads(information).get("Layers", []):
        outputs = layer.get("Outputs", []) if isinstance(layer, dict) else []
        for output in outputs[:1]:
            text = str(output.get("Format/Datatype", "")).lower()
            name = next((name for name, signs in _TYPES.items() if any(sign in text for sign in signs)), None)
            if name is not None:
                counts[name] += 1
    return counts
