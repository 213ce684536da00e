"""Deciding from the bytes of a video file whether it is truncated."""

from typing import BinaryIO

from videorefer_plugin.video.sources import opened

__all__ = ["is_cut_off"]

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")  # the first box of an MP4 or MOV file
_EBML = b"\x1a\x45\xdf\xa3"  # the first bytes of a Matroska file
_SEGMENT = b"\x18\x53\x80\x67"  # the element that holds all the rest of a Matroska file


def is_cut_off(source: str | bytes) -> bool:
    """Whether an MP4, Matroska, AVI, GIF or PNG file is shorter than its header says."""
    try:
        with opened(source) as file:
            head = file.read(4096)
            size = file.seek(0, 2)
            if head[4:8] in _MP4_BOXES:
                return _boxes_overrun(file, size)
            file.seek(max(size - 64, 0))
            tail = file.read()
    except OSError:  # an address
        return False
    if head.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    return head.startswith(_EBML) and _segment_overruns(head, size)


def _boxes_overrun(file: BinaryIO, size: int) -> bool:
    place = 0
    while place + 16 <= size:
        file.seek(place)
        box = file.read(16)
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:], "big")
        if place + length > size:
            # Other boxes that overrun are junk behind the end.
            return box[4:8] in (b"mdat", b"moov", b"moof")
        if length < 8:  # up to the end of the file, or junk
            return False
        place += length
    return False


def _segment_overruns(head: bytes, size: int) -> bool:
    place = head.find(_SEGMENT)
    if not 0 < place < len(head) - 12:
        return False
    length = 9 - head[place + 4].bit_length()  # bytes of the size field
    value = int.from_bytes(head[place + 4 : place + 4 + length], "big") & ((1 << 7 * length) - 1)
    unknown = value == (1 << 7 * length) - 1  # a live recording
    return not unknown and place + 4 + length + value > size
