"""The HTTP server: the page's files, the WebSocket, and the page's requests."""

import asyncio
import logging
from importlib.resources import files
from typing import Any

from aiohttp import WSCloseCode, web

from lseg_ros.console import limits
from lseg_ros.console.access import Access, Handler, guard
from lseg_ros.console.api import HUB, add_routes
from lseg_ros.console.hub import Hub
from lseg_ros.console.page import Page

_SOCKETS: web.AppKey[set[Any]] = web.AppKey("sockets")
_ACCESS: web.AppKey[Access] = web.AppKey("access")
_HEARTBEAT = 15.0  # seconds; a browser that does not answer within half of this is disconnected
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_log = logging.getLogger(__name__)


def make_app(hub: Hub, access: Access) -> web.Application:
    """Returns the console as an application of aiohttp.

    Args:
        hub: The connection to ROS. It is closed with the application.
        access: The access control.
    """
    app = web.Application(middlewares=[guard(access)], client_max_size=limits.BODY_BYTES)
    app[HUB], app[_ACCESS], app[_SOCKETS] = hub, access, set()
    static = files("lseg_ros.console") / "static"
    for file in static.iterdir():
        name, kind = file.name, _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if name == "index.html" else f"/static/{name}"
            app.router.add_get(path, _file(file.read_bytes(), kind))
    app.router.add_get("/ws", _socket)
    add_routes(app)
    app.on_shutdown.append(_close_sockets)
    app.on_cleanup.append(_close_hub)
    return app


def _file(content: bytes, kind: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return handler


async def _socket(request: web.Request) -> web.StreamResponse:
    request.app[_ACCESS].check_origin(request, required=True)
    sockets = request.app[_SOCKETS]
    if len(sockets) >= limits.PAGES:
        raise web.HTTPServiceUnavailable(text=f"{limits.PAGES} pages are open; close one first.")
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=limits.MESSAGE_BYTES, compress=False)
    sockets.add(socket)
    try:
        await socket.prepare(request)
        await Page(request.app[HUB], socket).run()
    finally:
        sockets.discard(socket)
    return socket


async def _close_sockets(app: web.Application) -> None:
    sockets = app[_SOCKETS]
    await asyncio.gather(
        *(socket.close(code=WSCloseCode.GOING_AWAY, message=b"the console ends") for socket in list(sockets)),
        return_exceptions=True,
    )


async def _close_hub(app: web.Application) -> None:
    await app[HUB].close()
