"""Where the weights of a network lie. Needs no torch."""

import os
from importlib.resources import files
from pathlib import Path

from lseg_ros.files import check_sha256, from_home
from lseg_ros.model.variants import Variant, variant_named


def weights_path(name_or_path: str | Path) -> Path:
    """Where the weights of a named variant are or should be, or the path itself.

    Raises:
        ValueError: neither a known name nor a path.
        FileNotFoundError: the variant is known and its weights are not where they should be.
    """
    if not is_name(name_or_path):
        return from_home(name_or_path)
    name = str(name_or_path)
    variant = variant_named(name)
    if variant.weights is not None:
        file, pinned = variant.weights
        path = Path(str(files("lseg_ros") / "weights" / file))
        check_sha256(path, pinned)
        return path
    expected = user_weights(variant)
    found = next((p for p in expected if p.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the weights of {name} do not come with this package; put them at {' or '.join(map(str, expected))}, "
            "or give the path of a checkpoint"
        )
    return found


def is_name(name_or_path: str | Path) -> bool:
    """Whether this names a variant, rather than a file: no suffix, no folder, and no file of that name."""
    path = Path(name_or_path)
    return not (path.suffix or len(path.parts) > 1 or path.is_file())


def user_weights(variant: Variant) -> list[Path]:
    """Where users put the weights of a variant that comes without, in the order of looking.

    The folder is $LSEG_WEIGHTS, or lseg_ros in the user's cache.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = from_home(os.environ.get("LSEG_WEIGHTS") or cache / "lseg_ros")
    return [folder / f"{variant.name}{suffix}" for suffix in (".safetensors", ".ckpt")]
