"""Patches as the tower of VideoLLaMA3 takes them: sizes, pixels, and which tokens of a clip are kept."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from videorefer_plugin.object_encoder import fit_size

__all__ = ["Patches", "Shown", "keep_changed", "time_label"]

_THRESHOLD = 0.1  # gray levels that a token must differ by from the previous frame, on average


class Shown(NamedTuple):
    """The size and number of tokens with which the frames of a visual are shown.

    Attributes:
        size (`tuple[int, int]`): height and width in pixels.
        grid (`tuple[int, int]`): rows and columns of patches.
        merge (`int`): side of the blocks of patches that become one token.
        times (`list[float]`): label of each frame in seconds; none for an image.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    merge: int
    times: list[float]

    @property
    def tokens(self) -> int:
        """Number of tokens of a frame, before compression."""
        return self.grid[0] * self.grid[1] // self.merge**2


class Patches:
    """Makes patches from frames, with the mean and deviation of an image processor of transformers.

    Args:
        image_processor (`VideoLlama3ImageProcessorPil`): whose settings count.
    """

    def __init__(self, image_processor: Any):
        self.side: int = image_processor.patch_size
        self.resample = image_processor.resample
        # A byte has only 256 values, so the result for each is computed once.
        levels = np.arange(256, dtype=np.float64) * image_processor.rescale_factor
        levels = levels.astype(np.float32)[:, None] - np.asarray(image_processor.image_mean, dtype=np.float32)
        self._table = (levels / np.asarray(image_processor.image_std, dtype=np.float32)).T.copy()

    def shown(
        self, size: tuple[int, int], merge: int, max_pixels: int, min_pixels: int, times: Sequence[float] = ()
    ) -> Shown:
        """How a visual of some size is shown within a budget of pixels."""
        fitted = fit_size(*size, self.side * merge, min_pixels, max_pixels)
        return Shown(fitted, (fitted[0] // self.side, fitted[1] // self.side), merge, list(times))

    def preprocess(self, size: tuple[int, int], merge: int) -> Callable[[np.ndarray, str], Tensor]:
        """What makes patches of frames in one size, as [`FrameStore`] takes it."""
        return lambda frames, kind: self.of(frames, size, merge)

    def of(self, frames: np.ndarray, size: tuple[int, int], merge: int = 1) -> Tensor:
        """Resize and normalize frames, and cut them into patches.

        Args:
            frames (`np.ndarray` of shape `(num_frames, height, width, 3)` and dtype `uint8`): RGB frames.
            size (`tuple[int, int]`): height and width to show them in, multiples of the patch times `merge`.
            merge (`int`, *optional*, defaults to 1): side of the blocks that patches are ordered by.

        Returns:
            `torch.Tensor` of shape `(num_frames, rows * columns, 3 * side * side)` and dtype `float32`.
        """
        if frames.shape[1:3] != tuple(size):
            pictures = (Image.fromarray(frame).resize(size[::-1], resample=self.resample) for frame in frames)
            frames = np.stack([np.asarray(picture) for picture in pictures])
        side, block = self.side, self.side * merge
        rows, columns = size[0] // block, size[1] // block
        cut = frames.reshape(len(frames), rows, merge, side, columns, merge, side, 3)
        cut = cut.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(frames), -1, 3, side * side)
        values = np.empty(cut.shape, dtype=np.float32)
        for channel, levels in enumerate(self._table):
            np.take(levels, cut[:, :, channel], out=values[:, :, channel], mode="clip")
        return torch.from_numpy(values).flatten(2)


def keep_changed(patches: Tensor, merge: int) -> Tensor:
    """Choose the tokens of a clip: those whose pixels changed since the previous frame, and all of the first frame.

    A frame of which nothing changed keeps its first token.

    Args:
        patches (`torch.Tensor` of shape `(num_frames, num_patches, patch_values)`): patches in blocks.
        merge (`int`): side of the blocks that become one token.

    Returns:
        `torch.BoolTensor` of shape `(num_frames, num_tokens)`.
    """
    tokens = patches.unflatten(1, (-1, merge**2)).flatten(2)
    kept = torch.ones(tokens.shape[:2], dtype=torch.bool)
    for frame in range(1, len(tokens)):  # one by one, since differences of all would take as much memory again
        kept[frame] = (tokens[frame] - tokens[frame - 1]).abs().mean(dim=-1) * 255 > _THRESHOLD
    kept[:, 0] |= ~kept.any(dim=1)
    return kept


def time_label(seconds: float) -> str:
    """A time as prompts have it, rounded to a tenth as NumPy does."""
    return str(float(np.round(seconds, 1)))
