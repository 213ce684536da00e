"""Finding the positions at which the structure of a video file is broken.

Decoders and demuxers silently skip data that they cannot read, so frames are lost and later ones move up. Every
container chains its elements by their lengths; damage to one of them breaks the chain.
"""

import contextlib
import mmap
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["find_breaks"]

_Data = mmap.mmap | bytes  # the bytes of a file
_CHUNK = 1 << 16  # bytes that are searched at once


def find_breaks(source: str | bytes) -> list[int]:
    """Returns positions in a file (its path, or its bytes), ascending, after which something is damaged or lost.

    Each is the start of the last element that could be read before. Empty for files without damage to their structure,
    for containers that this module does not support, and for addresses.
    """
    with contextlib.suppress(OSError, ValueError):  # an address
        if isinstance(source, bytes):
            return _breaks(source)
        with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _breaks(data)
    return []


def _breaks(data: _Data) -> list[int]:
    for looks_like, breaks in _CONTAINERS:
        if looks_like(data):
            return sorted(set(breaks(data)))
    return []


# --- Matroska: elements of an id, a length and a content -------------------------------------------------------------

_CLUSTER = b"\x1f\x43\xb6\x75"
_TRACKS = b"\x16\x54\xae\x6b"
_SEGMENT = b"\x18\x53\x80\x67"
_BLOCK = b"\xa3"
_BLOCK_HEADER = 11  # bytes, at most
_KNOWN = {
    *(_CLUSTER, _TRACKS, _BLOCK),
    *(b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x1c\x53\xbb\x6b", b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70"),
    *(b"\x12\x54\xc3\x67", b"\xec", b"\xbf", b"\xe7", b"\xa7", b"\xab", b"\xa0", b"\xaf", b"\x58\x54"),
}


def _matroska_breaks(data: _Data) -> Iterator[int]:
    segment = data.find(_SEGMENT, 0, 4096)
    if segment < 0:
        yield 0
        return
    _, place, length = _element(data, segment) or (b"", len(data), 0)
    end = min(place + length, len(data)) if length else len(data)  # a live recording does not say its length
    last, cluster, cluster_end = segment, segment, None
    while place < end:
        if cluster_end is not None and place >= cluster_end:
            if place > cluster_end:
                yield cluster  # its elements do not add up to its length
            cluster_end = None
        element = _element(data, place)
        # In a truncated file, the last cluster is longer than the rest.
        if element is None or element[0] not in _KNOWN or (element[0] != _CLUSTER and element[1] + element[2] > end):
            yield last
            place = data.find(_CLUSTER, place + 1)
            if place < 0:
                return
            cluster_end = None
            continue
        name, content, length = element
        last = place
        if name == _CLUSTER:
            if cluster_end is not None:
                yield cluster
            cluster, place = place, content
            cluster_end = content + length if length else None
        else:
            if name == _BLOCK and not _is_block(data[content : content + min(length, _BLOCK_HEADER)]):
                yield last
            place = content + length


def _is_block(head: bytes) -> bool:
    """Whether this can begin a block: the number of a track, two bytes of time, and valid flags."""
    flags = 11 - (head[0] if head else 0).bit_length()  # behind the number, of up to eight bytes, and the time
    return flags < min(len(head), _BLOCK_HEADER) and not head[flags] & 0x70


def _element(data: _Data, place: int) -> tuple[bytes, int, int] | None:
    """Id, start of the content and length (0 if unknown) of the element at a position."""
    first = data[place]
    id_length = 9 - first.bit_length()
    if id_length > 4 or place + id_length >= len(data):
        return None
    start = place + id_length
    size_length = 9 - data[start].bit_length()
    if size_length > 8 or start + size_length > len(data):
        return None
    length = int.from_bytes(data[start : start + size_length], "big") & ((1 << 7 * size_length) - 1)
    unknown = length == (1 << 7 * size_length) - 1
    return data[place:start], start + size_length, 0 if unknown else length


# --- MP4: boxes of a length, a type and a content. Only the outermost matter, of files in fragments ------------------

_BOXES = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"ssix", b"mfra", b"prft"),
    *(b"emsg", b"uuid", b"meta", b"pdin", b"udta", b"bloc", b"mvex", b"PICT", b"pnot"),
}
_FRAGMENT = re.compile(rb".{4}moof.{4}mfhd", re.DOTALL)


