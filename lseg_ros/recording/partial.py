"""An unfinished bag. It keeps finished frames, so that a run can be stopped at any moment, and split among processes.

Frames are grouped into segments. A folder OUT.part beside OUT holds, for each finished segment, its messages as a small
bag (000012.mcap) and, written last, the refused frames (000012.json). Runs and processes share nothing but these files.
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

FRAMES = 20  # frames in a segment; this much is lost when a run is stopped, seconds of work on a CPU

_MADE_WITH = "made_with.json"


class PartialBag:
    """The finished segments of an unfinished bag.

    Attributes:
        folder: The folder OUT.part.
    """

    def __init__(self, out: Path, topics: Sequence[Topic], made_with: Mapping[str, Any]) -> None:
        """Starts a bag, or continues one.

        Args:
            out: The bag.
            topics: The topics of the segments.
            made_with: All that the messages depend on, as JSON values, under names that people understand.

        Raises:
            BagError: There are segments that were made with other values.
            OSError: The folder cannot be written.
        """
        self.folder = out.with_name(f"{out.name}.part")
        made_with = json.loads(json.dumps({**made_with, "segment length": FRAMES}))
        # Only the finished bag needs the QoS of its topics.
        self._topics = [replace(topic, qos=()) for topic in topics]
        out.parent.mkdir(parents=True, exist_ok=True)
        if not self.folder.exists():
            self._begin(made_with)
        self._check(made_with)

    def _begin(self, made_with: Mapping[str, Any]) -> None:
        # The folder appears with its file in it, so that no other process sees one without the other.
        new = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        try:
            new.chmod(0o755)
            (new / _MADE_WITH).write_text(json.dumps(made_with, indent=1), encoding="utf-8")
            with suppress(OSError):  # another process was faster; any other error shows when the file is read
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
        """Returns whether a segment is finished."""
        return self._file(segment, ".json").exists()

    def write(self, segment: int, messages: Iterable[Message], refused: Mapping[str, int]) -> None:
        """Finishes a segment.

        Args:
            segment: Its number.
            messages: All its messages, in the order of time.
            refused: Reasons for refusing frames, and the number of frames. It is read after the last message.

        Raises:
            OSError: The segment cannot be written. Earlier segments are kept.
        """
        write_bag(self._file(segment, ".mcap"), StoragePlugin.MCAP, self._topics, messages, self.folder)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=self.folder) as temporary:
            note = Path(temporary, "refused.json")
            note.write_text(json.dumps(refused), encoding="utf-8")
            note.replace(self._file(segment, ".json"))

    def messages(self, segments: int) -> Iterator[Message]:
        """Yields the messages of the first `segments` segments."""
        for segment in range(segments):
            with Recording(self._file(segment, ".mcap")) as recording:
                for _, message in recording.messages():
                    yield message

    def refused(self, segments: int) -> Counter[str]:
        """Returns reasons for refusing frames of the first `segments` segments, and the number of frames."""
        total: Counter[str] = Counter()
        for segment in range(segments):
            total.update(json.loads(self._file(segment, ".json").read_text(encoding="utf-8")))
        return total

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder)

    def _file(self, segment: int, suffix: str) -> Path:
        return self.folder / f"{segment:06d}{suffix}"
