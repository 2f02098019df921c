"""Segments a recording frame by frame into a `PartialBag`, with the topics that the node would publish."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin

from lseg_ros.images.messages import ImageError
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.recording.bags import BagError, Extras, Message, Recording, Topic, storage_for, write_bag
from lseg_ros.recording.messages import (
    FRAME_INFO,
    IMAGE,
    LABEL_INFO,
    LABEL_SET,
    camera_names,
    frame_messages,
    label_messages,
    read_image,
    typestore,
)
from lseg_ros.recording.partial import FRAMES, PartialBag

_NODE = "/lseg"  # the node's name, below which it publishes
_FOREVER = QosTime(9223372036, 854775807)


def _qos(depth: int, durability: QosDurability) -> Qos:
    reliable, automatic = QosReliability.RELIABLE, QosLiveliness.AUTOMATIC
    return Qos(QosHistory.KEEP_LAST, depth, reliable, durability, _FOREVER, _FOREVER, automatic, _FOREVER, False)


# The QoS profiles of the node's publishers.
_STREAM = _qos(5, QosDurability.VOLATILE)
_LATCHED = _qos(1, QosDurability.TRANSIENT_LOCAL)


class OutputTopics:
    """The topics that are written for some image topics.

    Attributes:
        wanted: Names of `messages.OUTPUTS`.
        labels: Topics of the label messages, by name.
        frames: Output topics by image topic and by name of the output.
    """

    def __init__(self, images: Sequence[str], outputs: Sequence[str]) -> None:
        """Names the topics.

        Args:
            images: Image topics.
            outputs: Names of `messages.OUTPUTS`.
        """
        self.wanted = outputs
        self.labels = {name: f"{_NODE}/{name}" for name in ("label_info", "labels")}
        self.frames: dict[str, dict[str, str]] = {}
        """Output topics by image topic and by name of the output."""
        for image, camera in camera_names(images).items():
            prefix = f"{_NODE}/{camera}" if camera else _NODE
            self.frames[image] = {name: f"{prefix}/{name}" for name in ("frame_info", *outputs)}

    def topics(self) -> list[Topic]:
        """Returns all topics."""
        info, labels = self.labels.values()
        topics = [_topic(info, LABEL_INFO, _LATCHED), _topic(labels, LABEL_SET, _LATCHED)]
        for names in self.frames.values():
            topics += [_topic(topic, FRAME_INFO if name == "frame_info" else IMAGE) for name, topic in names.items()]
        return topics


def _topic(name: str, kind: str, qos: Qos = _STREAM) -> Topic:
    definition = typestore().generate_msgdef(kind, ros_version=2)[0]
    return Topic(name, kind, definition, typestore().hash_rihs01(kind), (qos,))


@dataclass(frozen=True)
class Job:
    """The segmentation of a recording's image topics.

    Attributes:
        recording: The recording.
        connections: The connections of the image topics.
        outputs: The topics to write.
        partial: Where finished segments are kept.
        segmenter: Segments the images.
    """

    recording: Recording
    connections: Sequence[Connection]
    outputs: OutputTopics
    partial: PartialBag
    segmenter: SegmenterLike

    def work(self, rank: int, size: int, progress: Callable[[], object]) -> int:
        """Finishes the segments of one process that are not finished yet.

        Args:
            rank: Number of this process, from 0.
            size: Number of processes.
            progress: Called after each frame.

        Returns:
            The number of frames in all segments of all processes.

        Raises:
            BagError: The recording is damaged.
            OSError: A segment cannot be written.
        """
        numbers = count()
        numbered = zip(self.recording.messages(self.connections), numbers, strict=False)
        for segment, frames in groupby(numbered, key=lambda item: item[1] // FRAMES):
            if segment % size == rank and not self.partial.has(segment):
                refused: Counter[str] = Counter()
                self.partial.write(segment, self._messages(frames, refused, progress), refused)
        return next(numbers)

    def _messages(
        self,
        frames: Iterable[tuple[tuple[Connection, Message], int]],
        refused: Counter[str],
        progress: Callable[[], object],
    ) -> Iterator[Message]:
        for (connection, image), number in frames:
            if number == 0:
                labels = label_messages(self.segmenter.labels, self.segmenter.threshold, image.time)
                for name, data in labels.items():
                    yield Message(self.outputs.labels[name], image.time, data)
            try:
                header, rgb = read_image(image.data, connection.msgtype)
            except ImageError as error:
                refused[f"{image.topic}: {error}"] += 1
            else:
                result = self.segmenter.score(self.segmenter.embed(rgb))
                topics = self.outputs.frames[image.topic]
                for name, data in frame_messages(header, rgb, result, self.outputs.wanted).items():
                    yield Message(topics[name], image.time, data)
            progress()


def segment_sizes(frames: int) -> list[int]:
    """Returns the number of frames in each segment of a recording."""
    return [min(FRAMES, frames - start) for start in range(0, frames, FRAMES)]


@dataclass(frozen=True)
class Copied:
    """What is copied from a recording into the new one.

    Attributes:
        topics: All topics that can be copied, by name.
        foreign: Encodings of the topics that cannot be copied, by name.
        extras: Attachments, metadata and custom data.
    """

    topics: Mapping[str, Topic]
    foreign: Mapping[str, str]
    extras: Extras


def what_is_copied(recording: Recording, outputs: OutputTopics) -> Copied:
    """Lists the contents of a recording that can be copied.

    Args:
        recording: The recording.
        outputs: The topics that are written.

    Raises:
        BagError: A topic has the name of an output, or no definition; or the recording is damaged.
    """
    topics = recording.topics()
    for topic in outputs.topics():
        if topic.name in topics:
            raise BagError(f"{recording.path} has {topic.name} already, which would be mixed; leave out --copy")
    return Copied(topics, recording.foreign, recording.extras())


def join(job: Job, frames: int, out: Path, copied: Copied | None) -> list[str]:
    """Writes the bag from the finished segments and what is copied from the recording.

    Args:
        job: The finished job.
        frames: The number of frames.
        out: The bag to write.
        copied: What is copied; None for nothing.

    Returns:
        A sentence for each kind of thing that cannot be copied.

    Raises:
        OSError: The bag cannot be written.
        BagError: The recording, or a segment, is damaged.
    """
    messages = job.partial.messages(len(segment_sizes(frames)))
    copied, with_copies = copied or Copied({}, {}, Extras()), copied is not None
    if with_copies:
        recorded = (message for _, message in job.recording.messages())
        messages = heapq.merge(recorded, messages, key=lambda message: message.time)
    topics = [*copied.topics.values(), *job.outputs.topics()]
    storage = storage_for(out, job.recording.storage)
    write_bag(out, storage, topics, messages, job.partial.folder, copied.extras)
    job.partial.remove()
    return _left_out(copied, storage)


def _left_out(copied: Copied, storage: StoragePlugin) -> list[str]:
    sentences = []
    if copied.foreign:
        topics = ", ".join(f"{topic} ({encoding})" for topic, encoding in sorted(copied.foreign.items()))
        sentences.append(f"not copied, because only messages of ROS 2 are: {topics}")
    if copied.extras.records and storage != StoragePlugin.MCAP:
        names = ", ".join(f"{extra.kind} {extra.name}" for extra in copied.extras.records)
        sentences.append(f"not copied, because only MCAP files have a place for it: {names}")
    return sentences
