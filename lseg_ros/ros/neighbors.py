"""Finds other nodes that conflict with this one: with the same name or the same services."""

from collections.abc import Sequence
from contextlib import suppress

from rclpy.node import Node


class Neighbors:
    """Finds conflicting nodes, and logs each once when it appears. For the executor's thread."""

    def __init__(self, node: Node, services: Sequence[str]) -> None:
        """Prepares the checks.

        Args:
            node: The node.
            services: Names of its services that other nodes may have too, before remapping.
        """
        self._node, self._names = node, services
        self._services = {node.resolve_service_name(name) for name in services}
        self._said: set[str] = set()

    def check(self) -> str:
        """Logs new conflicts, and returns all current ones as one text, which is empty if there are none."""
        sentences = set(self._sentences())
        for sentence in sorted(sentences - self._said):
            self._node.get_logger().warning(sentence)
        self._said = sentences
        return "; ".join(sorted(sentences))

    def _sentences(self) -> list[str]:
        own = self._node.get_fully_qualified_name()
        nodes = [
            (name, namespace, f"{namespace.rstrip('/')}/{name}")
            for name, namespace in self._node.get_node_names_and_namespaces()
        ]
        sentences = []
        count = sum(full == own for _, _, full in nodes)
        if count > 1:
            sentences.append(
                f"{count} nodes have the name {own}: all of them answer and publish, and their masks interleave; stop "
                "all but one, or give each a name of its own: --ros-args -r __node:=lseg_2 (a node that was killed is "
                "seen for some 20 s more)"
            )
        for name, namespace, full in nodes:
            if full != own and self._shares(name, namespace):
                services = " and ".join(sorted(self._services))
                remaps = " ".join(f"-r {service}:=~/{service}" for service in self._names)
                sentences.append(
                    f"the node {full} has {services} too, so that each call reaches one of the two by chance; give "
                    f"one of them its own: --ros-args {remaps}"
                )
        return sentences

    def _shares(self, name: str, namespace: str) -> bool:
        # The node may have ended since the list was made. Each distribution raises another exception then.
        with suppress(Exception):
            offered = self._node.get_service_names_and_types_by_node(name, namespace)
            return not self._services.isdisjoint(service for service, _ in offered)
        return False
