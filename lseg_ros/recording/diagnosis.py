"""Explains why a recording cannot be read: it was cut short, it is damaged, or it is of another kind."""

from pathlib import Path

import yaml

from lseg_ros.recording.mcap_files import MAGIC, McapError, profile

_ROS1 = b"#ROSBAG"
_SQLITE = b"SQLite format 3\0"


def explain(path: Path, error: Exception) -> str:
    """Returns one sentence about an exception of the library for bags.

    Args:
        path: The recording, a file or a folder.
        error: The library's exception. Most faults share one class and have no code.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or path} cannot be read: {error.strerror}"
    files, missing = _files(path)
    if missing:
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{missing[0]}, which {path / 'metadata.yaml'} names, is missing{others}; put it there again"
    for file in files:
        if sentence := _other_kind(file) or _cut_short(file):
            return sentence
    text = " ".join(str(error).split()).rstrip(".")
    if "upported" in text:  # "unsupported" or "not supported": a message format, a compression, a version
        return f"{path} cannot be read here: {text}"
    if "timestamp order" in text:
        return f"{path} has messages that are not in the order of time and no index; `mcap sort` makes a copy that has"
    return f"{path} is damaged ({text}){_advice(files)}"


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Returns the files of a recording that exist, and those that are missing."""
    if not path.is_dir():
        return [path], []
    try:
        facts = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        named = [path / Path(str(name)).name for name in facts["relative_file_paths"]]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return [], []
    return [file for file in named if file.is_file()], [file for file in named if not file.is_file()]


def _other_kind(file: Path) -> str:
    """Returns a sentence about a complete file that is no recording of ROS 2, or an empty text."""
    with file.open("rb") as opened:
        first = opened.read(len(_SQLITE))
    if not first:
        return f"{file} is empty"
    if first.startswith(_ROS1):
        return f"{file} is a ROS 1 recording; convert it with `rosbags-convert`"
    is_mcap, is_sqlite = first.startswith(MAGIC), first == _SQLITE
    if file.suffix == ".mcap" and is_sqlite:
        return f"{file} is an SQLite file, whatever its name says; call it {file.with_suffix('.db3').name}"
    if file.suffix == ".db3" and is_mcap:
        return f"{file} is an MCAP file, whatever its name says; call it {file.with_suffix('.mcap').name}"
    if not is_mcap:
        return ""
    try:
        name = profile(file)
    except McapError:
        return ""
    if name == "ros1":
        return f"{file} is a ROS 1 recording; convert it with `rosbags-convert`"
    return "" if name == "ros2" else f"{file} is an MCAP file of the profile {name!r}; only those of ROS 2 are read"


def _cut_short(file: Path) -> str:
    if file.suffix != ".mcap":
        return ""
    try:
        profile(file)
    except McapError as error:
        return f"{file} is damaged or was cut short (it {error}){_advice([file])}"
    return ""


def _advice(files: list[Path]) -> str:
    return "; `mcap recover` may save what it holds" if any(file.suffix == ".mcap" for file in files) else ""
