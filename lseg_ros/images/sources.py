"""Finds the photos and videos that a user named as input."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lseg_ros.files import from_home
from lseg_ros.images.photos import SourceError, is_heic

PHOTOS = {
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
_SHOWN = 4  # most suffixes that a sentence about left-out files names

# Offset and bytes by which files with an unknown suffix, or without one, are recognized.
_PHOTO_STARTS = (
    *((0, start) for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")),
    *((4, start) for start in (b"ftypavif", b"ftypavis", b"jP  ")),
    (8, b"WEBP"),
)
_VIDEO_STARTS = (
    *((0, start) for start in (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"OggS", b"FLV\x01", b"0&\xb2u")),
    *((4, start) for start in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
    (8, b"AVI "),
)


def expand(sources: Sequence[str], say: Callable[[str], object]) -> list[Path]:
    """Lists input files. A folder stands for its photos, sorted by name.

    Args:
        sources: Photos, folders of photos and videos. Empty texts are ignored.
        say: Called with a sentence about what is left out of a folder.

    Raises:
        SourceError: A path does not exist, a folder holds no photos, or there are no sources.
    """
    files: list[Path] = []
    for source in filter(None, sources):
        try:
            path = from_home(source)
        except ValueError as error:
            raise SourceError(str(error)) from error
        if path.is_dir():
            files += photos_in(path, say)
        elif path.exists():
            files.append(path)
        else:
            raise SourceError(f"{path} does not exist")
    if not files:
        raise SourceError("nothing to play, set sources to photos, folders of photos or videos")
    return files


def is_video(path: Path) -> bool:
    """Returns whether a file is a video, by its suffix, or by its first bytes if the suffix is unknown."""
    return _kind(path) == "video"


def photos_in(folder: Path, say: Callable[[str], object]) -> list[Path]:
    """Lists the photos of a folder, sorted by name.

    Args:
        folder: An existing folder.
        say: Called with a sentence about what is left out.

    Raises:
        SourceError: It holds no photos.
    """
    photos: list[Path] = []
    left_out: Counter[str] = Counter()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # hidden files belong to systems and programs
            continue
        if path.is_dir():
            left_out["folders"] += 1
        elif _kind(path) == "photo":
            photos.append(path)
        else:
            left_out[path.suffix.lower() or "without suffix"] += 1
    sentence = _left_out(folder, left_out)
    if not photos:
        what = f"; {sentence}" if sentence else f" ({', '.join(sorted(PHOTOS))})"
        raise SourceError(f"folder {folder} holds no photos{what}")
    if sentence:
        say(sentence)
    return photos


def _left_out(folder: Path, left_out: "Counter[str]") -> str:
    folders = left_out.pop("folders", 0)
    parts = []
    if left_out:
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in left_out.most_common(_SHOWN))
        kinds += ", ..." if len(left_out) > _SHOWN else ""
        count = left_out.total()
        what = "1 file is no photo" if count == 1 else f"{count} files are no photos"
        parts.append(f"{what} that can be read here ({kinds})")
    if folders:
        parts.append(f"{folders} folder{'s are' if folders > 1 else ' is'} not looked into")
    return f"in {folder} {' and '.join(parts)}; left out" if parts else ""


def _kind(path: Path) -> str:
    """Returns "photo", "video", "heic" or "unknown"."""
    suffix = path.suffix.lower()
    if suffix in PHOTOS | VIDEOS:
        return "photo" if suffix in PHOTOS else "video"
    try:
        with path.open("rb") as file:
            first = file.read(16)
    except OSError:
        return "unknown"
    if is_heic(first):
        return "heic"
    for kind, starts in (("photo", _PHOTO_STARTS), ("video", _VIDEO_STARTS)):
        if any(first[at : at + len(start)] == start for at, start in starts):
            return kind
    return "unknown"
