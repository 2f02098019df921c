"""The executable `lseg_console`."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence

from lseg_ros.console.hosts import AccessError, address, allowed_hosts

_PORT = 8740


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lseg_console",
        description="Serves a page that shows what a node of lseg_ros sees, and changes its labels. "
        "Open the address that it prints. Ctrl-C ends it.",
    )
    parser.add_argument("--node", help="full name of the only node to offer, such as /robot1/lseg; default: all")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=_PORT, help="default: %(default)s; 0 takes a free one")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="name or address by which browsers reach this machine; may be given several times",
    )
    return parser


async def _serve(options: argparse.Namespace) -> None:
    # Imported here, so that --help and a wrong option need no ROS.
    from aiohttp import web

    from lseg_ros.console.access import Access
    from lseg_ros.console.hub import Hub
    from lseg_ros.console.server import make_app
    from lseg_ros.ros.client import Session

    allowed_hosts(options.host, options.port or 1, options.allow_host)  # reports a wrong option before ROS starts
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    listening = _listen(options.host, options.port)
    port = listening.getsockname()[1]
    access = Access(allowed_hosts(options.host, port, options.allow_host), port)
    with Session("lseg_console") as session:
        runner = web.AppRunner(make_app(Hub(session, options.node), access), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        print(f"http://{address(options.host, port, options.allow_host)}/?token={access.token}", flush=True)
        await ended.wait()
        await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    """Returns a bound socket; raises AccessError if that fails."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise AccessError(
            f"cannot listen on {host} port {port}: {' '.join(str(error).split())}; "
            "choose another with --host and --port"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the console until SIGINT or SIGTERM. Returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(_serve(options))
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        print(
            "lseg_console needs aiohttp; in the folder of lseg_ros, run: pip install '.[console]', or `make env`",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        from lseg_ros.ros.client import ClientError

        if not isinstance(error, (AccessError, ClientError)):
            raise
        print(f"lseg_console cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
