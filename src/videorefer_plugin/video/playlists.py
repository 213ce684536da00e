"""Files that are no videos but name some, here or elsewhere, which nobody asked to be opened."""

import re
from functools import cache

import av

__all__ = ["looks_like_playlist", "opened_formats"]

# Formats of FFmpeg whose files name other files or addresses, or which are no files at all.
_NOT_OPENED = (
    *("hls", "applehttp", "dash", "webm_dash_manifest", "concat", "imf", "sdp", "rtsp", "rtp", "sap"),
    *("avisynth", "vapoursynth", "vobsub", "lavfi", "image2pipe", "ffmetadata", "libgme", "smil"),
)
_TEXTS = re.compile(
    rb"(\xef\xbb\xbf)?\s*(#EXT|ffconcat version|v=0\s|\[playlist\]|(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)*"
    rb"<(MPD|smil|playlist|asx|CompositionPlaylist|[\w]+:CompositionPlaylist)\b)",
    re.I | re.S,
)


@cache
def opened_formats() -> str:
    """The formats of this build of FFmpeg that are opened, as its option `format_whitelist` takes them."""
    return ",".join(sorted(name for name in av.formats_available if not set(name.split(",")) & set(_NOT_OPENED)))


def looks_like_playlist(head: bytes) -> bool:
    """Whether a file begins like a list of files."""
    return _TEXTS.match(head) is not None