def _mp4_breaks(data: _Data) -> Iterator[int]:
    place = last = 0
    in_fragments = complete = False  # whether the end of the last fragment was seen
    while place < len(data):
        length, name = _box(data, place), data[place + 4 : place + 8]
        if length:
            in_fragments = in_fragments or name == b"moof"
            complete = complete or name == b"mfra"
            last, place = place, place + length
            continue
        following = _FRAGMENT.search(data, place + 1)
        in_fragments = in_fragments or following is not None
        if following:
            yield last
            place = following.start()
            continue
        # Without fragments, one table has the positions of all frames, whatever lies between them.
        just_ends = name in _BOXES or complete or _is_zero(data, place)
        if in_fragments and not just_ends:
            yield last
        return


def _box(data: _Data, place: int) -> int:
    """The length of the box at a position; 0 if there is none.

    Writers add their own boxes, so any name is accepted if another box or the end of the file follows.
    """
    length, name = _box_header(data, place)
    end = place + length
    if not name or end > len(data):
        return 0
    return length if name in _BOXES or end == len(data) or _box_header(data, end)[1] else 0


def _box_header(data: _Data, place: int) -> tuple[int, bytes]:
    """Length and name of the box at a position; the name is empty if it cannot be a name."""
    length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
    if length == 1:
        length = int.from_bytes(data[place + 8 : place + 16], "big")
    elif length == 0 and name in _BOXES:
        length = len(data) - place
    return length, name if length >= 8 and len(name) == 4 and all(32 <= byte < 127 for byte in name) else b""


def _is_zero(data: _Data, place: int) -> bool:
    """Whether only zeros follow."""
    return all(not any(data[start : start + _CHUNK]) for start in range(place, len(data), _CHUNK))


# --- AVI: chunks of a type, a length and a content -------------------------------------------------------------------


def _avi_breaks(data: _Data) -> Iterator[int]:
    place = last = 0
    end = 0
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"RIFF":
            end = place + 8 + length
        elif place >= end - 1:
            return  # junk behind the end
        steps_in = name == b"RIFF" or (name == b"LIST" and data[place + 8 : place + 12] in (b"movi", b"rec "))
        overruns = not steps_in and place + 8 + length > min(end, len(data)) + 1
        if overruns and end > len(data):
            return  # the file just breaks off
        if not (name.isascii() and name.decode("ascii").isprintable()) or overruns:
            yield last
            return
        last = place
        place += 12 if steps_in else 8 + length + length % 2


# --- FLV: tags, each followed by its length --------------------------------------------------------------------------


_SOUND, _PICTURES, _SCRIPT = 8, 9, 18  # kinds of tags


def _flv_breaks(data: _Data) -> Iterator[int]:
    place = int.from_bytes(data[5:9], "big") + 4
    last = 0
    codecs: dict[int, Any] = {}  # of sound and of video
    while place + 11 <= len(data):
        kind, length = data[place] & 0x1F, 11 + int.from_bytes(data[place + 1 : place + 4], "big")
        if place + length > len(data):
            return  # the file just breaks off
        said = int.from_bytes(data[place + length : place + length + 4], "big")
        codec = _flv_codec(kind, data[place + 11 : place + min(length, 16)])
        other = codec is not None and codecs.setdefault(kind, codec) != codec
        if kind not in (_SOUND, _PICTURES, _SCRIPT) or said not in (length, 0) or other:
            yield last
            return
        last, place = place, place + length + 4


def _flv_codec(kind: int, head: bytes) -> int | bytes | None:
    """The codec according to the first bytes in a tag: a number, or four letters; `None` if they name none."""
    if not head or kind not in (_SOUND, _PICTURES):
        return None
    high, low = divmod(head[0], 16)
    if kind == _PICTURES and high < 8:
        return low
    if kind == _SOUND and high != 9:
        return high
    # Newer codecs ("enhanced RTMP") have letters, behind the kind of the packet.
    several_tracks = 6 if kind == _PICTURES else 5
    is_command = kind == _PICTURES and high == 13
    return None if low in (several_tracks, 7) or is_command else head[1:]


# --- MPEG transport streams: packets of one length, each beginning with the same byte --------------------------------

