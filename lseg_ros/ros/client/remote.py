"""Calls the services of one node."""

from collections.abc import Callable, Sequence
from typing import Any

from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from lseg_ros.inference.labels import LabelSpec
from lseg_ros.inference.lessons import Marks
from lseg_ros.msg import LabelSet
from lseg_ros.ros.client.errors import NotFound, Refused
from lseg_ros.ros.client.newest import Newest
from lseg_ros.ros.client.nodes import PROBE, QUERY, SET_LABELS, TEACH, NodeInfo, find_nodes
from lseg_ros.ros.client.session import Session
from lseg_ros.ros.label_msgs import label_msg
from lseg_ros.ros.teach_msgs import marks_msg
from lseg_ros.srv import GetLabels, Probe, Query, SetLabels, Teach

_NO_MARKS = Marks()
_TOPIC_TIMEOUT = 2.0  # seconds
_ANSWER_TIMEOUT = 60.0  # seconds; the node may first load its model or finish a frame, on a slow computer


class RemoteNode:
    """Calls the services of one node, and waits for the answers.

    All calls raise NotFound if the node is gone, NoAnswer if it does not answer, and Refused with its own sentence if
    it refuses.

    Attributes:
        session: The session whose node calls.
    """

    def __init__(self, session: Session, info: NodeInfo, patience: float = _ANSWER_TIMEOUT) -> None:
        """Prepares the calls.

        Args:
            session: The session whose node calls.
            info: The services and topics of the node.
            patience: Seconds to wait for an answer.
        """
        self.session, self._info, self._patience = session, info, patience

    @property
    def name(self) -> str:
        """The full name of the node."""
        return self._info.name

    def info(self) -> NodeInfo:
        """Returns the services and topics of the node now. Topics come and go with labels and states."""
        for info in find_nodes(self.session):
            if info.name == self.name:
                self._info = info
        return self._info

    def labels(self) -> LabelSet:
        """Returns the labels in force. While the node is unconfigured there are none, with version 0."""
        service = self._info.service("lseg_ros/srv/GetLabels")
        return self.session.call(GetLabels, service, GetLabels.Request(), self._patience, repeat=True).label_set

    def set_labels(self, labels: Sequence[str | LabelSpec], *, force: bool = False) -> Any:
        """Replaces all labels, or none if the node refuses.

        Args:
            labels: Names, or specs as from `read_label_file`, with prompts, ids, thresholds and colors.
            force: Whether ids may move to other labels, and be used again within the quarantine.

        Returns:
            The response of lseg_ros/srv/SetLabels, with the labels now in force and the node's message.
        """
        if all(isinstance(label, str) for label in labels):
            request = SetLabels.Request(labels=list(labels), force=force)
        else:
            specs = [LabelSpec(label) if isinstance(label, str) else label for label in labels]
            request = SetLabels.Request(full=[label_msg(spec) for spec in specs], force=force)
        response = self.session.call(SetLabels, self._info.service(SET_LABELS), request, self._patience)
        return self._accepted(response)

    def enable(self, enabled: bool) -> str:
        """Switches segmentation on or off, and returns the node's message."""
        service = self._info.service("std_srvs/srv/SetBool")
        response = self.session.call(SetBool, service, SetBool.Request(data=enabled), self._patience)
        return str(self._accepted(response).message)

    def query(self, phrases: Sequence[str], *, scores: bool = True, camera: str = "") -> Any:
        """Scores phrases on the last image. The labels do not change.

        Args:
            phrases: The phrases. They do not compete with each other.
            scores: Whether the answer has the score image of each phrase. These are large.
            camera: The camera's name, if the node has several.

        Returns:
            The response of lseg_ros/srv/Query.
        """
        request = Query.Request(phrases=list(phrases), without_scores=not scores)
        service = self._info.service(QUERY, camera)
        return self._accepted(self.session.call(Query, service, request, self._patience, repeat=True))

    def probe(self, u: int, v: int, *, camera: str = "") -> Any:
        """Returns which labels compete at one pixel of the last image. The labels do not change.

        Args:
            u: Column of the pixel in the mask.
            v: Row of the pixel in the mask.
            camera: The camera's name, if the node has several.

        Returns:
            The response of lseg_ros/srv/Probe.
        """
        request = Probe.Request(u=u, v=v)
        service = self._info.service(PROBE, camera)
        return self._accepted(self.session.call(Probe, service, request, self._patience, repeat=True))

    def teach(
        self,
        label: str,
        toward: Marks = _NO_MARKS,
        against: Marks = _NO_MARKS,
        *,
        stamp: tuple[int, int] = (0, 0),
        alone: bool = False,
        forget: bool = False,
        camera: str = "",
    ) -> Any:
        """Teaches a label by marked pixels of an image; without any, the node only keeps the image for later marks.

        Args:
            label: The label's name; it is added if it is new.
            toward: Points and boxes that are of the label, in pixels of the mask.
            against: Points and boxes that are not.
            stamp: Seconds and nanoseconds of the image; 0 for the last one.
            alone: Whether the label is to compete without its words.
            forget: Whether what it was taught before is dropped.
            camera: Its name, where the node has several.

        Returns:
            The response of lseg_ros/srv/Teach. `set_labels` with the labels of its `before` takes the change back.
        """
        request = Teach.Request(label=label, alone=alone, forget=forget)
        request.stamp.sec, request.stamp.nanosec = stamp
        request.toward, request.against = marks_msg(toward), marks_msg(against)
        response = self.session.call(Teach, self._info.service(TEACH, camera), request, self._patience)
        return self._accepted(response)

    def images(self, output: str, *, camera: str = "", on_new: Callable[[], None] | None = None) -> Newest[Image]:
        """Subscribes to an output. Close the result after use.

        Args:
            output: The output, such as overlay, mask or score/door.
            camera: The camera's name, if the node has several.
            on_new: See `Newest`.

        Raises:
            NotFound: The node does not publish it.
        """
        topic = self._topic(output, camera)
        # Score images are latched, so that one that was published before arrives too.
        return Newest(self.session, Image, topic, latched=output.startswith("score/"), on_new=on_new)

    def label_changes(self, on_new: Callable[[], None] | None = None) -> Newest[LabelSet]:
        """Subscribes to the labels in force. The first message is that of the last change.

        Args:
            on_new: See `Newest`.
        """
        return Newest(self.session, LabelSet, self._topic("labels", ""), latched=True, on_new=on_new)

    def _topic(self, output: str, camera: str) -> str:
        """Returns the full name of a topic. It may appear a moment after the services."""

        def look() -> str:
            try:
                return self.info().topic(output, camera)
            except NotFound:
                return ""

        return self.session.until(look, _TOPIC_TIMEOUT) or self._info.topic(output, camera)

    @staticmethod
    def _accepted(response: Any) -> Any:
        if not response.success:
            raise Refused(response.message)
        return response
