"""The console's access control."""

from collections.abc import Callable

import pytest

pytest.importorskip("aiohttp", reason="needs the extra 'console'")

from aiohttp import ClientSession, CookieJar, WSServerHandshakeError  # noqa: E402
from console_browser import Browser  # noqa: E402

from lseg_ros.console.hosts import AccessError, address, allowed_hosts  # noqa: E402


def test_nobody_gets_in_without_the_token(serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as stranger:
            for path in ("/", "/?token=", "/?token=wrong", f"/?token={browser.token[:-1]}", "/static/app.js", "/ws"):
                async with stranger.get(browser.url + path) as response:
                    assert response.status == 403, path
                    assert "Content-Security-Policy" in response.headers
            async with stranger.post(f"{browser.url}/api/enable", json={"node": "/lseg", "enabled": False}) as response:
                assert response.status == 403
            async with stranger.get(f"{browser.url}/", cookies={f"lseg_console_{browser.port}": "wrong"}) as response:
                assert response.status == 403
            assert not len(stranger.cookie_jar)

    serve(use, camera=False)


def test_the_token_is_exchanged_for_a_cookie(serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with ClientSession() as fresh:
            params = {"token": browser.token}
            async with fresh.get(f"{browser.url}/", params=params, allow_redirects=False) as response:
                assert response.status == 303 and response.headers["Location"] == "/"
                cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and browser.token not in cookie
        async with browser.http.get(f"{browser.url}/") as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            page = await response.text()
        assert "http://" not in page and "https://" not in page and "style=" not in page  # nothing of other hosts

    serve(use, camera=False)


def test_a_foreign_host_is_refused(serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        port = browser.port
        for host, status in {
            f"127.0.0.1:{port}": 200,
            f"LOCALHOST:{port}": 200,
            f"evil.example:{port}": 403,
            f"127.0.0.1:{port + 1}": 403,
            "127.0.0.1": 403,
            f"localhost.evil.example:{port}": 403,
        }.items():
            # The cookie is sent: what decides is the name alone.
            cookies = {f"lseg_console_{port}": browser.session}
            async with (
                ClientSession(cookies=cookies) as session,
                session.get(f"{browser.url}/", headers={"Host": host}) as response,
            ):
                assert response.status == status, host

    serve(use, camera=False)


def test_a_foreign_origin_is_refused(serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        evil = f"http://evil.example:{browser.port}"
        for origin in (evil, "null", f"http://127.0.0.1:{browser.port + 1}", f"ftp://127.0.0.1:{browser.port}"):
            headers = {"Origin": origin}
            with pytest.raises(WSServerHandshakeError, match="403"):
                async with browser.http.ws_connect(f"{browser.url}/ws", headers=headers):
                    pass
            content = {"node": "/lseg", "enabled": False}
            async with browser.http.post(f"{browser.url}/api/enable", json=content, headers=headers) as response:
                assert response.status == 403, origin
        # DNS rebinding: the name of a foreign page points here, and Origin and Host agree.
        rebound = {"Origin": evil, "Host": f"evil.example:{browser.port}"}
        with pytest.raises(WSServerHandshakeError, match="403"):
            async with browser.http.ws_connect(f"{browser.url}/ws", headers=rebound):
                pass
        with pytest.raises(WSServerHandshakeError, match="403"):  # a WebSocket without an origin
            async with browser.http.ws_connect(f"{browser.url}/ws"):
                pass

    serve(use, camera=False)


def test_changes_are_json_posts_only(serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        text = '{"node": "/lseg", "enabled": false}'
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            headers = {**browser.origin, "Content-Type": kind}
            async with browser.http.post(f"{browser.url}/api/enable", data=text, headers=headers) as response:
                assert response.status == 400 and "application/json" in (await response.json())["error"]
        async with browser.http.get(f"{browser.url}/api/enable") as response:
            assert response.status == 405

    serve(use, camera=False)


@pytest.mark.parametrize(
    ("host", "names", "known", "unknown"),
    [
        ("127.0.0.1", [], ["127.0.0.1:8740", "localhost:8740", "[::1]:8740"], ["robot:8740", "127.0.0.1"]),
        ("192.168.1.5", [], ["192.168.1.5:8740"], ["192.168.1.6:8740"]),
        ("0.0.0.0", ["robot.local"], ["robot.local:8740"], ["0.0.0.0:8740", "robot.local"]),
        ("::", ["Robot:9000"], ["robot:9000"], ["robot:8740"]),
        ("127.0.0.1", ["robot:80"], ["robot:80", "robot"], ["localhost"]),
    ],
)
def test_known_hosts(host: str, names: list[str], known: list[str], unknown: list[str]) -> None:
    found = allowed_hosts(host, 8740, names)
    assert set(known) <= found and not set(unknown) & found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_every_address_needs_a_name(host: str) -> None:
    with pytest.raises(AccessError, match="--allow-host NAME"):
        allowed_hosts(host, 8740, [])


@pytest.mark.parametrize("name", ["http://robot", "robot/x", "", "robot:port", "me@robot", "robot:0", "robot:99999"])
def test_invalid_names(name: str) -> None:
    with pytest.raises(AccessError, match="allow-host"):
        allowed_hosts("127.0.0.1", 8740, [name])


def test_the_address_to_open() -> None:
    assert address("127.0.0.1", 8740, []) == "127.0.0.1:8740"
    assert address("::1", 8740, []) == "[::1]:8740"
    assert address("0.0.0.0", 8740, ["robot"]) == "robot:8740"
    assert address("0.0.0.0", 8740, ["robot:443"]) == "robot:443"
