"""One open page: what it shows, and its WebSocket."""

import asyncio
import json
import logging
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from lseg_ros.console.hub import Hub
from lseg_ros.console.limits import Rate
from lseg_ros.console.node_watch import NodeWatch
from lseg_ros.console.stream import Stream, StreamKey
from lseg_ros.ros.client import ClientError
from lseg_ros.ros.client.view import ViewFrame

FRAMES_PER_SECOND = 15  # most frames for each page
_LAYERS = ("mask", "confidence", "score")
_BURST, _PER_SECOND = 60, 40  # most messages from a page, which sends one for each frame that it has shown
_LONGEST_NAME = 1024  # characters
_log = logging.getLogger(__name__)


class BadMessage(ValueError):
    """The page of this package never sends such a message over the WebSocket."""


class Page:
    """Sends the newest frame, labels and status to one browser.

    A frame is sent only when the browser is ready for one, so no page lags behind.

    Attributes:
        node: Full name of the node that the page shows; empty for none.
    """

    def __init__(self, hub: Hub, socket: web.WebSocketResponse) -> None:
        """Prepares the page; `run` serves it.

        Args:
            hub: The connection to ROS.
            socket: The page's WebSocket.
        """
        self.node = ""
        self._hub, self._socket = hub, socket
        self._watch: NodeWatch | None = None
        self._stream: Stream | None = None
        self._key: StreamKey | None = None
        self._outbox: dict[str, Any] = {}
        self._wake = asyncio.Event()
        self._ready = True
        self._sent: ViewFrame | None = None
        self._next = 0.0  # when the next frame may be sent, in the loop's time
        self._rate = Rate(_BURST, _PER_SECOND)

    def put(self, kind: str, content: Any) -> None:
        """Sends a message to the browser soon. Of several messages of a kind only the last is sent."""
        self._outbox[kind] = content
        self._wake.set()

    def wake(self) -> None:
        """Tells the page that there is a new frame."""
        self._wake.set()

    async def run(self) -> None:
        """Serves the page until its WebSocket is closed."""
        await self._hub.enter(self)
        tasks = [asyncio.create_task(part) for part in (self._receive(), self._send())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except BadMessage as error:
            await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:120])
        except ConnectionError:  # the browser has gone
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Shielded, because subscriptions have to be closed even if the server ends meanwhile.
            await asyncio.shield(self._leave())

    async def _leave(self) -> None:
        await self._show(None)
        await self._choose("")
        await self._hub.leave(self)

    async def _receive(self) -> None:
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                raise BadMessage("only text is expected")
            if not self._rate.admit():
                raise BadMessage(f"more than {_PER_SECOND} messages a second")
            try:
                content = json.loads(message.data)
            except (ValueError, RecursionError):
                raise BadMessage("a message is no JSON") from None
            if content == {"type": "ready"}:
                self._ready = True
                self._wake.set()
            else:
                key = _key(content)
                if key.node != self.node:
                    await self._show(None)
                    await self._choose(key.node)
                await self._show(key if key.node else None)

    async def _choose(self, node: str) -> None:
        if self.node:
            await self._hub.release(self.node)
        self.node, self._watch = node, None
        if node:
            self._watch = await self._hub.watch(node)
            for kind in ("labels", "status"):
                self.put(kind, self._watch.json(kind))

    async def _show(self, key: StreamKey | None) -> None:
        if key == self._key:
            return
        before, self._key, self._stream = self._key, key, None
        if key is not None:
            self._stream = await self._hub.stream(key)
        if before is not None:
            await self._hub.release(before)
        self._sent = None
        self._wake.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                kind = next(iter(self._outbox))
                await self._socket.send_str(json.dumps({"type": kind, "content": self._outbox.pop(kind)}))
            stream = self._stream
            if not self._ready or stream is None or stream.newest() in (None, self._sent):
                continue
            wait = self._next - loop.time()
            if wait > 0:
                loop.call_later(wait, self._wake.set)
                continue
            try:
                frame, data = await stream.encoded()
            except ClientError as error:  # the output is damaged
                self.put("problem", str(error))
                frame, data = stream.newest(), b""
            if stream is not self._stream:
                self._wake.set()
                continue
            self._sent = frame
            if data:
                self._ready = False
                self._next = loop.time() + 1 / FRAMES_PER_SECOND
                await self._socket.send_bytes(data)


def _key(content: Any) -> StreamKey:
    """Returns what a "watch" message asks for; raises BadMessage."""
    names = ("node", "camera", "layer", "label")
    if not isinstance(content, dict) or content.get("type") != "watch" or set(content) != {"type", *names}:
        raise BadMessage("a message is neither 'ready' nor 'watch'")
    values = [content[name] for name in names]
    if not all(isinstance(value, str) and len(value) <= _LONGEST_NAME for value in values):
        raise BadMessage("node, camera, layer and label must be texts")
    key = StreamKey(*values)
    if key.layer not in _LAYERS:
        raise BadMessage("layer must be " + ", ".join(_LAYERS))
    return key if key.layer == "score" else key._replace(label="")
