"""Where weights lie, and how files are written whole. Needs no torch."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from lseg_ros.model.variants import Variant, variant_named

_PART = ".part-"  # how the names of what is not whole yet begin


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


def check_sha256(path: Path, pinned: str) -> None:
    """Raises ValueError where the file's SHA-256 is not `pinned`, FileNotFoundError where there is no file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install the package that carries it again")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != pinned:
        raise ValueError(
            f"{path} is damaged or not the published file: its SHA-256 is {found}, expected {pinned}; install it again"
        )


def from_home(path: str | Path) -> Path:
    """The path, with the user's home folder for a ~ at its beginning; a name such as ~draft.png is a name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def remove_leftovers(folder: Path, older_than: float = 0) -> None:
    """Removes what `replacing` had begun to write there more than `older_than` seconds ago, by processes killed."""
    for left in folder.glob(f"{_PART}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime >= older_than:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A free name for a file or folder; what is there at the end becomes `path`, and is removed if something fails."""
    parent = path.parent.absolute()
    temporary = str(parent / _PART)  # how its name begins, until there is one
    try:
        # A folder of its own: nobody else's file is in the way, and what is made in it gets the usual permissions.
        with tempfile.TemporaryDirectory(prefix=_PART, dir=parent) as temporary:
            part = Path(temporary, path.name)
            yield part
            part.replace(path)
    except OSError as error:
        # People know the name they asked for. Errors while writing, such as a full disk, name no file at all.
        if error.strerror and (error.filename is None or str(error.filename).startswith(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
