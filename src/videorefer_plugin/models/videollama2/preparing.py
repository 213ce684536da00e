"""Preparing frames in a processor of VideoLLaMA2: sizes, settings of the image processor, and token counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import get_size_dict
from transformers.processing_utils import ImagesKwargs, MultiModalData, ProcessingKwargs, ProcessorMixin, VideosKwargs

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.masks import DrawnRegion
from videorefer_plugin.inputs.matching import SETTING_GROUPS, Sample
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens
from videorefer_plugin.models.videollama2.images import pad_to_square, pixel_values

__all__ = ["PlannedBatch", "PreparesFrames", "VideoLLaMA2ProcessorKwargs"]

# Settings of image processors that change the size of a frame, or crop it.
_SIZES = ("size", "crop_size", "pad_size")
_GEOMETRY = (*_SIZES, "default_to_square", "do_center_crop", "do_pad")
_FRAME_SETTINGS = (
    *_GEOMETRY,
    *("do_convert_rgb", "do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize"),
    *("image_mean", "image_std", "device", "disable_grouping"),
)
_OF_KIND = {"image": "images_kwargs", "video": "videos_kwargs"}


class VideoLLaMA2ImagesKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """Settings of images."""

    image_aspect_ratio: str | None


class VideoLLaMA2VideosKwargs(VideosKwargs, total=False):  # type: ignore[call-arg]
    """Settings of videos."""

    image_aspect_ratio: str | None
    max_frames: int | None
    video_start: float | list[float] | None
    video_end: float | list[float] | None
    sample_by_second: bool | None


class VideoLLaMA2ProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]
    """Settings of a call of [`VideoLLaMA2Processor`], by kind."""

    _defaults = {}  # type: ignore[var-annotated]  # noqa: RUF012 - looked at by transformers before 5.24
    images_kwargs: VideoLLaMA2ImagesKwargs
    videos_kwargs: VideoLLaMA2VideosKwargs


@dataclass
class PlannedBatch:
    """A batch whose needs are known before any frame is read.

    Attributes:
        samples (`list[Sample]`): the prompts, with what their placeholders become.
        clips (`list[Clip]`): the visuals, in prompt order, with the frames that are shown.
        regions (`list[list[DrawnRegion]]`): the regions of each sample, on the feature grid.
        settings, text_settings (`dict`): settings of the call, and of the tokenizer.
        preprocess (`Callable`):
            Turns frames of shape `(num_frames, height, width, 3)` and dtype `uint8` into pixels of shape
            `(num_frames, 3, image_size, image_size)`; it is told whether they are of an `"image"` or a `"video"`.
    """

    samples: list[Sample]
    clips: list[Clip]
    regions: list[list[DrawnRegion]]
    settings: dict[str, Any]
    text_settings: dict[str, Any]
    preprocess: Callable[[np.ndarray, str], Tensor]


def check_size(size: Any, length: int) -> list[int]:
    """Return height and width of an image, or number of frames, height and width of a video.

    Raises:
        ConfigurationError: it is of another form.
    """
    values = list(size) if isinstance(size, (list, tuple)) else []
    if len(values) != length or not all(isinstance(each, (int, np.integer)) and each > 0 for each in values):
        form = "(height, width)" if length == 2 else "(num_frames, height, width)"
        raise ConfigurationError(f"A size must be {form} in whole numbers of at least 1, but is {short(size)}.")
    return [int(each) for each in values]


class PreparesFrames(ProcessorMixin):
    """The part of a processor that uses its image processor."""

    image_processor: Any
    image_aspect_ratio: str
    patch_size: int
    projector_type: str
    num_frames: int

    @property
    def image_size(self) -> int:
        """Side of the square that frames are resized to, in pixels."""
        size = getattr(self.image_processor, "crop_size", None) or self.image_processor.size
        return size["height"] if "height" in size else size["shortest_edge"]

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the vision tower's feature grid."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def frame_settings(self) -> frozenset[str]:
        """Names of the image processor's settings that a call takes."""
        return frozenset(_FRAME_SETTINGS).intersection(self.image_processor.valid_kwargs.__annotations__)

    def preprocess_frames(self, frames: np.ndarray, image_aspect_ratio: str | None = None, **settings: Any) -> Tensor:
        """Resize and normalize frames.

        Args:
            frames (`np.ndarray` of shape `(num_frames, height, width, 3)` and dtype `uint8`): RGB frames.
            image_aspect_ratio (`str`, *optional*): `"square"` or `"pad"`; the processor's by default.
            settings: of the image processor, instead of its own; see `take_frame_settings`.

        Returns:
            `torch.Tensor` of shape `(num_frames, 3, image_size, image_size)` and dtype `float32`.

        Raises:
            ConfigurationError: with `do_resize=False`, frames are not of the size that the vision tower takes.
        """
        if (image_aspect_ratio or self.image_aspect_ratio) == "pad":
            mean = settings.get("image_mean")
            mean = np.broadcast_to(self.image_processor.image_mean if mean is None else mean, 3)
            frames = pad_to_square(frames, [int(value * 255) for value in mean])
        side = self.image_size
        if settings.get("do_resize") is False and frames.shape[1:3] != (side, side):
            raise ConfigurationError(
                f"With do_resize=False frames must have {side} x {side} pixels, which is what the vision tower takes, "
                f"but these have {frames.shape[2]} x {frames.shape[1]}. Leave do_resize out."
            )
        return pixel_values(self.image_processor, frames, settings)

    def take_frame_settings(self, rest: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Separate the image processor's settings from the tokenizer's, and check that masks still fit.

        Those in `images_kwargs` count for images, those in `videos_kwargs` for frames of videos, others for both.

        Args:
            rest (`Mapping[str, Any]`): settings of a call that are not the processor's own, in their groups.

        Returns:
            `tuple[dict, dict]`: settings of `"image"` and `"video"`, and all others.

        Raises:
            ConfigurationError: a setting would make frames of another size, is one of text, or has a wrong value.
        """
        names = self.frame_settings
        of_kind: dict[str, dict[str, Any]] = {"image": {}, "video": {}}
        others: dict[str, Any] = {}
        for key, value in rest.items():
            group = value if key in SETTING_GROUPS else {key: value}
            kinds = [kind for kind, name in _OF_KIND.items() if name == key] or list(of_kind)
            own = {name: each for name, each in group.items() if name in names and each is not None}
            if own and key in ("text_kwargs", "audio_kwargs"):
                raise ConfigurationError(
                    f"{next(iter(own))} is a setting of images and videos, but stands in {key}. Put it into "
                    "images_kwargs or videos_kwargs, or pass it on its own."
                )
            for kind in kinds:
                of_kind[kind] |= own
            left = {name: each for name, each in group.items() if name not in names}
            others |= {key: left} if key in SETTING_GROUPS else left
        for settings in of_kind.values():
            self._check_frame_settings(settings)
        return of_kind, others

    def _check_frame_settings(self, settings: dict[str, Any]) -> None:
        side = self.image_size
        for name in _GEOMETRY:
            if name in settings and not self._is_own(name, settings[name]):
                raise ConfigurationError(
                    f"{name}={short(settings[name])} would show the model other frames than the {side} x {side} "
                    "pixels that its vision tower takes, and masks of regions would lie elsewhere. Leave it out."
                )
        if not settings:
            return
        if isinstance(settings.get("resample"), str):
            raise ConfigurationError(
                f"resample must be one of PIL.Image.Resampling or its number, but is {short(settings['resample'])}."
            )
        try:  # values that the image processor refuses should be refused before anything is decoded
            self.image_processor([Image.new("RGB", (side, side))], return_tensors="pt", **settings)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
            raise ConfigurationError(
                f"The image processor does not take {', '.join(f'{n}={short(v)}' for n, v in settings.items())}: "
                f"{' '.join(str(error).split())}"
            ) from error

    def _is_own(self, name: str, value: Any) -> bool:
        own = getattr(self.image_processor, name, None)
        if name not in _SIZES or own is None:
            return value == own or (own is None and value is False)
        try:
            square = bool(getattr(self.image_processor, "default_to_square", False))
            return dict(get_size_dict(value, default_to_square=square)) == dict(own)
        except (ValueError, TypeError):
            return False

    def _get_num_multimodal_tokens(
        self, image_sizes: Any = None, video_sizes: Any = None, **kwargs: Any
    ) -> MultiModalData:
        """Count the placeholders that visuals of some sizes become, for engines that lay prompts out beforehand.

        Args:
            image_sizes (`list[tuple[int, int]]`, *optional*): height and width of each image.
            video_sizes (`list[tuple[int, int, int]]`, *optional*):
                Number of frames that are shown, height and width of each video.
            kwargs: settings of the call.

        Returns:
            `MultiModalData` with `num_image_tokens`, `num_image_patches` and `num_video_tokens`.

        Raises:
            VideoError: a video has too few frames to make a token.
            ConfigurationError: a size or a setting is malformed.
        """
        self._split_settings(kwargs)
        counts: dict[str, list[int]] = {}
        if image_sizes is not None:
            images = [self._count_tokens(self.num_frames, size, 2) for size in image_sizes]
            counts |= {"num_image_tokens": images, "num_image_patches": [1] * len(images)}
        if video_sizes is not None:
            counts["num_video_tokens"] = [self._count_tokens(None, size, 3) for size in video_sizes]
        return MultiModalData(**counts)

    def _count_tokens(self, frames: int | None, size: Any, length: int) -> int:
        values = check_size(size, length)
        frames = values[0] if frames is None else frames
        count = count_visual_tokens(frames, self.grid_size, self.projector_type)
        if not count:
            raise VideoError(
                f"{frames} frame(s) make no token, since the connector joins two frames into one; use at least 2."
            )
        return count

    def _split_settings(self, kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError
