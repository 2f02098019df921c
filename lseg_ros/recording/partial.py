"""A bag in the making: the frames that are done, so that a run can be stopped at any moment, and shared.

Frames are grouped into segments. Beside OUT lies a folder OUT.part with, for each finished segment, its messages as a
small bag (000012.mcap) and, written last, what was refused (000012.json). Runs and processes know of one another by
these files alone.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin

from lseg_ros.recording.bags import BagError, Message, Recording, Topic, write_bag

FRAMES = 20  # in a segment: what is lost when a run is stopped, seconds of work on a CPU

_MADE_WITH = "made_with.json"


class PartialBag:
    """The finished segments of a bag that is being made."""

    def __init__(self, out: Path, topics: Sequence[Topic], made_with: Mapping[str, Any]) -> None:
        """Begins a bag, or goes on with one.

        Args:
            out: The bag.
            topics: Those that the segments have.
            made_with: All that the messages depend on, as JSON has it, under names that people understand.

        Raises:
            BagError: There are segments that were made with something else.
            OSError: The folder cannot be written.
        """
        self.folder = out.with_name(f"{out.name}.part")
        made_with = json.loads(json.dumps({**made_with, "segment length": FRAMES}))
        # Only OUT itself needs to say how its topics are to be played.
        self._topics = [replace(topic, qos=()) for topic in topics]
        out.parent.mkdir(parents=True, exist_ok=True)
        if not self.folder.exists():
            self._begin(made_with)
        self._check(made_with)

    def _begin(self, made_with: Mapping[str, Any]) -> None:
        # The folder appears with its file in it, so that no other process finds the one without the other.
        new = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        try:
            new.chmod(0o755)
            (new / _MADE_WITH).write_text(json.dumps(made_with, indent=1), encoding="utf-8")
            with suppress(OSError):  # another process was first; whatever else is wrong shows when it is read
                new.rename(self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _check(self, made_with: Mapping[str, Any]) -> None:
        try:
            begun = json.loads((self.folder / _MADE_WITH).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BagError(f"{self.folder} is in the way: it is not what an earlier run has left") from error
        other = [name for name in begun.keys() | made_with.keys() if begun.get(name) != made_with.get(name)]
        if other:
            raise BagError(
                f"{self.folder} was begun with another {' and another '.join(sorted(other))}; "
                "repeat the earlier command to finish it, or remove the folder to start anew"
            )

    def has(self, segment: int) -> bool:
        """Whether a segment is finished."""
        return self._file(segment, ".json").exists()

    def write(self, segment: int, messages: Iterable[Message], refused: Mapping[str, int]) -> None:
        """Finishes a segment.

        Args:
            segment: Its number.
            messages: All of it, in the order of time.
            refused: Why frames were refused, and how many; looked at after the last message.

        Raises:
            OSError: It cannot be written; what was finished before is still there.
        """
        write_bag(self._file(segment, ".mcap"), StoragePlugin.MCAP, self._topics, messages, self.folder)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=self.folder) as temporary:
            note = Path(temporary, "refused.json")
            note.write_text(json.dumps(refused), encoding="utf-8")
            note.replace(self._file(segment, ".json"))

    def messages(self, segments: int) -> Iterator[Message]:
        """The messages of the first `segments` segments."""
        for segment in range(segments):
            with Recording(self._file(segment, ".mcap")) as recording:
                for _, message in recording.messages():
                    yield message

    def refused(self, segments: int) -> Counter[str]:
        """Why frames of the first `segments` segments were refused, and how many."""
        total: Counter[str] = Counter()
        for segment in range(segments):
            total.update(json.loads(self._file(segment, ".json").read_text(encoding="utf-8")))
        return total

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder)

    def _file(self, segment: int, suffix: str) -> Path:
        return self.folder / f"{segment:06d}{suffix}"
