"""The filming of training clips: random light, contrast and codec, which are recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.world.values import pick

__all__ = ["PLAIN", "Filming", "any_filming"]

_AS_DRAWN = 0.4  # share of the clips that stay as they are drawn
_LIGHT = (0.6, 1.15)
_CONTRAST = (0.75, 1.2)
_ENCODINGS = (("libx264", 12), ("libx264", 23), ("libx264", 30), ("libx264", 36), ("mpeg4", 4), ("mpeg4", 10))


@dataclass(frozen=True)
class Filming:
    """The light, contrast and encoding of a clip.

    Attributes:
        light (`float`): factor of the brightness.
        contrast (`float`): factor of the distances from the clip's mean brightness, applied first.
        codec (`str`): "libx264" or "mpeg4".
        quality (`int`): the constant rate factor of libx264, or the quantizer of mpeg4; less is better.
    """

    light: float = 1.0
    contrast: float = 1.0
    codec: str = "libx264"
    quality: int = 12

    def seen(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frames in this light and contrast, with the same shape."""
        if (self.light, self.contrast) == (1.0, 1.0):
            return frames
        mean = float(frames.mean())
        seen = ((frames.astype(np.float32) - mean) * self.contrast + mean) * self.light
        return (seen + 0.5).clip(0, 255).astype(np.uint8)

    @property
    def options(self) -> dict[str, str]:
        """The settings of the encoder with which the same frames give the same file."""
        # With several threads the result depends on their number, and with B-frames x264 was seen to give different
        # files for the same frames of this size.
        if self.codec == "mpeg4":
            return {"qmin": str(self.quality), "qmax": str(self.quality), "threads": "1", "bf": "0"}
        return {"crf": str(self.quality), "preset": "fast", "threads": "1", "bf": "0"}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in the form of JSON."""
        return asdict(self)


PLAIN = Filming()
"""Unchanged frames, at a quality that keeps colors."""


def any_filming(rng: np.random.Generator) -> Filming:
    """Draw the filming of a training clip; two in five clips stay unchanged."""
    if rng.random() < _AS_DRAWN:
        return PLAIN
    codec, quality = pick(rng, _ENCODINGS)
    light, contrast = (round(float(rng.uniform(*span)), 3) for span in (_LIGHT, _CONTRAST))
    return Filming(light, contrast, codec, quality)
