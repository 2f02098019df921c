"""A console and a browser for tests: a server in this process, and requests as a browser sends them."""

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, WSMsgType, web
from fakes import COLORS
from graph import RELIABLE, Graph, image, stripes
from sensor_msgs.msg import Image

from lseg_ros.console.access import Access
from lseg_ros.console.hosts import allowed_hosts
from lseg_ros.console.hub import Hub
from lseg_ros.console.server import make_app
from lseg_ros.ros.client import Session

WAIT = 60.0  # seconds; a test that passes never waits this long
RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]
SCENE = stripes(RED, GREEN, BLUE, height=24, width=16)


class Browser:
    """A browser: keeps the cookie and opens pages."""

    def __init__(self, port: int, access: Access) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.token, self.session = access.token, access.session
        self.origin = {"Origin": self.url}
        self.http = ClientSession(cookie_jar=CookieJar(unsafe=True))  # keeps cookies of an address without a name

    async def log_in(self) -> None:
        async with self.http.get(f"{self.url}/", params={"token": self.token}) as response:
            assert response.status == 200

    async def post(self, name: str, /, **content: Any) -> tuple[int, Any]:
        async with self.http.post(f"{self.url}/api/{name}", json=content, headers=self.origin) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        async with self.http.get(f"{self.url}{path}") as response:
            assert response.status == 200
            return await response.text()

    @asynccontextmanager
    async def page(self, **watch: str) -> AsyncIterator["OpenPage"]:
        async with self.http.ws_connect(f"{self.url}/ws", headers=self.origin) as socket:
            page = OpenPage(socket)
            await page.watch(**watch)
            yield page


class OpenPage:
    """The page's end of a WebSocket."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.latest: dict[str, Any] = {}

    async def watch(self, node: str = "/lseg", camera: str = "", layer: str = "mask", label: str = "") -> None:
        await self.socket.send_json({"type": "watch", "node": node, "camera": camera, "layer": layer, "label": label})

    async def receive(self) -> Any:
        """Returns the next frame, or the kind of a text message."""
        message = await asyncio.wait_for(self.socket.receive(), WAIT)
        if message.type == WSMsgType.BINARY:
            return Frame(message.data)
        assert message.type == WSMsgType.TEXT, message
        content = json.loads(message.data)
        self.latest[content["type"]] = content["content"]
        return content["type"]

    async def until(self, condition: Callable[[], Any]) -> Any:
        while not (found := condition()):
            if isinstance(await self.receive(), Frame):
                await self.socket.send_json({"type": "ready"})
        return found

    async def frame(self) -> "Frame":
        while True:
            found = await self.receive()
            if isinstance(found, Frame):
                await self.socket.send_json({"type": "ready"})
                return found


class Frame:
    """A frame as the page reads it."""

    def __init__(self, data: bytes) -> None:
        (length,) = struct.unpack_from("<I", data)
        self.header = json.loads(data[4 : 4 + length])
        first, second = self.header["parts"]
        at = 4 + length
        assert len(data) == at + first + second
        self.image = _decoded(data[at : at + first], cv2.IMREAD_COLOR)
        width, height, size = self.header["grid"]
        if self.header["layer"] == "mask":
            places = np.frombuffer(zlib.decompress(data[at + first :]), f"<u{size}")
            self.layer = places.reshape(height, width)
        else:
            self.layer = _decoded(data[at + first :], cv2.IMREAD_UNCHANGED)


def _decoded(data: bytes, how: int) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None


@pytest.fixture
def serve(graph: Graph, domain: int) -> Callable[..., None]:
    """Runs a coroutine with a browser that has logged in to a console, while a camera sends images."""

    def run(use: Callable[[Browser], Awaitable[None]], *, node: str | None = None, camera: bool = True) -> None:
        asyncio.run(_run(use, node, camera))

    async def _run(use: Callable[[Browser], Awaitable[None]], node: str | None, camera: bool) -> None:
        with Session("console_under_test", domain) as session:
            access = Access(frozenset(), 0)
            hub = Hub(session, node)
            runner = web.AppRunner(make_app(hub, access))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            access.hosts, access.port = allowed_hosts("127.0.0.1", port, ()), port
            browser = Browser(port, access)
            sending = asyncio.create_task(_camera(graph)) if camera else None
            try:
                await browser.log_in()
                await asyncio.wait_for(use(browser), 2 * WAIT)
            finally:
                if sending is not None:
                    sending.cancel()
                await browser.http.close()
                await runner.cleanup()

    return run


async def _camera(graph: Graph) -> None:
    """Publishes an image ten times a second, each with its own stamp."""
    publisher = graph.client.create_publisher(Image, "image", RELIABLE)
    stamp = 0
    while True:
        stamp += 1
        publisher.publish(image(SCENE, stamp))
        await asyncio.sleep(0.1)
