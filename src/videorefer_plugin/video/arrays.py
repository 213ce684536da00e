"""Videos whose frames are arrays in memory, or single images."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.base import Video
from videorefer_plugin.video.images import channels_last, check_values, image_size, load_named_image, to_uint8
from videorefer_plugin.video.sources import Stored, add_bytes, is_stored, stored

__all__ = ["ArrayVideo", "ImagesVideo"]


class ArrayVideo(Video):
    """Frames that are all in memory, `(T, H, W, 3)`."""

    def __init__(self, frames: np.ndarray, fps: float, has_clock: bool = True):
        self.has_clock, self.is_rate_assumed = has_clock, not has_clock
        self.name = f"the array of shape {frames.shape}"
        frames = channels_last(frames, self.name, per_frame=False)
        if 0 in frames.shape:
            raise VideoError(f"{self.name} holds no frames or no pixels; pass at least one frame.")
        check_values(frames, self.name)
        self._frames = frames
        self.num_frames, self.height, self.width = frames.shape[:3]
        self._set_even_times(fps)

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in wanted:
            yield index, to_uint8(self._frames[index])


class ImagesVideo(Video):
    """A list of images, or the images of a folder, decoded when they are read."""

    def __init__(self, images: Sequence[Any], name: str, fps: float, check_all: bool, has_clock: bool = True):
        self.name = name
        self.has_clock, self.is_rate_assumed = has_clock, not has_clock
        self._images = [self._kept(index, image) for index, image in enumerate(images)]
        self.num_frames = len(images)
        self.height, self.width = image_size(self._images[0], self._label(0))
        for index in range(1, len(images) if check_all else 1):
            self._check_size(index, image_size(self._images[index], self._label(index)))
        self._set_even_times(fps)

    def _kept(self, index: int, image: Any) -> Any:
        """The form in which an image is kept: files are read and addresses parsed once."""
        if isinstance(image, Stored) or not is_stored(image):
            return image
        try:
            return stored(image)
        except VideoError as error:
            raise VideoError(f"frame {index} of {self.name}: {error}") from error

    def _label(self, index: int) -> str:
        image = self._images[index]
        where = f" ({image.name})" if isinstance(image, Stored) else ""
        return f"frame {index} of {self.name}{where}"

    def _paths(self) -> list[str]:
        return [image.place for image in self._images if isinstance(image, Stored) and isinstance(image.place, str)]

    def _add_content(self, digest: Any) -> None:
        if not any(isinstance(image, Stored) for image in self._images):
            super()._add_content(digest)
            return
        digest.update(b"images ")
        for index, image in enumerate(self._images):
            one = hashlib.blake2b(digest_size=16)
            if isinstance(image, Stored):
                add_bytes(image.place, one)
            else:
                one.update(b"pixels ")
                one.update(next(self._decode([index]))[1].data)
            digest.update(one.digest())

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        if size != (self.height, self.width):
            raise VideoError(
                f"All frames of a video must have one size, but {self._label(index)} is {size[1]}x{size[0]} while the "
                f"first frame is {self.width}x{self.height} (width x height); resize or crop them to one size."
            )

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in wanted:
            image = load_named_image(self._images[index], self._label(index))
            self._check_size(index, image.shape[:2])
            yield index, image
