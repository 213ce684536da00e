"""The bytes of videos and images: from paths, addresses, bytes, and open files."""

import base64
import io
import ntpath
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote_to_bytes
from urllib.request import url2pathname

from videorefer_plugin._addresses import bare_address
from videorefer_plugin._text import cut, short, text_fault
from videorefer_plugin.errors import VideoError

__all__ = [
    "MAX_STREAM_BYTES",
    "Stored",
    "add_bytes",
    "first_bytes",
    "inside",
    "is_data_url",
    "is_stored",
    "opened",
    "stored",
]

MAX_STREAM_BYTES = 1 << 30
"""The most bytes that are read from an open file or decoded from a data: URL: such a source is held in memory."""

_CHUNK = 1 << 20  # bytes of a file that are read in one go
_PEEK = 1 << 14  # bytes that are enough to recognize a file
_STEP = 1 << 16  # characters of an address that are decoded at once, since each escape takes much memory
_LONGEST_PATH = 4096  # in characters; longer texts are usually content that was given as a path
_BASE64_SHARE = 0.67  # the least bytes per character of base64, with line breaks and escapes
_LONGEST_NAME = 255  # in characters, of a path that messages repeat
_ADDRESS = re.compile("[a-zA-Z][a-zA-Z0-9+.-]+://")
_BASE64 = re.compile(r"data:[^\0]{0,512}?;\s*base64\s*,", re.IGNORECASE)


class Stored(NamedTuple):
    """A source whose bytes can be read.

    Attributes:
        place (`str` or `bytes`): a path, an address (`scheme://`), or the bytes themselves.
        name (`str`): its name in messages.
    """

    place: str | bytes
    name: str

    @property
    def is_address(self) -> bool:
        """Whether the bytes are somewhere on a network."""
        return isinstance(self.place, str) and _ADDRESS.match(self.place) is not None


def is_stored(source: Any) -> bool:
    """Whether this is a path, an address, bytes, or an open file."""
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, io.IOBase)):
        return True
    # Images and arrays of many libraries can be read as well, but are not files.
    return callable(getattr(source, "read", None)) and not (hasattr(source, "shape") or hasattr(source, "num_frames"))


def is_data_url(source: Any) -> bool:
    """Whether this is a text that claims to contain a file."""
    return isinstance(source, str) and re.match("data:", source, re.IGNORECASE) is not None


