"""Paths that users give, and files that appear only when they are whole. For every room; standard library only."""

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part-"  # the names of unfinished files begin with this


def from_home(path: str | Path) -> Path:
    """The path, with the user's home folder for a ~ at its beginning; a name such as ~draft.png is a name.

    Raises:
        ValueError: The path begins with ~/ and this process has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        if Path(path).parts[0] == "~":
            raise ValueError(
                f"{path} is in the home folder, and this process has none; set HOME, or give the whole path"
            ) from None
        return Path(path)  # there is no such user


def user_cache() -> Path | None:
    """The user's cache folder: $XDG_CACHE_HOME, or .cache in the home folder; None where there is neither."""
    try:
        return from_home(os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache"))
    except ValueError:
        return None


def temporary_cache() -> Path:
    """A folder of this user among the system's temporary files, of the same name in each process; it may not be there.

    Raises:
        OSError: The system has no folder for temporary files.
    """
    return Path(tempfile.gettempdir(), f"lseg_ros-{os.getuid()}")


def is_private(folder: Path) -> bool:
    """Whether a folder is there, is this user's, and no other user can write to it."""
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits; a large file is not read into memory at once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, pinned: str) -> None:
    """Raises ValueError where the file's SHA-256 is not `pinned`, FileNotFoundError where there is no file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install the package that carries it again")
    found = sha256(path)
    if found != pinned:
        raise ValueError(
            f"{path} is damaged or not the published file: its SHA-256 is {found}, expected {pinned}; install it again"
        )


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
