"""Warns while a node waits for somebody else to configure it."""

import time

from rclpy.node import Node

_MANAGER = "nav2_msgs/srv/ManageLifecycleNodes"
_PATIENCE = 10.0  # seconds; a lifecycle manager that has just started needs a few


class ConfigureWatch:
    """Notices that nobody configures the node.

    A lifecycle manager without a bond does not notice that a node was restarted. It still takes the node for active,
    and logs nothing.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._since: float | None = None
        self._say_after = 0.0

    def look(self, *, waiting: bool) -> str:
        """Logs a warning after 10 s, 20 s, 40 s and so on. Called about once a second.

        Args:
            waiting: Whether the node is unconfigured and somebody else has to configure it.

        Returns:
            What the node waits for, in one sentence; empty if it does not wait, or not for long.
        """
        if not waiting:
            self._since, self._say_after = None, 0.0
            return ""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if waited < _PATIENCE:
            return ""
        sentence = self._sentence()
        if waited >= self._say_after:
            self._say_after = 2 * max(waited, _PATIENCE)
            self._node.get_logger().warning(f"not configured for {waited:.0f} s: {sentence}")
        return sentence

    def _sentence(self) -> str:
        name = self._node.get_fully_qualified_name()
        services = self._node.get_service_names_and_types()
        managers = [service for service, kinds in services if _MANAGER in kinds]
        what = "autostart is false, so a lifecycle manager has to configure this node"
        if not managers:
            return f"{what}, and there is none; start one, or: ros2 lifecycle set {name} configure"
        calls = " or ".join(f'ros2 service call {manager} {_MANAGER} "{{command: 0}}"' for manager in managers)
        return f"{what}; if it takes the node for active, tell it to start up again: {calls}"
