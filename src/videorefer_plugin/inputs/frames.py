"""The frames of a batch: each is decoded and preprocessed once, even if several prompts show it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.video import Video

__all__ = ["FrameStore", "pieces"]

_BYTES_AT_ONCE = 1 << 26  # of decoded frames; 24 of 1280 x 720


def pieces(video: Video, frames: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split the frames of a video into parts that fit in memory."""
    at_once = max(_BYTES_AT_ONCE // (3 * video.height * video.width), 1)
    return (frames[first : first + at_once] for first in range(0, len(frames), at_once))


class FrameStore:
    """Frames of the clips of a batch, by the video that they come from.

    Announce all frames first: those of one video are read together.

    Args:
        preprocess (`Callable`): turns frames of shape `(num_frames, height, width, 3)` into a tensor with a row for
            each; its second argument is `"image"` or `"video"`.
    """

    def __init__(self, preprocess: Callable[[np.ndarray, str], Tensor]):
        self._preprocess = preprocess
        self._wanted: dict[tuple[int, str], set[int]] = {}
        self._ready: dict[tuple[int, str], tuple[dict[int, int], Tensor]] = {}

    def want(self, clip: Clip, frames: Sequence[int]) -> None:
        """Announce frames of a clip, in the numbering of regions.

        Raises:
            RegionError: the video was sampled beforehand, and a frame was not passed; the message names the sample.
        """
        with named(f"Sample {clip.sample}"):
            self._wanted.setdefault((id(clip.video), clip.kind), set()).update(clip.rows_of(frames))

    def get(self, clip: Clip, frames: Sequence[int]) -> Tensor:
        """Return the preprocessed rows of announced frames of a clip. Clips may share a tensor.

        Raises:
            VideoError: a frame cannot be decoded; the message names the sample.
        """
        key = (id(clip.video), clip.kind)
        if key not in self._ready:
            wanted = sorted(self._wanted[key])
            with named(f"Sample {clip.sample}"):
                pixels = self._read(clip.video, clip.kind, wanted)
            self._ready[key] = {frame: row for row, frame in enumerate(wanted)}, pixels
        rows, pixels = self._ready[key]
        wanted = [rows[frame] for frame in clip.rows_of(frames)]
        return pixels if wanted == list(range(len(pixels))) else pixels[torch.tensor(wanted, dtype=torch.long)]

    def _read(self, video: Video, kind: str, wanted: Sequence[int]) -> Tensor:
        """Read frames in pieces, since they take more memory before they are preprocessed."""
        read = pieces(video, wanted)
        first = self._preprocess(video.read(next(read)), kind)
        if len(first) == len(wanted):
            return first
        pixels = first.new_empty((len(wanted), *first.shape[1:]))
        pixels[: len(first)] = first
        done = len(first)
        for piece in read:
            pixels[done : done + len(piece)] = self._preprocess(video.read(piece), kind)
            done += len(piece)
        return pixels
