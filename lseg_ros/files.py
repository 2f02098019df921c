"""Resolves paths that users give, and writes files that appear only when they are complete. Standard library only."""

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".part-"  # prefix of the names of unfinished files


def from_home(path: str | Path) -> Path:
    """Replaces ~ at the beginning of a path by the user's home folder. A name such as ~draft.png stays as it is.

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
        return Path(path)  # a name such as ~draft.png, which is no user's


def user_cache() -> Path | None:
    """Returns the user's cache folder: $XDG_CACHE_HOME, or .cache in the home folder; None if there is neither."""
    try:
        return from_home(os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache"))
    except ValueError:
        return None


def temporary_cache() -> Path:
    """Returns a folder of this user among the temporary files. It is the same in each process and may not exist.

    Raises:
        OSError: The system has no folder for temporary files.
    """
    return Path(tempfile.gettempdir(), f"lseg_ros-{os.getuid()}")


def is_private(folder: Path) -> bool:
    """Returns whether a folder exists, belongs to this user, and cannot be written by other users."""
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022


def sha256(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal digits. The file is read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, pinned: str) -> None:
    """Checks a file's SHA-256.

    Args:
        path: The file.
        pinned: The expected SHA-256 in hexadecimal digits.

    Raises:
        ValueError: The SHA-256 is another one.
        FileNotFoundError: The file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install the package that contains it again")
    actual = sha256(path)
    if actual != pinned:
        raise ValueError(
            f"{path} is damaged or not the published file: its SHA-256 is {actual}, expected {pinned}; install it again"
        )


def remove_leftovers(folder: Path, older_than: float = 0) -> None:
    """Removes unfinished files of `replacing`, left by processes that were killed.

    Args:
        folder: The folder of the files.
        older_than: Age in seconds from which a file is removed.
    """
    for left in folder.glob(f"{_PART}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime >= older_than:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a free name. What is there at the end replaces `path`, or is removed if something fails.

    Args:
        path: The file or folder to replace. It need not exist.

    Raises:
        OSError: It cannot be written. The error names `path`.
    """
    parent = path.parent.absolute()
    temporary = str(parent / _PART)  # the beginning of its name, for errors before it exists
    try:
        # In a folder of its own no other file is in the way, and new files get the usual permissions.
        with tempfile.TemporaryDirectory(prefix=_PART, dir=parent) as temporary:
            part = Path(temporary, path.name)
            yield part
            part.replace(path)
    except OSError as error:
        # The error names `path`, because people do not know the temporary name. Errors while writing, such as a full
        # disk, name no file at all.
        if error.strerror and (error.filename is None or str(error.filename).startswith(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
