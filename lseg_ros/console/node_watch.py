"""Watches the labels and the status of one node."""

from collections.abc import Callable
from typing import Any

from lseg_ros.console.labels import label_set_json
from lseg_ros.ros.client import Newest, NodeInfo, NotFound, RemoteNode, Session, StatusWatch

_KEPT = 8  # number of label sets that are kept, for frames with an earlier one


class NodeWatch:
    """Subscribes to a node's labels and diagnostics.

    `update` and `close` must not run at the same time. Any thread may call the other methods.

    Attributes:
        node: Full name of the node.
    """

    def __init__(self, session: Session, node: str, on_new: Callable[[str], None]) -> None:
        """Prepares the subscriptions. `update` makes them when the node is visible.

        Args:
            session: The connection to ROS.
            node: Full name of the node.
            on_new: Called on the session's thread with "labels" or "status" when these are new. It must be quick.
        """
        self.node = node
        self._session, self._on_new = session, on_new
        self._labels: Newest[Any] | None = None
        self._status: StatusWatch | None = None
        self._sets: dict[int, dict[str, Any]] = {}

    def update(self, info: NodeInfo) -> None:
        """Subscribes to the topics that are visible now, if it has not yet."""
        if self._status is None:
            self._status = StatusWatch(self._session, self.node, lambda: self._on_new("status"))
        if self._labels is None:
            try:
                self._labels = RemoteNode(self._session, info).label_changes(self._on_labels)
            except NotFound:  # the node is unconfigured
                return
            self._on_labels()

    def close(self) -> None:
        """Unsubscribes."""
        for part in (self._labels, self._status):
            if part is not None:
                part.close()

    def label_set(self, version: int | None = None) -> dict[str, Any]:
        """Returns a label set as JSON values. Before the first one it has no labels.

        Args:
            version: The set's version. If it is None or unknown, the latest set is returned.
        """
        sets = self._sets
        if version in sets:
            return sets[version]
        return sets[next(reversed(sets))] if sets else {"version": 0, "labels": []}

    def camera_topic(self, camera: str) -> str:
        """Returns the full name of the topic of a camera's images; empty while it is unknown."""
        for status in self.json("status"):
            if status["camera"] == camera:
                return str(status["values"].get("image_topic", ""))
        return ""

    def json(self, kind: str) -> Any:
        """Returns the latest "labels" or "status" for the page."""
        if kind == "labels":
            return self.label_set()
        statuses = [] if self._status is None else self._status.statuses()
        return [
            {
                "camera": {pair.key: pair.value for pair in status.values}.get("camera", ""),
                "level": int.from_bytes(status.level, "little") if isinstance(status.level, bytes) else status.level,
                "message": status.message,
                "values": {pair.key: pair.value for pair in status.values},
            }
            for status in statuses
        ]

    def _on_labels(self) -> None:
        message = None if self._labels is None else self._labels.peek()
        if message is None:
            return
        # A restarted node counts its versions from 1 again.
        kept = {} if message.version <= max(self._sets, default=0) else self._sets
        sets = {**kept, message.version: label_set_json(message)}
        self._sets = dict(list(sets.items())[-_KEPT:])
        self._on_new("labels")
