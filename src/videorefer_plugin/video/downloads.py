"""Downloading a video from an http(s) address, with limits of time and size, and without following other protocols."""

import importlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from videorefer_plugin._addresses import names_server
from videorefer_plugin._waiting import TooSlowError, within
from videorefer_plugin.errors import VideoError, VideoReferError
from videorefer_plugin.video.sources import MAX_STREAM_BYTES

__all__ = ["client_library", "downloaded"]

CONNECT_SECONDS = 15.0
"""How long a connection may take."""
SILENT_SECONDS = 30.0
"""How long a server may take to begin a reply, or pause during one."""
SLOWEST = 1024
"""The least bytes a second that a server must send, on average over each `SILENT_SECONDS`."""
MOST_SECONDS = 1800.0
"""How long a whole download may take."""

_REDIRECTS = 10
_BAR_AFTER = 2.0  # seconds; shorter downloads show no progress bar
_INSTEAD = "Download the file first, and give its path"


def downloaded(
    address: str, name: str, *, most_bytes: int | None = None, seconds: float | None = None, transport: Any = None
) -> bytes:
    """The content of an http(s) address, with a bar of the Hub's client if it takes long.

    Args:
        address (`str`): may contain a name and password, which are sent to its own server only.
        name (`str`): its name in messages, without them.
        most_bytes (`int`, *optional*): the most bytes to take; `MAX_STREAM_BYTES` by default.
        seconds (`float`, *optional*): how long it may take; `MOST_SECONDS` by default.
        transport (*optional*): of the client library, to reach servers in another way, for instance in tests.

    Raises:
        VideoError: the server cannot be reached, does not answer in time, sends too much or another kind of content,
            or redirects to another protocol.
    """
    if not names_server(address):
        raise VideoError(
            f"{name} is not the address of a server; expected one such as 'https://example.org/video.mp4'."
        )
    client_of = client_library()
    stop = threading.Event()  # ends the download when its result is no longer needed

    def read() -> bytes:
        with client_of.Client(
            follow_redirects=True,
            max_redirects=_REDIRECTS,
            timeout=client_of.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            transport=transport,
        ) as client:
            request = client.build_request("GET", address)
            response = within(CONNECT_SECONDS + SILENT_SECONDS, lambda: client.send(request, stream=True))
            try:
                return _content(response, name, MAX_STREAM_BYTES if most_bytes is None else most_bytes, stop)
            finally:
                response.close()

    try:
        return within(MOST_SECONDS if seconds is None else seconds, read)
    except (TooSlowError, client_of.TimeoutException) as error:
        raise VideoError(f"{name} does not answer in time. {_INSTEAD}, or try again later.") from error
    except client_of.TooManyRedirects as error:
        raise VideoError(f"{name} leads on to more than {_REDIRECTS} other addresses. {_INSTEAD}.") from error
    except client_of.UnsupportedProtocol as error:
        raise VideoError(
            f"{name} leads to an address that is not http(s), which is not followed. {_INSTEAD}."
        ) from error
    except (client_of.HTTPError, client_of.InvalidURL, ValueError) as error:
        if isinstance(error, VideoReferError):
            raise
        said = str(error) or type(error).__name__
        raise VideoError(
            f"{name} cannot be opened ({said}). Check the address and the connection, or download the file first and "
            "give its path."
        ) from error
    finally:
        stop.set()


def client_library() -> Any:
    """Returns the library that the Hub's client uses, which changed with its version 2."""
    try:
        from huggingface_hub.utils import httpx

        return httpx
    except ImportError:
        return importlib.import_module("httpx")


def _content(response: Any, name: str, most_bytes: int, stop: threading.Event) -> bytes:
    if response.status_code != 200:
        said = f"{response.status_code} {response.reason_phrase}".strip()
        advice = "check the name and password in it" if response.status_code in (401, 403) else "check it"
        raise VideoError(f"{name} cannot be opened: the server answers {said}. {_INSTEAD}, or {advice}.")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise VideoError(f"{name} is a page ({kind}) and not a video; it may want a login. {_INSTEAD}.")
    length = response.headers.get("content-length", "")
    total = int(length) if length.isdecimal() and len(length) < 20 else None
    if total is not None and total > most_bytes:
        raise _too_large(name, most_bytes)
    content = bytearray()
    for piece in _pieces(response, name, total):
        content += piece
        if len(content) > most_bytes:
            raise _too_large(name, most_bytes)
        if stop.is_set():
            break
    if not content:
        raise VideoError(f"{name} is empty: the server sends nothing. {_INSTEAD}.")
    return bytes(content)


def _pieces(response: Any, name: str, total: int | None) -> Iterator[bytes]:
    """Yields the content as it arrives, as long as it arrives fast enough."""
    from huggingface_hub.utils import tqdm

    since, arrived = time.monotonic(), 0
    with tqdm(total=total, unit="B", unit_scale=True, desc=name[:60], delay=_BAR_AFTER, leave=False) as bar:
        for piece in response.iter_bytes():
            yield piece
            bar.update(len(piece))
            arrived += len(piece)
            seconds = time.monotonic() - since
            if seconds > SILENT_SECONDS:
                if arrived < SLOWEST * seconds:
                    raise VideoError(f"{name} arrives at less than {SLOWEST} bytes a second. {_INSTEAD}.")
                since, arrived = time.monotonic(), 0


def _too_large(name: str, most_bytes: int) -> VideoError:
    return VideoError(f"{name} has more than {most_bytes} bytes, too many to hold in memory. {_INSTEAD}.")
