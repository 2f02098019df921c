"""One node of this package, and what can be asked of it."""

from collections.abc import Callable, Sequence
from typing import Any

from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from lseg_ros.inference.labels import LabelSpec
from lseg_ros.msg import LabelSet
from lseg_ros.ros.client.errors import NotFound, Refused
from lseg_ros.ros.client.newest import Newest
from lseg_ros.ros.client.nodes import PROBE, QUERY, SET_LABELS, NodeInfo, find_nodes
from lseg_ros.ros.client.session import Session
from lseg_ros.ros.label_msgs import label_msg
from lseg_ros.srv import GetLabels, Probe, Query, SetLabels

_TOPIC_TIMEOUT = 2.0  # seconds
_ANSWER_TIMEOUT = 60.0  # a model that is loaded and a frame in flight come first, and a small computer is slow


class RemoteNode:
    """A node of this package, called through its services. All calls wait for the answer.

    They raise NotFound where the node is not there, NoAnswer where it does not answer, and Refused with its own
    sentence where it says no.
    """

    def __init__(self, session: Session, info: NodeInfo, patience: float = _ANSWER_TIMEOUT) -> None:
        """Asks nothing yet.

        Args:
            session: Whose node asks.
            info: What was found.
            patience: Seconds to wait for an answer.
        """
        self.session, self._info, self._patience = session, info, patience

    @property
    def name(self) -> str:
        """Its full name."""
        return self._info.name

    def info(self) -> NodeInfo:
        """What it offers now: topics come and go with labels and states."""
        for info in find_nodes(self.session):
            if info.name == self.name:
                self._info = info
        return self._info

    def labels(self) -> LabelSet:
        """The labels in force; none, with version 0, while it is unconfigured."""
        service = self._info.service("lseg_ros/srv/GetLabels")
        return self.session.call(GetLabels, service, GetLabels.Request(), self._patience, repeat=True).label_set

    def set_labels(self, labels: Sequence[str | LabelSpec], *, force: bool = False) -> Any:
        """Replaces the labels, all or nothing.

        Args:
            labels: Names; or specs, as of `read_label_file`, with prompts, ids, thresholds and colors.
            force: Accept ids that move a label or were retired a moment ago.

        Returns:
            The response of lseg_ros/srv/SetLabels, with the labels now in force and the node's own words.
        """
        if all(isinstance(label, str) for label in labels):
            request = SetLabels.Request(labels=list(labels), force=force)
        else:
            specs = [LabelSpec(label) if isinstance(label, str) else label for label in labels]
            request = SetLabels.Request(full=[label_msg(spec) for spec in specs], force=force)
        response = self.session.call(SetLabels, self._info.service(SET_LABELS), request, self._patience)
        return self._accepted(response)

    def enable(self, enabled: bool) -> str:
        """Makes it take images, or take no more; returns its own words."""
        service = self._info.service("std_srvs/srv/SetBool")
        response = self.session.call(SetBool, service, SetBool.Request(data=enabled), self._patience)
        return str(self._accepted(response).message)

    def query(self, phrases: Sequence[str], *, scores: bool = True, camera: str = "") -> Any:
        """Finds phrases in the last image; the labels stay as they are.

        Args:
            phrases: What to look for, each alone.
            scores: Whether the answer has the score image of each phrase, which are large.
            camera: Its name, where the node has several.

        Returns:
            The response of lseg_ros/srv/Query.
        """
        request = Query.Request(phrases=list(phrases), without_scores=not scores)
        service = self._info.service(QUERY, camera)
        return self._accepted(self.session.call(Query, service, request, self._patience, repeat=True))

    def probe(self, u: int, v: int, *, camera: str = "") -> Any:
        """Shows which labels compete at one pixel of the last image; the labels stay as they are.

        Args:
            u: Column of the pixel in the mask.
            v: Row of the pixel in the mask.
            camera: Its name, where the node has several.

        Returns:
            The response of lseg_ros/srv/Probe.
        """
        request = Probe.Request(u=u, v=v)
        service = self._info.service(PROBE, camera)
        return self._accepted(self.session.call(Probe, service, request, self._patience, repeat=True))

    def images(self, output: str, *, camera: str = "", on_new: Callable[[], None] | None = None) -> Newest[Image]:
        """Subscribes to an output, such as overlay, mask or score/door; close what it returns.

        Args:
            output: The topic's name below the node's.
            camera: Its name, where the node has several.
            on_new: See `Newest`.

        Raises:
            NotFound: The node does not publish that.
        """
        topic = self._topic(output, camera)
        # Score images are latched: one that was published before is of use.
        return Newest(self.session, Image, topic, latched=output.startswith("score/"), on_new=on_new)

    def label_changes(self, on_new: Callable[[], None] | None = None) -> Newest[LabelSet]:
        """Subscribes to the labels in force; the first message is that of the last change."""
        return Newest(self.session, LabelSet, self._topic("labels", ""), latched=True, on_new=on_new)

    def _topic(self, output: str, camera: str) -> str:
        """The full name of a topic, which may take a moment to be seen even where the services have been."""

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
