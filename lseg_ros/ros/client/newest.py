"""Subscriptions that keep only the newest message."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from lseg_ros.ros.client.session import Session

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

M = TypeVar("M")
# The executor also waits on events, and fails if one is destroyed meanwhile.
NO_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)


class Newest(Generic[M]):
    """Keeps the newest message of a topic. Older ones are dropped, so a slow reader never lags behind.

    Attributes:
        topic: Full name of the topic.
    """

    def __init__(
        self,
        session: Session,
        kind: type[M],
        topic: str,
        *,
        latched: bool = False,
        on_new: Callable[[], None] | None = None,
    ) -> None:
        """Subscribes.

        Args:
            session: The session whose node subscribes.
            kind: The message type.
            topic: Full name of the topic.
            latched: Whether to receive the last message that was sent before.
            on_new: Called on the session's thread after each message. It must be quick and must not raise. For an event
                loop: `lambda: loop.call_soon_threadsafe(...)`.
        """
        self._session, self._on_new = session, on_new
        self._changed = threading.Condition()
        self._message: M | None = None
        self._received = self._taken = 0
        self._closed = False
        self.topic = topic

        def subscribe() -> Any:
            profile = _profile(session, topic, latched)
            return session.node.create_subscription(kind, topic, self._keep, profile, event_callbacks=NO_EVENTS)

        self._subscription = session.run(subscribe)

    def __enter__(self) -> "Newest[M]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def received(self) -> int:
        """The number of messages so far."""
        return self._received

    def peek(self) -> M | None:
        """Returns the newest message, taken or not; None before the first."""
        return self._message

    def take(self, timeout: float | None = 0.0) -> M | None:
        """Waits for a message that was not taken yet.

        Args:
            timeout: Seconds; None to wait forever.

        Returns:
            The newest message, or None after the timeout or when the subscription is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._received > self._taken, timeout)
            if self._received == self._taken:
                return None
            self._taken = self._received
            return self._message

    def close(self) -> None:
        """Unsubscribes and ends all waits."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._session.run(lambda: self._session.node.destroy_subscription(self._subscription))

    def _keep(self, message: M) -> None:
        with self._changed:
            self._message = message
            self._received += 1
            self._changed.notify_all()
        if self._on_new is not None and not self._closed:
            self._on_new()


def _profile(session: Session, topic: str, latched: bool) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=reliability(session, topic),
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def reliability(session: Session, topic: str) -> ReliabilityPolicy:
    """Returns reliable if every publisher of a topic is, because large images get lost with best effort."""
    publishers = session.node.get_publishers_info_by_topic(topic)
    unreliable = any(p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for p in publishers)
    return ReliabilityPolicy.BEST_EFFORT if unreliable else ReliabilityPolicy.RELIABLE
