"""Files that are not videos but name others, here or elsewhere, which must not be opened."""

import re
from functools import cache

import av

__all__ = ["looks_like_playlist", "opened_formats"]

# Formats of FFmpeg whose files name other files or addresses, or that do not come from files at all.
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
    """Returns the formats of this build of FFmpeg that are opened, for its option `format_whitelist`."""
    return ",".join(sorted(name for name in av.formats_available if not set(name.split(",")) & set(_NOT_OPENED)))


def looks_like_playlist(head: bytes) -> bool:
    """Whether a file begins like a list of files."""
    return _TEXTS.match(head) is not None
