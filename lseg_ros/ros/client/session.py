"""A ROS node for a program that is no node itself."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from lseg_ros.ros import qos
from lseg_ros.ros.client.errors import ClientError, NoAnswer, NotFound
from lseg_ros.ros.startup import StartError, initialise

Result = TypeVar("Result")
_LOOK_EVERY = 0.05  # seconds between two looks at the graph
_LOOK_FOR_END = 0.5  # seconds between two checks that the session's thread still runs
_GONE_AFTER = 1.0  # seconds without a server until a call gives up
_ASK_AGAIN_AFTER = 5.0  # seconds
_ENDED = "the connection to ROS is closed"


class Session:
    """An rclpy context with one node, spun by its own thread.

    Only that thread uses rclpy; `run` passes work to it. Use it as a context manager, or call `close`.

    Attributes:
        node: The node.
    """

    def __init__(self, name: str = "lseg_client", domain_id: int | None = None) -> None:
        """Starts the node and its thread.

        Args:
            name: The node's name. The process's id is appended.
            domain_id: The ROS domain; None for that of the environment.

        Raises:
            ClientError: ROS does not start.
        """
        self._context = Context()
        try:
            initialise([], context=self._context, domain_id=domain_id)
        except StartError as error:
            raise ClientError(f"ROS does not start: {error}") from error
        self.node = Node(
            f"{name}_{os.getpid()}",
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._closed = False
        self._closing = threading.Lock()  # no job is passed to an executor that has ended
        self._clients: dict[tuple[type, str], Any] = {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="ros", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    @property
    def domain_id(self) -> int:
        """The ROS domain."""
        return int(self._context.get_domain_id())

    def close(self) -> None:
        """Ends the thread and removes the node with its subscriptions and clients."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self._context.try_shutdown()
        self._context.destroy()  # otherwise its participant exists until Python collects garbage

    def run(self, job: Callable[[], Result]) -> Result:
        """Runs a short job on the session's thread, and returns its result or raises its error.

        Raises:
            ClientError: The session is closed.
        """
        if threading.current_thread() is self._thread:
            return job()
        done: Future[Result] = Future()

        def task() -> None:
            try:
                done.set_result(job())
            except BaseException as error:
                done.set_exception(error)

        with self._closing:
            if self._closed:
                raise ClientError(_ENDED)
            self._executor.create_task(task)
        while not wait([done], _LOOK_FOR_END).done:
            if not self._thread.is_alive():
                raise ClientError(_ENDED)
        return done.result()

    def until(self, look: Callable[[], Result], timeout: float) -> Result | None:
        """Calls a function several times a second on the session's thread, until its result is true.

        Args:
            look: The function.
            timeout: Seconds. It is called at least once.

        Returns:
            The result, or None after the timeout.
        """
        deadline = time.monotonic() + timeout
        while not (result := self.run(look)):
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_EVERY)
        return result

    def call(self, kind: type, name: str, request: Any, timeout: float, *, repeat: bool = False) -> Any:
        """Calls a service.

        Args:
            kind: The service's type, such as std_srvs.srv.SetBool.
            name: Its full name.
            request: The request.
            timeout: Seconds for the whole call.
            repeat: Whether to repeat the request every 5 s until an answer comes. For requests that change nothing: a
                server that has just appeared may not know its client yet, and then its first answer is lost.

        Returns:
            The response.

        Raises:
            NotFound: Nobody offers the service.
            NoAnswer: No response came in time, or the server disappeared.
        """
        deadline = time.monotonic() + timeout
        client = self.run(lambda: self._client(kind, name))
        if not self.until(client.service_is_ready, timeout):
            raise NotFound(f"nobody offers the service {name}; is the node running?")
        answered = threading.Event()
        pending: list[Any] = []
        sent = seen = 0.0

        def ask() -> None:
            future = client.call_async(request)
            future.add_done_callback(lambda _: answered.set())
            pending.append(future)

        try:
            while True:
                now = time.monotonic()
                if not sent or (repeat and now - sent > _ASK_AGAIN_AFTER):
                    self.run(ask)
                    sent = seen = now
                if answered.wait(_LOOK_EVERY):
                    return next(future for future in pending if future.done()).result()
                if self.run(client.service_is_ready):
                    seen = now
                elif now - seen > _GONE_AFTER:
                    raise NoAnswer(f"the node went away before {name} answered")
                if now > deadline:
                    raise NoAnswer(
                        f"{name} did not answer within {timeout:g} s; the node may be loading its model, or be stuck"
                    )
        finally:
            self.run(lambda: [client.remove_pending_request(future) for future in pending])

    def _client(self, kind: type, name: str) -> Any:
        # Clients are kept, because a server has to discover a new one first.
        if (kind, name) not in self._clients:
            # The queue of a client gets the answers to other clients, too, and drops what it cannot hold.
            self._clients[kind, name] = self.node.create_client(kind, name, qos_profile=qos.SERVICE)
        return self._clients[kind, name]
