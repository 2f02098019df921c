"""Where the weights of a network lie. Needs no torch."""

import os
from importlib.resources import files
from pathlib import Path

from lseg_ros.files import check_sha256, from_home, user_cache
from lseg_ros.model.variants import HubBackbone, Variant, variant_named

HUB_CONFIG, HUB_WEIGHTS = "config.json", "model.safetensors"  # in a folder as the Hub has it


def weights_path(name_or_path: str | Path) -> Path:
    """Where the weights of a named variant are or should be, or the path itself.

    Raises:
        ValueError: neither a known name nor a path.
        FileNotFoundError: the variant is known and its weights are not where they should be.
    """
    if not is_name(name_or_path):
        path = from_home(name_or_path)
        return path / HUB_WEIGHTS if path.is_dir() else path
    name = str(name_or_path)
    variant = variant_named(name)
    if variant.weights is not None:
        file, pinned = variant.weights
        path = Path(str(files("lseg_ros") / "weights" / file))
        check_sha256(path, pinned)
        return path
    found = next((p for p in user_weights(variant) if os.path.isfile(p)), None)
    if found is None:
        raise FileNotFoundError(
            f"the weights of {name} do not come with this package; put them at {where_expected(variant)}, "
            f"{f'or run: lseg fetch {name}' if is_from_hub(variant) else 'or give the path of a checkpoint'}"
        )
    return found


def is_name(name_or_path: str | Path) -> bool:
    """Whether this names a variant, rather than a file: no suffix, no folder, and no file or model of that name."""
    path = Path(name_or_path)
    return not (path.suffix or len(path.parts) > 1 or path.is_file() or (path / HUB_CONFIG).is_file())


def is_from_hub(variant: Variant) -> bool:
    """Whether its weights are a folder as the Hub has it."""
    return isinstance(variant.backbone, HubBackbone)


def user_weights(variant: Variant) -> list[Path]:
    """Where users put the weights of a variant that comes without, in the order of looking.

    The folder is $LSEG_WEIGHTS, or lseg_ros in the user's cache. Where there is neither, the list is empty.

    Raises:
        ValueError: $LSEG_WEIGHTS begins with ~, and there is no home folder.
    """
    given, cache = os.environ.get("LSEG_WEIGHTS"), user_cache()
    folder = from_home(given) if given else cache / "lseg_ros" if cache else None
    if is_from_hub(variant):
        return [folder / variant.name / HUB_WEIGHTS] if folder else []
    return [folder / f"{variant.name}{suffix}" for suffix in (".safetensors", ".ckpt")] if folder else []


def where_expected(variant: Variant) -> str:
    """The places of `user_weights` in words."""
    places = " or ".join(map(str, user_weights(variant)))
    return places or f"$LSEG_WEIGHTS/{variant.name}.safetensors (there is no home folder; set LSEG_WEIGHTS)"
