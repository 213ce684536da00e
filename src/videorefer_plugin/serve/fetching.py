"""Opens the visuals of a request: data: URLs, files of the allowed folder, and files of allowed servers."""

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

_SECONDS = 60.0  # for a whole download, while a client waits


class Fetched:
    """The bytes of a visual, or the path of its file.

    Attributes:
        source (`bytes` or `str`): the bytes, or the path.
        key (`str`): equal for visuals with the same content.
        size (`int`): number of bytes that are held in memory for it.
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
    """Fetch a visual from its address.

    Args:
        address (`str`): a data: URL, a file: address inside the allowed folder, or an address of a server.
        sources ([`Sources`]): allowed sources.
        limits ([`Limits`]): limits, of which the number of bytes is used.
        where (`str`): name of the visual in messages.

    Raises:
        ServeError: the address is not allowed.
        VideoError: the visual cannot be read. The message names no file of this machine.
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
    """Return a transport that connects to allowed servers only, or to public addresses.

    A name is looked up once, and the transport connects to the checked address, so that no second lookup can lead
    elsewhere. Each address of a chain of redirects is checked.
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
    """Return the trusted certificate authorities, which take a while to read."""
    return client_library().create_ssl_context()


def _public_address(host: str, port: int) -> str:
    """Return an address of a server whose addresses are all public.

    Raises:
        ServeError: an address is of this machine or its local network.
        VideoError: the name of the server is not known.
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
        # Other forms of IPv4 addresses; gateways forward some of them to private addresses.
        if address in ipaddress.ip_network("64:ff9b::/96") or address.sixtofour or address.teredo:
            return False
        if address.ipv4_mapped:
            address = address.ipv4_mapped
    return address.is_global and not address.is_multicast
