"""Allowed sources of the visuals of a request."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from videorefer_plugin._addresses import bare_address, names_server
from videorefer_plugin._text import cut
from videorefer_plugin.errors import ServeError, VideoError
from videorefer_plugin.video.sources import inside, is_data_url

__all__ = ["Sources"]

_LONGEST = 2048  # characters of an address, other than a data: URL


@dataclass(frozen=True)
class Sources:
    """The allowed sources of visuals: data: URLs always, files and servers as far as they are allowed.

    Attributes:
        root (`str`, *optional*): folder whose files may be named as `file:///...`; none by default.
        domains (`tuple[str, ...]`, *optional*): the only servers to fetch from, also with private addresses. By
            default, all servers with public addresses are allowed.
        urls (`bool`): whether anything is fetched at all.
    """

    root: str | None = None
    domains: tuple[str, ...] = ()
    urls: bool = True

    def __post_init__(self) -> None:
        if self.root is not None and not Path(self.root).is_dir():
            raise ServeError(f"The folder of media {str(self.root)!r} does not exist; give one, or leave it out.")

    def check(self, address: str, where: str) -> None:
        """Check that an address is allowed, without opening it.

        Raises:
            ServeError: the address is not allowed. The message does not reveal files of this machine.
        """
        if is_data_url(address):
            return
        if re.match("file:", address, re.IGNORECASE):
            self.path_of(address, where)
            return
        shown = repr(cut(bare_address(address[:_LONGEST]), 200))
        if len(address) > _LONGEST or not names_server(address) or any(not one.isprintable() for one in address):
            raise ServeError(
                f"{where} has {shown}, which is not an address to open; expected a data: URL, or an http(s) "
                "address of a server.",
                parameter=where,
            )
        host = (urlsplit(address).hostname or "").lower()
        if not self.urls or (self.domains and host not in self.domains):
            taken = f"only addresses of {', '.join(self.domains)}" if self.urls else "no addresses"
            raise ServeError(
                f"{where} has {shown}, but this server fetches {taken}. Send the file itself, as a data: URL.",
                parameter=where,
            )

    def path_of(self, address: str, where: str) -> str:
        """Return the path of a file: address.

        Raises:
            ServeError: files are not allowed, or this one is outside the allowed folder.
        """
        refused = ServeError(
            f"{where} names a file of the server that may not be read. Only files of the folder with which the server "
            "was started can be named, as file:/// and their path. Send the file itself, as a data: URL.",
            parameter=where,
        )
        if self.root is None:
            raise refused
        root = os.path.realpath(self.root)
        parts: Any = re.fullmatch(r"file:(?://(localhost)?)?(/[^?#]*)", address, re.IGNORECASE)
        path = unquote(parts[2]) if parts else ""
        given = next((start for start in (os.path.abspath(self.root), root) if path.startswith(start + os.sep)), None)
        if given is None:
            raise refused
        try:
            return inside(root, path[len(given) + 1 :])
        except VideoError:
            raise refused from None
