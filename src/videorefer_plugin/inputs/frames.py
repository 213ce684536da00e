"""The frames of a batch: each one is decoded and preprocessed once, however many prompts show it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.matching import named

__all__ = ["FrameStore"]


class FrameStore:
    """Frames of the clips of a batch, by the video that they come from.

    Say first which frames are wanted: those of one video are read together.

    Args:
        preprocess (`Callable`): turns frames of shape `(num_frames, height, width, 3)` into a tensor with a row for
            each; it is told whether they are of an `"image"` or a `"video"`.
    """

    def __init__(self, preprocess: Callable[[np.ndarray, str], Tensor]):
        self._preprocess = preprocess
        self._wanted: dict[int, set[int]] = {}
        self._ready: dict[int, tuple[dict[int, int], Tensor]] = {}

    def want(self, clip: Clip, frames: Sequence[int]) -> None:
        """Announce frames of a clip, in the numbering of regions.

        Raises:
            RegionError: of a video sampled beforehand, a frame was not handed over; the sample is named.
        """
        with named(f"Sample {clip.sample}"):
            self._wanted.setdefault(id(clip.video), set()).update(clip.rows_of(frames))

    def get(self, clip: Clip, frames: Sequence[int]) -> Tensor:
        """Preprocessed frames of a clip, a row for each; they were announced.

        Raises:
            VideoError: a frame cannot be decoded; the sample is named.
        """
        key = id(clip.video)
        if key not in self._ready:
            wanted = sorted(self._wanted[key])
            with named(f"Sample {clip.sample}"):
                pixels = self._preprocess(clip.video.read(wanted), clip.kind)
            self._ready[key] = {frame: row for row, frame in enumerate(wanted)}, pixels
        rows, pixels = self._ready[key]
        return pixels[torch.tensor([rows[frame] for frame in clip.rows_of(frames)], dtype=torch.long)]