_SYNC = 0x47
_UNIT = b"\x00\x00\x01"  # that the payload of a video or sound stream begins with
_TS_LAYOUTS = ((188, 0), (192, 4), (204, 0))  # length of a packet, offset of the byte in it


def _ts_layout(data: _Data) -> tuple[int, int] | None:
    for layout in _TS_LAYOUTS:
        head = data[layout[1] : 5 * layout[0] : layout[0]]
        if len(head) == 5 and head == bytes([_SYNC]) * 5:
            return layout
    return None


def _ts_breaks(data: _Data) -> Iterator[int]:
    length, sync = _ts_layout(data) or _TS_LAYOUTS[0]
    count = (len(data) - sync) // length
    first, second, third = (np.frombuffer(data[sync + k :: length], dtype=np.uint8)[:count] for k in range(3))
    wrong = np.flatnonzero(first != _SYNC)
    if len(wrong):
        yield max(int(wrong[0]) - 1, 0) * length
    streams = (second & 0x1F).astype(np.int32) << 8 | third
    begins: dict[
        int, list[tuple[int, bool]]
    ] = {}  # of each stream: places at which a unit begins, and whether one does
    for packet in np.flatnonzero((second & 0x40 > 0) & (first == _SYNC)).tolist():
        start = packet * length + sync
        begins.setdefault(int(streams[packet]), []).append((start, _payload(data, start) == _UNIT))
    for found in begins.values():
        if sum(whole for _, whole in found) > len(found) / 2:  # no table of the programs
            yield from (start for start, whole in found if not whole)


def _payload(data: _Data, start: int) -> bytes:
    """The first bytes that a packet holds."""
    place = start + 4 + (1 + data[start + 4] if data[start + 3] & 0x20 else 0)
    return data[place : place + len(_UNIT)]


# --- GIF: blocks, made of parts of up to 255 bytes -------------------------------------------------------------------


_GRAPHIC = b"\x21\xf9\x04"  # the first bytes of every picture of an animation
_PICTURE = re.compile(rb"\x00\x21\xf9\x04.{4}\x00[\x2c\x21]", re.DOTALL)


def _gif_breaks(data: _Data) -> Iterator[int]:
    place = last = 13 + _colors(*data[10:11])
    while place + 10 < len(data):
        kind = data[place]
        if kind == 0x3B and data.find(_GRAPHIC, place) < 0:  # the end
            return
        if kind not in (0x21, 0x2C):
            yield last
            return
        last = place
        place += 2 if kind == 0x21 else 11 + _colors(data[place + 9])
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
        if _PICTURE.search(data, last + 2, place):  # in the middle of another one
            yield last
            return


def _colors(flags: int = 0) -> int:
    """Bytes of a table of colors."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# --- PNG: chunks of a length, a type, a content and a checksum, which decoders ignore --------------------------------


def _png_breaks(data: _Data) -> Iterator[int]:
    place = last = 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            return  # the file just breaks off
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            yield last
            return
        if data[place + 4 : place + 8] == b"IEND":
            return
        last, place = place, end


# --- streams without a container (H.264, HEVC, MPEG-2): units between start codes, in which no zeros follow zeros ----

_START = re.compile(rb"\x00\x00\x00?\x01")
_PROGRAM_STREAM = b"\xba"  # of MPEG, which may hold sound with any bytes
_NO_UNIT = re.compile(rb"\x00\x00\x00+[^\x00\x01]")


def _unit_breaks(data: _Data) -> Iterator[int]:
    found = _NO_UNIT.search(data)
    if found:
        yield found.start()


_CONTAINERS = (
    (lambda data: data[:4] == b"\x1a\x45\xdf\xa3", _matroska_breaks),
    (lambda data: data[4:8] in _BOXES, _mp4_breaks),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"AVI ", _avi_breaks),
    (lambda data: data[:3] == b"FLV", _flv_breaks),
    (lambda data: data[:4] == b"GIF8", _gif_breaks),
    (lambda data: data[:4] == b"\x89PNG", _png_breaks),
    (lambda data: _ts_layout(data) is not None, _ts_breaks),
    (lambda data: _START.match(data) is not None and data[3:4] != _PROGRAM_STREAM, _unit_breaks),
)
