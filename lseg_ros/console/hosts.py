"""The names under which browsers reach the console. Standard library only."""

from collections.abc import Sequence
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_EVERYWHERE = ("0.0.0.0", "::", "")


class AccessError(ValueError):
    """The console cannot be served with these options. The message is one sentence."""


def allowed_hosts(host: str, port: int, names: Sequence[str]) -> frozenset[str]:
    """Returns the accepted values of the Host header.

    Args:
        host: The address that the console listens on.
        port: The port that it listens on.
        names: Further names by which browsers reach it, with or without a port.

    Raises:
        AccessError: It listens on every address and no name was given, or a name is invalid.
    """
    if host in _EVERYWHERE and not names:
        raise AccessError(
            f"--host {host or '(empty)'} opens the console to the network; add --allow-host NAME with the name or "
            "address that browsers use for this machine"
        )
    own = () if host in _EVERYWHERE else (f"[{host}]" if ":" in host else host,)
    accepted = set()
    for name in (*_LOOPBACK, *own, *names):
        parts = urlsplit(f"//{name}")
        try:
            given_port = parts.port
        except ValueError:
            given_port = 0
        if not parts.hostname or given_port == 0 or parts.netloc != name or "@" in name:
            raise AccessError(f"--allow-host {name!r} is no name of a host; give NAME or NAME:PORT, without http://")
        known = name.lower() if given_port else f"{name.lower()}:{port}"
        accepted.add(known)
        accepted |= {known.removesuffix(f":{default}") for default in (80, 443) if known.endswith(f":{default}")}
    return frozenset(accepted)


def address(host: str, port: int, names: Sequence[str]) -> str:
    """Returns host and port for people to open.

    Args:
        host: As for `allowed_hosts`.
        port: As for `allowed_hosts`.
        names: As for `allowed_hosts`. The first one is used if there are any.
    """
    if names:
        return names[0] if urlsplit(f"//{names[0]}").port else f"{names[0]}:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
