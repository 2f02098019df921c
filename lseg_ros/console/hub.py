"""The state that all pages share: one connection to ROS, and the subscriptions that pages need."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from lseg_ros.console.limits import CALLS
from lseg_ros.console.node_watch import NodeWatch
from lseg_ros.console.stream import Stream, StreamKey
from lseg_ros.ros.client import ClientError, NodeInfo, RemoteNode, Session, choose_node, find_nodes

Result = TypeVar("Result")
_LOOK_EVERY = 0.5  # seconds between two searches for nodes and topics
_FIND_TIMEOUT = 5.0  # seconds
_log = logging.getLogger(__name__)


class Busy(RuntimeError):
    """There are too many requests at once. The message is one sentence."""


class PageLike(Protocol):
    """The part of a page that the hub uses.

    Attributes:
        node: Full name of the node that the page shows.
    """

    node: str

    def put(self, kind: str, content: Any) -> None:
        """Sends a message to the browser soon. Of several messages of a kind only the last is sent."""

    def wake(self) -> None:
        """Tells the page that there is a new frame."""


class Hub:
    """Opens the subscriptions that pages need, passes news to the pages, and closes unused subscriptions.

    Its methods run in the event loop. Waiting for ROS happens on threads: some for subscriptions and encoding, others
    for service calls, which may take a minute.

    Attributes:
        session: The connection to ROS.
        only: Full name of the only node to offer; None for all.
        nodes: The nodes that are visible now.
    """

    def __init__(self, session: Session, node: str | None) -> None:
        """Prepares the hub. The first page starts the search for nodes.

        Args:
            session: The connection to ROS.
            node: Full name of the only node to offer; None for all.
        """
        self.session = session
        self.only = None if node is None else "/" + node.strip("/")
        self.nodes: list[NodeInfo] = []
        self._pages: set[PageLike] = set()
        self._watches: dict[str, NodeWatch] = {}
        self._streams: dict[StreamKey, Stream] = {}
        self._users: dict[object, int] = {}  # number of pages that use a watch or a stream, by its key
        self._changing = asyncio.Lock()
        self._work = ThreadPoolExecutor(2, "console_work")
        self._calls = ThreadPoolExecutor(CALLS // 2, "console_call")
        self._calling = 0
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop of the pages

    async def enter(self, page: PageLike) -> None:
        """Adds a page. The first one starts the search for nodes."""
        self._loop = asyncio.get_running_loop()
        self._pages.add(page)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        page.put("nodes", self._nodes_json())

    async def leave(self, page: PageLike) -> None:
        """Removes a page that has released its subscriptions. After the last one the search ends."""
        self._pages.discard(page)

    async def watch(self, name: str) -> NodeWatch:
        """Returns the labels and the status of a node. The page has to `release` them."""
        async with self._changing:
            if name not in self._watches:
                self._watches[name] = NodeWatch(self.session, name, partial(self._soon, self._tell, name))
            self._users[name] = self._users.get(name, 0) + 1
            await self._update()
            return self._watches[name]

    async def stream(self, key: StreamKey) -> Stream:
        """Returns the frames of a layer. The page has to `release` them."""
        async with self._changing:
            if key not in self._streams:
                stream = Stream(self.session, key, self._watches[key.node], partial(self._soon, self._wake))
                self._streams[key] = stream
            self._users[key] = self._users.get(key, 0) + 1
            await self._update()
            return self._streams[key]

    async def release(self, key: "str | StreamKey") -> None:
        """Takes back a result of `watch` or `stream`. It is closed if no other page uses it."""
        async with self._changing:
            self._users[key] -= 1
            if self._users[key]:
                return
            del self._users[key]
            unused = self._watches.pop(key) if isinstance(key, str) else self._streams.pop(key)
            await self.run(unused.close)

    async def run(self, job: Callable[[], Result]) -> Result:
        """Runs a short job on a thread for subscriptions and encoding."""
        return await asyncio.get_running_loop().run_in_executor(self._work, job)

    async def call(self, job: Callable[[], Result]) -> Result:
        """Runs a service call, which may take long.

        Raises:
            Busy: Too many calls are running.
        """
        if self._calling >= CALLS:
            raise Busy("too many requests to the node are in work; wait for their answers")
        self._calling += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._calls, job)
        finally:
            self._calling -= 1

    def remote(self, name: str) -> RemoteNode:
        """Returns a node to call. This blocks for some seconds if the node is missing.

        Raises:
            NotFound: The node is missing.
        """
        return RemoteNode(self.session, choose_node(self.session, self.only or name, _FIND_TIMEOUT))

    def image_at(self, key: StreamKey, stamp: tuple[int, int]) -> Any:
        """Returns the camera's image of a stamp as [H,W,3] uint8 RGB, or None if no page watches that camera."""
        for other, stream in self._streams.items():
            if (other.node, other.camera) == (key.node, key.camera) and stream.view is not None:
                image = stream.view.image_at(stamp)
                if image is not None:
                    return image
        return None

    async def close(self) -> None:
        """Ends the search and the threads. No page may be left."""
        if self._looking is not None:
            await self._looking
        await asyncio.get_running_loop().run_in_executor(None, self._work.shutdown)
        self._calls.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """Searches for nodes and topics again and again while there are pages."""
        while self._pages:
            try:
                async with self._changing:
                    await self._update()
            except ClientError as error:
                _log.error("cannot look at the ROS graph: %s", error)
            await asyncio.sleep(_LOOK_EVERY)

    async def _update(self) -> None:
        before = self._nodes_json()
        infos = await self.run(lambda: find_nodes(self.session))
        self.nodes = [info for info in infos if self.only in (None, info.name)]
        by_name = {info.name: info for info in self.nodes}
        parts: list[NodeWatch | Stream] = [*self._watches.values(), *self._streams.values()]
        for part in parts:
            if part.node in by_name:
                await self.run(partial(part.update, by_name[part.node]))
        if self._nodes_json() != before:
            for page in self._pages:
                page.put("nodes", self._nodes_json())

    def _nodes_json(self) -> list[dict[str, Any]]:
        return [{"name": info.name, "cameras": list(info.cameras), "count": info.count} for info in self.nodes]

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Calls a function in the event loop. Any thread may call this."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _tell(self, name: str, kind: str) -> None:
        """Sends new labels or a new status of a node to the pages that watch it."""
        watch = self._watches.get(name)
        if watch is None:
            return
        for page in self._pages:
            if page.node == name:
                page.put(kind, watch.json(kind))

    def _wake(self) -> None:
        for page in self._pages:
            page.wake()