def stored(source: Any) -> Stored:
    """Returns the readable form of a path, an address, bytes, or an open file.

    Open files are read from their position to their end; seekable ones are returned to that position.

    Raises:
        VideoError: the source cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return _named_by(os.fsdecode(text), is_address=isinstance(source, str))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _of_bytes(source)
    return _of_file(source)


def inside(root: str | os.PathLike, name: str) -> str:
    """Returns the path of a file that is named relative to a folder, for names from untrusted files.

    Args:
        root (`str` or `os.PathLike`): the folder.
        name (`str`): relative to it.

    Returns:
        `str`: the absolute path, with links resolved. It need not exist.

    Raises:
        VideoError: the name is not a path, is absolute, is an address, or leads out of the folder, directly or
            through a link.
    """
    said = _cut(bare_address(name)) if isinstance(name, str) else short(name)
    if not isinstance(name, str) or not name or "\0" in name or text_fault(name) or len(name) > _LONGEST_PATH:
        raise VideoError(f"{said} is not a path; expected one that is relative to a folder of videos.")
    if _ADDRESS.match(name) or is_data_url(name) or re.match("file:", name, re.IGNORECASE):
        raise VideoError(f"{said} is an address; expected a path that is relative to a folder of videos.")
    if os.path.isabs(name) or ntpath.isabs(name) or ntpath.splitdrive(name)[0] or name.startswith("~"):
        raise VideoError(f"{said} is an absolute path; expected one that is relative to a folder of videos.")
    whole = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(whole, name))
    except (OSError, ValueError) as error:
        raise VideoError(f"{said} cannot be looked up ({error}).") from error
    if os.path.commonpath([whole, path]) != whole or ".." in re.split(r"[/\\]", name):
        raise VideoError(
            f"{said} leads out of the folder of videos. Give the name of a file in it; copy there what links lead to."
        )
    return path


def first_bytes(source: Any) -> bytes:
    """Returns enough bytes to recognize a source, and leaves it so that it can still be read whole.

    Empty if it does not exist, or cannot be read twice.
    """
    try:
        if isinstance(source, (bytes, bytearray, memoryview)):
            return bytes(memoryview(source)[:_PEEK])
        if is_data_url(source):
            return _first_of_data_url(source)
        if isinstance(source, (str, os.PathLike)):
            path = stored(source).place
            if not os.path.isfile(path):  # opening a pipe would wait for its writer
                return b""
            with open(path, "rb") as file:
                return file.read(_PEEK)
        if not source.seekable():
            return b""
        start = source.tell()
        first = source.read(_PEEK)
        source.seek(start)
        return bytes(first) if isinstance(first, (bytes, bytearray, memoryview)) else b""
    except Exception:  # files may be anything with a method "read"; errors are reported when it is opened
        return b""


def opened(place: str | bytes) -> BinaryIO:
    """Opens a path, or the bytes themselves, for reading."""
    return io.BytesIO(place) if isinstance(place, bytes) else open(place, "rb")


def add_bytes(place: str | bytes, digest: Any) -> None:
    """Adds the bytes of a file to a digest, piece by piece."""
    with opened(place) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)


def _named_by(text: str, is_address: bool) -> Stored:
    if is_address and is_data_url(text):
        return _of_data_url(text)
    if is_address and re.match("file:", text, re.IGNORECASE):
        text = _path_of(text)
    if len(text) > _LONGEST_PATH:
        raise VideoError(
            f"A text of {len(text)} characters was given, which is not a path. Base64 needs to be written as "
            '"data:video/mp4;base64,..."; bytes can be given as they are.'
        )
    if not (is_address and _ADDRESS.match(text)):
        long = f"the path of {len(text)} characters that ends in {text[-40:]!r}"
        return Stored(text, repr(text) if len(text) <= _LONGEST_NAME else long)
    return Stored(text, _cut(bare_address(text)))


def _path_of(url: str) -> str:
    path = url[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise VideoError(f"{_cut(url)} names a file of another computer ({_cut(host)}); copy it here first.")
        path = slash + rest
    return url2pathname(path) if os.name == "nt" else os.fsdecode(unquote_to_bytes(path))


def _cut(text: Any) -> str:
    return repr(cut(text, _LONGEST_NAME))


def _of_bytes(source: Any) -> Stored:
    try:
        size = memoryview(source).nbytes
    except ValueError as error:  # the memory was released
        raise VideoError(f"The {type(source).__name__} object cannot be read ({error}).") from error
    name = f"the {type(source).__name__} object of {size} bytes"
    if isinstance(source, memoryview) and source.ndim != 1:
        raise VideoError(f"{name} has {source.ndim} dimensions; give frames as an array, np.asarray(...).")
    # The owner may go on to change other kinds.
    return _with_content(source if type(source) is bytes else bytes(source), name)


def _with_content(content: bytes, name: str) -> Stored:
    if not content:
        raise VideoError(f"{name} is empty; a download or copy may have failed.")
    return Stored(content, name)


# --- open files ------------------------------------------------------------------------------------------------------


def _of_file(file: Any) -> Stored:
    said = getattr(file, "name", None)
    name = f"the open file {_cut(said)}" if isinstance(said, str) and said else f"the open {type(file).__name__}"
    try:
        start = file.tell()
        file.seek(start)
    except (AttributeError, OSError, ValueError):  # ValueError: it is closed, which reading reports
        start = None
    try:
        _check_length(file, name, start or 0)
        try:
            content = _joined(_pieces(file, name), name)
        finally:
            if start is not None:
                file.seek(start)
    except VideoError:
        raise
    except Exception as error:  # files may be anything that has a method "read"
        raise VideoError(f"{name} cannot be read ({type(error).__name__}: {error}).") from error
    if not content and start:
        raise VideoError(f"{name} stands at its end, so that nothing is left to read; call seek(0) first.")
    return _with_content(content, name)


def _check_length(file: Any, name: str, start: int) -> None:
    """Refuses a file on a disk that is too long, before anything of it is read."""
    try:
        length = os.fstat(file.fileno()).st_size - start
    except (AttributeError, OSError, ValueError, TypeError):  # not a file on a disk
        return
    if length > MAX_STREAM_BYTES:
        raise _too_long(name)


def _pieces(file: Any, name: str) -> Iterator[bytes]:
    while True:
        piece = file.read(_CHUNK)
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            close = getattr(piece, "close", None)  # asynchronous files return a coroutine
            if callable(close):
                close()
            raise VideoError(
                f'{name} gives {type(piece).__name__} instead of bytes; open it for reading in binary mode, "rb".'
            )
        if not piece:
            return
        yield bytes(piece)


def _joined(pieces: Iterable[bytes], name: str) -> bytes:
    content = io.BytesIO()
    for piece in pieces:
        if content.tell() + len(piece) > MAX_STREAM_BYTES:
            raise _too_long(name)
        content.write(piece)
    return content.getvalue()


def _too_long(name: str) -> VideoError:
    return VideoError(
        f"{name} has more than {MAX_STREAM_BYTES} bytes, too many to hold in memory; give the path of a file instead."
    )


# --- data: URLs ------------------------------------------------------------------------------------------------------


def _of_data_url(url: str) -> Stored:
    name = f"the data: URL of {len(url)} characters"
    start, is_base64 = _content_of(url)
    if not start:
        raise VideoError(f'{name} has no content: a comma stands before it, as in "data:video/mp4;base64,...".')
    if (len(url) - start) * (_BASE64_SHARE if is_base64 else 1 / 3) > MAX_STREAM_BYTES:
        raise _too_long(name)
    pieces = _unquoted(url, start)
    try:
        content = _joined(_from_base64(pieces) if is_base64 else pieces, name)
    except VideoError:
        raise
    except ValueError:  # its message may repeat the content
        kind = "base64" if is_base64 else "percent-encoding"
        raise VideoError(f"The content of {name} is not valid {kind}; it may be damaged or cut off.") from None
    return _with_content(content, name)


def _content_of(url: str) -> tuple[int, bool]:
    """The index at which the content of a data: URL begins, 0 if there is none, and whether it is base64."""
    # Browsers write types with commas, "video/webm;codecs=vp8,opus;base64,", so that the first one may be a part.
    found = _BASE64.match(url)
    return (found.end(), True) if found else (url.find(",") + 1, False)


def _first_of_data_url(url: str) -> bytes:
    start, is_base64 = _content_of(url)
    pieces = _unquoted(url[: start + _STEP], start)
    return next(_from_base64(pieces) if is_base64 else pieces, b"")


def _unquoted(url: str, start: int) -> Iterator[bytes]:
    """Yields the unescaped text of an address from an index on, piece by piece."""
    while start < len(url):
        end = start + _STEP
        if end < len(url):
            escape = url.find("%", end - 2, end)  # which would be split
            end = end if escape < 0 else escape
        yield unquote_to_bytes(url[start:end])
        start = end


def _from_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left, ended = b"", False
    for piece in pieces:
        left += piece.translate(None, b" \t\r\n\f")
        whole = len(left) // 4 * 4
        if ended and left:
            raise ValueError("something follows the end")
        ended = left[:whole].endswith(b"=")
        yield base64.b64decode(left[:whole], validate=True)
        left = left[whole:]
    if ended and left:
        raise ValueError("something follows the end")
    yield base64.b64decode(left + b"=" * (-len(left) % 4), validate=True)
