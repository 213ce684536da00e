"""Processor of VideoRefer: the host's, and regions."""

from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.conversations import CONTENT_KINDS, as_conversations, regions_of
from videorefer_plugin.inputs.masks import RegionMasks, grid_masks, region_frames
from videorefer_plugin.inputs.matching import REGION_SETTINGS, Sample, check_mask_policy, check_region_limit, named
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.object_encoder import ObjectEncoderConfig

__all__ = ["VideoReferProcessor"]


class VideoReferProcessor(VideoLLaMA2Processor):
    r"""
    Turns prompts with `<region>`, the visuals and the regions that belong to them into the inputs of a
    [`VideoReferForConditionalGeneration`].

    Args:
        max_tokens_per_region (`int`, *optional*, defaults to 4):
            Number of unions u of the model's object encoder; a region seen in k frames takes `min(k, u)` positions.
        mask_policy (`str`, *optional*, defaults to `"keep"`):
            With `"keep"`, an object smaller than a cell of the feature grid keeps the cell it covers most, a frame
            where it is absent or has no pixel is left out, masks are merged in order of time, and a region without a
            pixel anywhere is an error. With `"original"`, small objects may vanish, every annotated frame counts, and
            masks are merged in the annotation's order, as in the released VideoRefer code.
        max_frames_per_region (`int`, *optional*):
            The most frames to use of a region that is given in many; they are taken evenly from those that the mask
            policy leaves. All by default.
        region_token (`str`, *optional*): the placeholder.

    The other arguments are those of [`VideoLLaMA2Processor`].
    """

    config_class = VideoReferConfig
    content_kinds = CONTENT_KINDS
    call_settings = (*VideoLLaMA2Processor.call_settings, *REGION_SETTINGS)

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
        self.region_token: str = region_token
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

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        settings, text_settings = super()._split_settings(kwargs)
        check_mask_policy(settings["mask_policy"])
        check_region_limit(settings["max_frames_per_region"])
        return settings, text_settings

    @property
    def object_encoder_config(self) -> ObjectEncoderConfig:
        """What the processor knows of the model's object encoder: how many tokens it makes of a region."""
        return ObjectEncoderConfig(max_tokens_per_region=self.max_tokens_per_region)

    # ------------------------------------------------------------------ regions of one sample

    def _extra_frames(self, sample: Sample, clip: Clip, settings: dict[str, Any], data: dict[str, Any]) -> list[int]:
        """Draw the sample's regions and bring them to the feature grid, before any frame is decoded."""
        policy, limit = settings["mask_policy"], settings["max_frames_per_region"]
        used: list[RegionMasks] = []
        for number, region in enumerate(sample.regions):
            with named(f"region {number}"):
                used.append(region_frames(region, clip, policy, limit))
        encoder = self.object_encoder_config
        counts = encoder.count_tokens(used, [masks.size for masks in used])
        sample.replacements[self.region_token] = [encoder.placeholder(self.region_token, count) for count in counts]
        pad = settings["image_aspect_ratio"] == "pad"
        data["_gridded"] = [(masks.frames, grid_masks(masks, self.grid_size, policy, pad)) for masks in used]
        return sorted({frame for masks in used for frame in masks.frames})

    def _add_extra(self, pixels: Tensor, row: dict[int, int], clip: Clip, data: dict[str, Any]) -> None:
        gridded = data.pop("_gridded")
        frames = sorted({frame for own, _ in gridded for frame in own})
        if not frames:
            return
        first = sum(len(part) for part in data.get("region_pixel_values", []))
        place = {frame: first + position for position, frame in enumerate(frames)}
        data.setdefault("region_pixel_values", []).append(pixels[[row[frame] for frame in frames]])
        data.setdefault("region_masks", []).extend(masks for _, masks in gridded)
        data.setdefault("region_frames", []).extend(place[frame] for own, _ in gridded for frame in own)
        data.setdefault("region_lengths", []).extend(len(own) for own, _ in gridded)
        # Where the tower sees a mask-carrying frame anyway, its features are taken from there.
        kind = "pixel_values" if clip.kind == "image" else "pixel_values_videos"
        visual, shown = len(data[kind]) - 1, clip.place
        data.setdefault("region_clip_frames", []).extend(
            (kind, visual, shown[frame]) if frame in shown else None for frame in frames
        )

    def _stack(self, data: dict[str, Any]) -> None:
        super()._stack(data)
        if "region_pixel_values" not in data:
            return
        data["region_pixel_values"] = torch.cat(data["region_pixel_values"])
        data["region_masks"] = torch.cat(data["region_masks"])
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
            ConfigurationError: a setting is unknown to this class and to the template, or given twice.
        """
        conversations, _ = as_conversations(conversation, self.content_kinds)
        processor_kwargs = dict(processor_kwargs or {})
        if "regions" in processor_kwargs and "regions" in kwargs:
            raise ConfigurationError("regions are given twice, on their own and in processor_kwargs. Leave one out.")
        regions = regions_of(conversations, {**processor_kwargs, **kwargs}.get("regions"))
        processor_kwargs.pop("regions", None)
        if regions is not None:
            kwargs["regions"] = regions
        return super().apply_chat_template(
            conversation, chat_template=chat_template, processor_kwargs=processor_kwargs, **kwargs
        )
