"""Processor of VideoRefer: the host's, and regions."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError, VideoError
from videorefer_plugin.models.videollama2.processing import Clip, Sample, VideoLLaMA2Processor
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.object_encoder.masks import MASK_POLICIES, resize_masks
from videorefer_plugin.regions import Region
from videorefer_plugin.video import sample_frame_indices

__all__ = ["VideoReferProcessor"]

_MASKS_AT_ONCE = 16  # at full size; of long videos they would fill the memory


class VideoReferProcessor(VideoLLaMA2Processor):
    r"""
    Turns prompts with `<region>`, the visuals and the regions that belong to them into the inputs of a
    [`VideoReferForConditionalGeneration`].

    Args:
        max_tokens_per_region (`int`, *optional*, defaults to 4):
            Number of unions u of the model's object encoder; a region seen in k frames takes `min(k, u)` positions.
        mask_policy (`str`, *optional*, defaults to `"keep"`):
            With `"keep"`, an object smaller than a cell of the feature grid keeps the cell it covers most, a frame
            where it is absent is left out, and a region without a pixel anywhere is an error. With `"original"`,
            small objects may vanish and count as empty frames, as in the released VideoRefer code.
        max_frames_per_region (`int`, *optional*):
            The most frames to use of a region that is given in many; they are taken evenly. All by default.
        region_token (`str`, *optional*): the placeholder.

    The other arguments are those of [`VideoLLaMA2Processor`].
    """

    config_class = VideoReferConfig
    content_kinds = ("text", "image", "video", "region")
    call_settings = (*VideoLLaMA2Processor.call_settings, "regions", "mask_policy", "max_frames_per_region")

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        num_frames: int = 16,
        image_aspect_ratio: str = "square",
        patch_size: int = 14,
        projector_type: str = "stc_connector_v35",
        padding_side: str = "left",
        image_token: str = "<image>",
        video_token: str = "<video>",
        region_token: str = "<region>",
        max_tokens_per_region: int = 4,
        mask_policy: str = "keep",
        max_frames_per_region: int | None = None,
        **kwargs: Any,
    ):
        self.region_token = region_token
        self.max_tokens_per_region = max_tokens_per_region
        self.mask_policy = mask_policy
        self.max_frames_per_region = max_frames_per_region
        super().__init__(
            image_processor,
            tokenizer,
            chat_template=chat_template,
            num_frames=num_frames,
            image_aspect_ratio=image_aspect_ratio,
            patch_size=patch_size,
            projector_type=projector_type,
            padding_side=padding_side,
            image_token=image_token,
            video_token=video_token,
        )
        self.region_token_id = tokenizer.convert_tokens_to_ids(region_token)

    @classmethod
    def _settings_from_config(cls, config: VideoReferConfig) -> dict[str, Any]:
        return {
            **super()._settings_from_config(config),
            "max_tokens_per_region": config.object_encoder_config.max_tokens_per_region,
        }

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call may return for the model."""
        return [
            *super().model_input_names,
            "region_pixel_values",
            "region_masks",
            "region_frames",
            "region_lengths",
            "region_clip_frames",
        ]

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            regions (`list[Region]` or `list[list[Region]]`, *optional*):
                One [`Region`] for each `<region>`, in prompt order; a list for each sample if there are several
                prompts.
            mask_policy (`str`, *optional*): `"keep"` or `"original"`, instead of the processor's.
            max_frames_per_region (`int`, *optional*): instead of the processor's.
            kwargs: the arguments of [`VideoLLaMA2Processor.__call__`].

        Returns:
            `BatchFeature` with what [`VideoLLaMA2Processor.__call__`] returns and, if there are regions,
            `region_pixel_values` of shape `(F, 3, S, S)`, the mask-carrying frames, each once a sample;
            `region_masks` of shape `(M, grid_height, grid_width)` and dtype `bool`; `region_frames` of shape `(M,)`,
            the row of `region_pixel_values` of each mask; `region_lengths` of shape `(R,)`, the number of masks of
            each region; and `region_clip_frames` of shape `(F,)`, the place of each mask-carrying frame among the
            images and then the video frames of the batch, or -1.

        Raises:
            PromptError: `<region>` placeholders and regions do not match.
            RegionError: a region does not fit its video, or has no pixel anywhere; the sample is named.
            VideoError: a visual cannot be read; the sample is named.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        return super().__call__(images=images, text=text, videos=videos, audio=audio, **kwargs)

    def _match(self, text: Any, images: Any, videos: Any, settings: dict[str, Any]) -> list[Sample]:
        if settings["mask_policy"] not in MASK_POLICIES:
            raise ConfigurationError(
                f"Unknown mask_policy {settings['mask_policy']!r}; known are {', '.join(map(repr, MASK_POLICIES))}."
            )
        samples = super()._match(text, images, videos, settings)
        regions = _by_sample(settings["regions"], len(samples))
        for index, (sample, given) in enumerate(zip(samples, regions, strict=True)):
            count = sample.text.count(self.region_token)
            if count and sample.kind is None:
                raise PromptError(
                    f"Sample {index} has {self.region_token} in its text but neither {self.video_token} nor "
                    f"{self.image_token}, so there is nothing to point at."
                )
            if count != len(given):
                raise PromptError(
                    f"Sample {index} has {count} {self.region_token} in its text, but {len(given)} region(s) were "
                    "given for it. Pass one Region for each, in the order of the text."
                )
            for region in given:
                if not isinstance(region, Region):
                    raise RegionError(
                        f"Sample {index}: a region must be a Region, but is a {type(region).__name__}. "
                        "Region.from_mask, Region.from_box and Region.from_annotation make one."
                    )
        settings["regions"] = {id(sample): given for sample, given in zip(samples, regions, strict=True)}
        return samples

    # ------------------------------------------------------------------ regions of one sample

    def _extra_frames(self, sample: Sample, clip: Clip, settings: dict[str, Any], data: dict[str, Any]) -> list[int]:
        """Bring the sample's regions to the feature grid, before any frame is decoded."""
        gridded = []
        for number, region in enumerate(settings["regions"][id(sample)]):
            try:
                gridded.append(self._grid_region(region, clip.video, settings))
            except (RegionError, VideoError) as error:
                raise type(error)(f"region {number}: {error}") from error
        unions = [self.region_token * min(len(masks), self.max_tokens_per_region) for masks in gridded]
        sample.replacements[self.region_token] = unions
        data.setdefault("_gridded", []).append(gridded)
        return sorted({frame for masks in gridded for frame in masks})

    def _grid_region(self, region: Region, video: Any, settings: dict[str, Any]) -> dict[int, Tensor]:
        """Masks of a region on the feature grid by frame, in order of time."""
        policy = settings["mask_policy"]
        region = region.at_frames(video.frame_at)
        beyond = [frame for frame in region.frames if frame >= video.num_frames]
        if beyond:
            raise RegionError(
                f"it lies on frame {beyond[0]}, but {video.name} has {video.num_frames} frame(s), numbered from 0. "
                "Frames are those of the source video, not of the sampled clip."
            )
        frames = [frame for frame in region.frames if policy == "original" or not region.is_absent(frame)]
        limit = settings["max_frames_per_region"]
        if limit is not None and len(frames) > limit:
            frames = [frames[index] for index in sample_frame_indices(len(frames), num_frames=limit)]
        masks: dict[int, Tensor] = {}
        pad = settings["image_aspect_ratio"] == "pad"
        for first in range(0, len(frames), _MASKS_AT_ONCE):
            some = frames[first : first + _MASKS_AT_ONCE]
            drawn = np.stack([region.mask(frame, video.height, video.width) for frame in some])
            grids = resize_masks(torch.from_numpy(drawn), self.grid_size, policy, pad_to_square=pad)
            seen = grids.flatten(1).any(dim=1).tolist()
            masks |= {
                frame: grid
                for frame, grid, any_cell in zip(some, grids, seen, strict=True)
                if any_cell or policy == "original"
            }
        if not masks:
            raise RegionError(
                f"it has no pixel in any of its {len(region.frames)} frame(s) ({_shortened(region.frames)}) of "
                f"{video.height}x{video.width} (height x width). "
                "Mark the object in at least one frame."
            )
        return masks

    def _add_extra(
        self, pixels: Tensor, row: dict[int, int], sample: Sample, clip: Clip, data: dict[str, Any]
    ) -> None:
        gridded = data["_gridded"].pop()
        frames = sorted({frame for masks in gridded for frame in masks})
        if not frames:
            return
        first = sum(len(part) for part in data.get("region_pixel_values", []))
        place = {frame: first + position for position, frame in enumerate(frames)}
        data.setdefault("region_pixel_values", []).append(pixels[[row[frame] for frame in frames]])
        data.setdefault("region_masks", []).extend(mask for masks in gridded for mask in masks.values())
        data.setdefault("region_frames", []).extend(place[frame] for masks in gridded for frame in masks)
        data.setdefault("region_lengths", []).extend(len(masks) for masks in gridded)
        # Where the tower sees a mask-carrying frame anyway, its features are taken from there.
        kind = "pixel_values" if sample.kind == "image" else "pixel_values_videos"
        visual = len(data[kind]) - 1
        shown = {frame: position for position, frame in reversed(list(enumerate(clip.sampled)))}
        data.setdefault("region_clip_frames", []).extend(
            (kind, visual, shown[frame]) if frame in shown else None for frame in frames
        )

    def _stack(self, data: dict[str, Any]) -> None:
        data.pop("_gridded", None)
        super()._stack(data)
        if "region_pixel_values" not in data:
            return
        data["region_pixel_values"] = torch.cat(data["region_pixel_values"])
        data["region_masks"] = torch.stack(data["region_masks"])
        data["region_frames"] = torch.tensor(data["region_frames"])
        data["region_lengths"] = torch.tensor(data["region_lengths"])
        # First row of each kind among all frames of the batch, and rows a visual: images first, then video frames.
        images = len(data["pixel_values"]) if "pixel_values" in data else 0
        length = data["pixel_values_videos"].shape[1] if "pixel_values_videos" in data else 0
        rows = {"pixel_values": (0, 1), "pixel_values_videos": (images, length)}
        data["region_clip_frames"] = torch.tensor(
            [
                -1 if place is None else rows[place[0]][0] + place[1] * rows[place[0]][1] + place[2]
                for place in data["region_clip_frames"]
            ]
        )

    # ------------------------------------------------------------------ chat

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Format a conversation, or many, and prepare it for the model with `tokenize=True, return_dict=True`.

        Regions are given as `regions=`, one for each `<region>` in the text (a list for each conversation if there
        are several), or in place as content items `{"type": "region", "region": Region}`. Otherwise see
        [`VideoLLaMA2Processor.apply_chat_template`].

        Raises:
            PromptError: regions are given both ways, or the conversation is malformed.
        """
        self._check_conversations(conversation)
        batched = isinstance(conversation, (list, tuple)) and isinstance(conversation[0], (list, tuple))
        inline = [_inline_regions(one) for one in (conversation if batched else [conversation])]
        given = kwargs.get("regions", (processor_kwargs or {}).get("regions"))
        if any(inline):
            if given is not None:
                raise PromptError("Regions are given both as regions= and as content items; use one way.")
            kwargs["regions"] = inline
        return super().apply_chat_template(
            conversation, chat_template=chat_template, processor_kwargs=processor_kwargs, **kwargs
        )


def _by_sample(regions: Any, num_samples: int) -> list[list[Any]]:
    """Lists of regions, one for each sample."""
    if regions is None:
        return [[] for _ in range(num_samples)]
    if isinstance(regions, Region):
        regions = [regions]
    if not isinstance(regions, (list, tuple)):
        raise RegionError(
            f"regions must be a list of Regions, one for each <region>, but is a {type(regions).__name__}."
        )
    if num_samples == 1 and not (len(regions) == 1 and isinstance(regions[0], (list, tuple))):
        regions = [regions]
    if len(regions) != num_samples:
        raise PromptError(
            f"regions has {len(regions)} item(s) for {num_samples} prompt(s); pass a list of Regions for each prompt, "
            "empty where there is none."
        )
    by_sample = []
    for index, given in enumerate(regions):
        if isinstance(given, Region):
            given = [given]
        if given is not None and not isinstance(given, (list, tuple)):
            raise RegionError(f"Sample {index}: expected a list of Regions, but got a {type(given).__name__}.")
        by_sample.append(list(given or []))
    return by_sample


def _inline_regions(conversation: Any) -> list[Region]:
    found = []
    for message in conversation:
        content = message.get("content")
        for item in content if isinstance(content, (list, tuple)) else []:
            if item.get("type") == "region":
                if not isinstance(item.get("region"), Region):
                    raise RegionError(
                        'A content item of type "region" needs a Region under "region", but has '
                        f"{type(item.get('region')).__name__}."
                    )
                found.append(item["region"])
    return found


def _shortened(frames: tuple[int, ...]) -> str:
    return ", ".join(map(str, frames[:5])) + (", ..." if len(frames) > 5 else "")
