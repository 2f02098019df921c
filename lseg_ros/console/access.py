"""Access control of the console: a token, a cookie, and lists of hosts and origins."""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass
class Access:
    """The conditions that a request has to meet.

    Attributes:
        hosts: Accepted values of the Host header, such as 127.0.0.1:8740. Any other name is refused, because a foreign
            page may point its own name at this address (DNS rebinding).
        port: The port that the console listens on.
        token: Opens the console. It is part of the printed address.
        session: Value of the cookie that the token is exchanged for.
    """

    hosts: frozenset[str]
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """The cookie's name. It contains the port, because browsers share cookies between the ports of a host."""
        return f"lseg_console_{self.port}"

    def check_origin(self, request: web.Request, *, required: bool) -> None:
        """Refuses requests from pages of another origin.

        Args:
            request: The request.
            required: Whether to refuse requests without an origin too. Browsers always send one for a WebSocket.

        Raises:
            web.HTTPForbidden: The origin is not accepted.
        """
        origin = request.headers.get("Origin")
        if origin is None and not required:
            return
        parts = urlsplit(origin or "")
        if parts.scheme not in ("http", "https") or parts.netloc.lower() not in self.hosts:
            raise web.HTTPForbidden(text=f"Requests from the origin {origin!r} are refused.")

    def is_token(self, given: str) -> bool:
        """Returns whether a text is the token. The time does not depend on how much of it is right."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def is_known(self, request: web.Request) -> bool:
        """Returns whether a request has the cookie."""
        return hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self.session.encode())

    def give_cookie(self, response: web.StreamResponse) -> None:
        """Sets the cookie. The browser is accepted from then on, until it or the console ends."""
        response.set_cookie(self.cookie, self.session, httponly=True, samesite="Strict", path="/")


def guard(access: Access) -> Any:
    """Returns a middleware that checks the access to all pages and adds security headers."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await _let_in(access, request, handler)
        except web.HTTPException as refused:
            refused.headers.update(_HEADERS)
            raise
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    return middleware


async def _let_in(access: Access, request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.headers.get("Host", "").lower() not in access.hosts:
        raise web.HTTPForbidden(
            text="This name of the console is not known. Start it with --allow-host NAME to use the name."
        )
    access.check_origin(request, required=False)
    if request.path == "/" and "token" in request.query:
        if not access.is_token(request.query["token"]):
            raise web.HTTPForbidden(text="The token is wrong. Open the address that lseg_console printed last.")
        welcome = web.HTTPSeeOther("/")  # removes the token from the address bar and the history
        access.give_cookie(welcome)
        raise welcome
    if not access.is_known(request):
        raise web.HTTPForbidden(text="Open the address that lseg_console printed; it has a token in it.")
    return await handler(request)
