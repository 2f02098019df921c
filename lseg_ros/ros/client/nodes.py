"""Finds the nodes of this package by their services."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rclpy.node import Node, NodeNameNonExistentError

from lseg_ros.ros.client.errors import NotFound
from lseg_ros.ros.client.session import Session

SET_LABELS = "lseg_ros/srv/SetLabels"
QUERY = "lseg_ros/srv/Query"
PROBE = "lseg_ros/srv/Probe"
TEACH = "lseg_ros/srv/Teach"
IMAGE = "sensor_msgs/msg/Image"
_SETTLE = 1.0  # seconds to wait for further nodes after the first one was found


@dataclass(frozen=True)
class NodeInfo:
    """The services and topics of a node.

    Attributes:
        name: Full name, such as /robot1/lseg.
        services: Full names of its services by type, such as lseg_ros/srv/Query.
        topics: Types of the topics that it publishes, by full name.
        count: Number of nodes with this name. More than one is a mistake.
    """

    name: str
    services: Mapping[str, tuple[str, ...]]
    topics: Mapping[str, str]
    count: int = 1

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of its cameras; one empty name if it has a single camera without a name."""
        return tuple(self._camera(service) for service in self.services.get(QUERY, ()))

    def service(self, kind: str, camera: str | None = None) -> str:
        """Returns the full name of a service by its type, also if it is remapped.

        Args:
            kind: The type, such as lseg_ros/srv/SetLabels.
            camera: The camera, for services that each camera has.

        Raises:
            NotFound: The node has no service of this type, or the camera is unknown.
        """
        names = self.services.get(kind, ())
        if not names:
            raise NotFound(f"{self.name} offers no service of type {kind}; is it of another version?")
        if camera is None:
            return names[0]
        for name in names:
            if self._camera(name) == camera:
                return name
        known = ", ".join(self._camera(name) or "(one without a name)" for name in names)
        what = f"no camera {camera!r}" if camera else "several cameras, choose one with --camera"
        raise NotFound(f"{self.name} has {what}; there are: {known}")

    def topic(self, output: str, camera: str = "") -> str:
        """Returns the full name of an output topic.

        Args:
            output: The output, such as mask, overlay or score/door.
            camera: The camera; empty for a node with a single camera.

        Raises:
            NotFound: The node does not publish it.
        """
        below = f"{camera}/{output}" if camera else output
        if f"{self.name}/{below}" in self.topics:
            return f"{self.name}/{below}"
        remapped = [topic for topic in self.topics if topic.endswith(f"/{below}")]
        if len(remapped) == 1:
            return remapped[0]
        self.service(QUERY, camera)  # raises NotFound for an unknown camera
        prefix = f"{self.name}/{camera}/" if camera else f"{self.name}/"
        images = [topic for topic, kind in self.topics.items() if kind == IMAGE]
        below_prefix = sorted(topic.removeprefix(prefix) for topic in images if topic.startswith(prefix))
        there = f"there are: {', '.join(below_prefix)}" if images else "it publishes no images; is it configured?"
        raise NotFound(f"{self.name} does not publish {below!r}; {there}")

    def _camera(self, service: str) -> str:
        below = service.removeprefix(f"{self.name}/")
        return below.rpartition("/")[0]


def find_nodes(session: Session) -> list[NodeInfo]:
    """Returns all nodes of this package that are visible now, by name."""
    return session.run(lambda: _find(session.node))


def _find(node: Node) -> list[NodeInfo]:
    if not any(SET_LABELS in kinds for _, kinds in node.get_service_names_and_types()):
        return []
    names = Counter(node.get_node_names_and_namespaces())
    return sorted(
        (info for (name, namespace), count in names.items() if (info := _info(node, name, namespace, count))),
        key=lambda info: info.name,
    )


def _info(node: Node, name: str, namespace: str, count: int) -> NodeInfo | None:
    try:
        offered = node.get_service_names_and_types_by_node(name, namespace)
        published = node.get_publisher_names_and_types_by_node(name, namespace)
    except NodeNameNonExistentError:  # the node has just ended
        return None
    services: dict[str, tuple[str, ...]] = {}
    for service, kinds in sorted(offered):
        for kind in kinds:
            services[kind] = (*services.get(kind, ()), service)
    if SET_LABELS not in services:
        return None
    full = f"{namespace.rstrip('/')}/{name}"
    return NodeInfo(full, services, {topic: kinds[0] for topic, kinds in published}, count)


def choose_node(session: Session, name: str | None = None, timeout: float = 5.0) -> NodeInfo:
    """Returns the node of a name, or the only node of this package.

    Args:
        session: The session to look with.
        name: Full name, with or without the leading slash; None for the only one.
        timeout: Seconds to wait for it.

    Raises:
        NotFound: There is no such node, or there are several and no name.
    """
    if name is not None:
        full = "/" + name.strip("/")
        matches = session.until(lambda: [info for info in _find(session.node) if info.name == full], timeout)
        if matches:
            return matches[0]
        others = [info.name for info in find_nodes(session)]
        there = f"there are: {', '.join(others)}" if others else "there is no other; " + _hint(session)
        raise NotFound(f"no node {full} of lseg_ros was found within {timeout:g} s; {there}")
    if not session.until(lambda: _find(session.node), timeout):
        raise NotFound(f"no node of lseg_ros was found within {timeout:g} s; {_hint(session)}")
    session.until(lambda: len(_find(session.node)) > 1, _SETTLE)
    nodes = find_nodes(session)
    if len(nodes) > 1:
        raise NotFound(f"there are several nodes: {', '.join(info.name for info in nodes)}; choose one with --node")
    return nodes[0] if nodes else choose_node(session, name, timeout)


def _hint(session: Session) -> str:
    return (
        "start one with `lseg_node`, or set ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE and RMW_IMPLEMENTATION as "
        f"they are where it runs (here the domain is {session.domain_id})"
    )
