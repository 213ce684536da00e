"""Opens a socket before the model is loaded, which may take minutes."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from videorefer_plugin.errors import ServeError

__all__ = ["is_loopback", "listening_socket"]


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Open a socket at an address, and close it at the end.

    Raises:
        ServeError: the address is not of this machine, or another process listens there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ServeError(f"{host}, port {port}, is not an address to listen at ({error}).") from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise ServeError(
                f"{host}, port {port}, cannot be listened at ({error.strerror or error}). Give another --port, or end "
                "the process that listens there."
            ) from error
        yield listener


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
