"""Watches a node's diagnostics."""

import threading
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy

from lseg_ros.ros.client.session import Session

_TOPIC = "/diagnostics"
_FRESH = 4.0  # seconds; the node sends one status each second


class StatusWatch:
    """The latest status of each camera of a node, from /diagnostics, which all nodes of a robot share."""

    def __init__(self, session: Session, name: str, on_new: Callable[[], None] | None = None) -> None:
        """Subscribes.

        Args:
            session: The session whose node subscribes.
            name: Full name of the node to watch.
            on_new: Called on the session's thread after each message of the node. It must be quick and must not raise.
        """
        self._session, self._name, self._on_new = session, name, on_new
        self._changed = threading.Condition()
        self._latest: dict[str, tuple[float, DiagnosticStatus]] = {}
        self._count = self._taken = 0
        # Best effort fits every publisher, and status messages are small. The queue is for the other nodes' messages.
        profile = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = session.run(
            lambda: session.node.create_subscription(DiagnosticArray, _TOPIC, self._keep, profile)
        )

    def take(self, timeout: float) -> list[DiagnosticStatus]:
        """Waits for a new message of the node.

        Args:
            timeout: Seconds.

        Returns:
            The latest status of each camera, as `statuses` does.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count > self._taken, timeout)
            self._taken = self._count
        return self.statuses()

    def statuses(self) -> list[DiagnosticStatus]:
        """Returns the latest status of each camera, by name, without those that are older than 4 s."""
        since = time.monotonic() - _FRESH
        with self._changed:
            return [status for _, (came, status) in sorted(self._latest.items()) if came > since]

    def close(self) -> None:
        """Unsubscribes."""
        self._session.run(lambda: self._session.node.destroy_subscription(self._subscription))

    def _keep(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if self._belongs(status)]
        if not own:
            return
        with self._changed:
            now = time.monotonic()
            self._latest |= {status.name: (now, status) for status in own}
            self._count += 1
            self._changed.notify_all()
        if self._on_new is not None:
            self._on_new()

    def _belongs(self, status: DiagnosticStatus) -> bool:
        for pair in status.values:
            if pair.key == "node":
                return bool(pair.value == self._name)
        return False
