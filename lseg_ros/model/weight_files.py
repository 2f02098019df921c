"""Finds the files with a network's weights. Needs no torch."""

import os
from importlib.resources import files
from pathlib import Path

from lseg_ros.files import check_sha256, from_home, user_cache
from lseg_ros.model.variants import HubBackbone, Variant, variant_named

HUB_CONFIG, HUB_WEIGHTS = "config.json", "model.safetensors"  # files in a folder in the Hub's layout


def weights_path(name_or_path: str | Path) -> Path:
    """Returns the path of the weights of a named variant, or a given path.

    Args:
        name_or_path: A variant's name, or a file or folder.

    Raises:
        ValueError: It is neither a known name nor a path, or the packaged weights are damaged.
        FileNotFoundError: The variant is known and its weights are missing.
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
    existing = next((p for p in user_weights(variant) if os.path.isfile(p)), None)
    if existing is None:
        raise FileNotFoundError(
            f"the weights of {name} do not come with this package; put them at {where_expected(variant)}, "
            f"{f'or run: lseg fetch {name}' if is_from_hub(variant) else 'or give the path of a checkpoint'}"
        )
    return existing


def is_name(name_or_path: str | Path) -> bool:
    """Returns whether this is the name of a variant: no suffix, no folder, and no file or model of that name exists."""
    path = Path(name_or_path)
    return not (path.suffix or len(path.parts) > 1 or path.is_file() or (path / HUB_CONFIG).is_file())


def is_hub_file(path: Path) -> bool:
    """Returns whether a file contains the weights in a folder with the Hub's layout."""
    return path.name == HUB_WEIGHTS and path.with_name(HUB_CONFIG).is_file()


def is_from_hub(variant: Variant) -> bool:
    """Returns whether a variant's weights are a folder in the Hub's layout."""
    return isinstance(variant.backbone, HubBackbone)


def user_weights(variant: Variant) -> list[Path]:
    """Returns the paths at which users may put the weights of a variant, in the order of the search.

    The folder is $LSEG_WEIGHTS, or lseg_ros in the user's cache. If there is neither, the list is empty.

    Raises:
        ValueError: $LSEG_WEIGHTS begins with ~, and there is no home folder.
    """
    given, cache = os.environ.get("LSEG_WEIGHTS"), user_cache()
    folder = from_home(given) if given else cache / "lseg_ros" if cache else None
    if is_from_hub(variant):
        return [folder / variant.name / HUB_WEIGHTS] if folder else []
    return [folder / f"{variant.name}{suffix}" for suffix in (".safetensors", ".ckpt")] if folder else []


def where_expected(variant: Variant) -> str:
    """Returns the paths of `user_weights` as text."""
    places = " or ".join(map(str, user_weights(variant)))
    return places or f"$LSEG_WEIGHTS/{variant.name}.safetensors (there is no home folder; set LSEG_WEIGHTS)"
