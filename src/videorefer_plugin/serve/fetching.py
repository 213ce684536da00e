"""Opening the visuals of a request: data: URLs, files of the allowed folder, and servers that may be asked."""

import hashlib
import ipaddress
import os
import re
import socket
from functools import cache
from typing import Any

from videorefer_plugin._addresses import bare_address
from videorefer_plugin._text import cut
from videorefer_plugin.errors import ServeError, VideoError
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.sources import Sources
from videorefer_plugin.video.downloads import client_library, downloaded
from videorefer_plugin.video.sources import is_data_url, stored

__all__ = ["Fetched", "fetch"]

_SECONDS = 60.0  # for a whole download, of a request that somebody waits for


class Fetched:
    """The bytes of a visual, or the file in which they are.

    Attributes:
        source (`bytes` or `str`): the bytes, or the path.
        key (`str`): the same for visuals with the same content.
        size (`int`): bytes that are held in memory for it.
    """

    def __init__(self, source: bytes | str):
        self.source = source
        self.size = len(source) if isinstance(source, bytes) else 0
        if isinstance(source, bytes):
            self.key = hashlib.blake2b(source, digest_size=16).hexdigest()
        else:
            found = os.stat(source)
            self.key = f"{source} {found.st_size} {found.st_mtime_ns}"


def fetch(address: str, sources: Sources, limits: Limits, where: str) -> Fetched:
    """Get what is behind the address of a visual.

    Args:
        address (`str`): a data: URL, a file: address below the allowed folder, or one of a server.
        sources ([`Sources`]): what is allowed.
        limits ([`Limits`]): the most bytes.
        where (`str`): what the visual is called in messages.

    Raises:
        ServeError: it is not allowed.
        VideoError: it cannot be read; names no file of this machine.
    """
    sources.check(address, where)
    if is_data_url(address):
        place = stored(address).place
        assert isinstance(place, bytes)
        return Fetched(place)
    if re.match("file:", address, re.IGNORECASE):
        path = sources.path_of(address, where)
        if not os.path.isfile(path):
            raise VideoError(f"{where}: there is no such file in the folder of media.")
        return Fetched(path)
    name = repr(cut(bare_address(address), 200))
    transport = _guarded_transport(sources)
    try:
        return Fetched(
            downloaded(address, name, most_bytes=limits.request_bytes, seconds=_SECONDS, transport=transport)
        )
    finally:
        transport.close()


def _guarded_transport(sources: Sources) -> Any:
    """A transport that connects to allowed servers only, or to public addresses.

    A name is looked up once, and the address that was checked is the one that is connected to, so that no second
    look-up can lead elsewhere. Each address of a chain of redirects goes through here.
    """
    client_of = client_library()

    class GuardedTransport(client_of.HTTPTransport):  # type: ignore[name-defined]
        def handle_request(self, request: Any) -> Any:
            host = request.url.host
            if sources.domains:
                if host.lower() not in sources.domains:
                    raise ServeError(
                        f"The address leads on to {cut(host, 100)!r}, but this server fetches only addresses of "
                        f"{', '.join(sources.domains)}."
                    )
                return super().handle_request(request)
            address = _public_address(host, request.url.port or (443 if request.url.scheme == "https" else 80))
            pinned = client_of.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            return super().handle_request(pinned)

    return GuardedTransport(verify=_certificates())


@cache
def _certificates() -> Any:
    """The authorities that are trusted, which take a while to read."""
    return client_library().create_ssl_context()


def _public_address(host: str, port: int) -> str:
    """The address of a server, if all that it has are public.

    Raises:
        ServeError: one is of this machine or of a network around it.
        VideoError: the name is not known.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise VideoError(f"The server {cut(host, 100)!r} is not known. Check the address.") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not addresses or not all(map(_is_public, addresses)):
        raise ServeError(
            f"The server {cut(host, 100)!r} has an address that is not public, such as those of this machine and of "
            "the network around it, from which nothing is fetched. Send the file itself, as a data: URL."
        )
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        # Ways to write an IPv4 address; gateways take some of them to where no one else can come.
        if address in ipaddress.ip_network("64:ff9b::/96") or address.sixtofour or address.teredo:
            return False
        if address.ipv4_mapped:
            address = address.ipv4_mapped
    return address.is_global and not address.is_multicast
