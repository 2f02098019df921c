"""The folder in which backends keep files between starts."""

import logging
import os
from contextlib import suppress
from errno import EACCES, ENOENT
from pathlib import Path

from lseg_ros.files import is_private, temporary_cache, user_cache

logger = logging.getLogger(__name__)

_logged: set[str] = set()  # warnings that were logged, because each is logged once


def stored(name: str) -> Path | None:
    """Returns the path of a stored file, or None if there is none. The folder need not be writable."""
    places = [_users_folder()]
    with suppress(OSError):
        if is_private(temporary_cache()):
            places.append(temporary_cache())
    return next((place / name for place in places if place and os.path.isfile(place / name)), None)


def cache_folder() -> Path:
    """Returns the folder for new files: in the user's cache, or a temporary folder if the cache cannot be written.

    Raises:
        OSError: Neither folder can be written.
    """
    folder = _users_folder()
    try:
        if folder is None:
            raise OSError(ENOENT, "there is no home folder")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(EACCES, "it is not permitted or read-only")
    except OSError as error:
        return _instead(folder, str(error.strerror).lower())
    return folder


def _instead(folder: Path | None, reason: str) -> Path:
    temporary = temporary_cache()
    temporary.mkdir(mode=0o700, exist_ok=True)
    if not is_private(temporary):
        raise OSError(EACCES, "somebody else can write to it", str(temporary))
    where = "no folder can be used as cache" if folder is None else f"the cache {folder} cannot be written"
    sentence = (
        f"{where} ({reason}); files of backends are kept in {temporary}; when the system has cleared it, making them "
        f"again takes seconds; set {'HOME or ' if folder is None else ''}XDG_CACHE_HOME to a folder that can be "
        "written"
    )
    if sentence not in _logged:
        _logged.add(sentence)
        logger.warning("%s", sentence)
    return temporary


def _users_folder() -> Path | None:
    cache = user_cache()
    return cache / "lseg_ros" / "backends" if cache else None
