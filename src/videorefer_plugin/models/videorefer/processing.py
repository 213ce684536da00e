"""Processor of VideoRefer: that of the host, with regions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.clips import Clip, clips_by_sample
from videorefer_plugin.inputs.conversations import CONTENT_KINDS, as_conversations, regions_of
from videorefer_plugin.inputs.frames import FrameStore
from videorefer_plugin.inputs.masks import DrawnRegion, RegionMasks, grid_masks, region_frames
from videorefer_plugin.inputs.matching import REGION_SETTINGS, Sample, check_mask_policy, check_region_limit, named
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.videollama2.preparing import VideoLLaMA2ProcessorKwargs
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.object_encoder import ObjectEncoderConfig

__all__ = ["VideoReferProcessor"]


class VideoReferProcessorKwargs(VideoLLaMA2ProcessorKwargs, total=False):  # type: ignore[call-arg]
    """Settings of a call of [`VideoReferProcessor`]."""

    _defaults = {}  # type: ignore[var-annotated]  # noqa: RUF012 - looked at by transformers before 5.24
    mask_policy: str | None
    max_frames_per_region: int | None


class VideoReferProcessor(VideoLLaMA2Processor):
    r"""
    Turns prompts with `<region>`, their visuals and their regions into the inputs of a
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
    valid_processor_kwargs = VideoReferProcessorKwargs
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
        region_token: str = REGION_TOKEN,
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
            "region_masks",
            "region_frames",
            "region_lengths",
            "region_pixel_values",
        ]

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            regions (`list[Region]` or `list[list[Region]]`, *optional*):
                One [`Region`] for each `<region>`, in prompt order; a list for each sample if there are several
                prompts. A region lies on the last visual before it, unless its `visual` names another.
            mask_policy (`str`, *optional*): `"keep"` or `"original"`; overrides the processor's.
            max_frames_per_region (`int`, *optional*): overrides the processor's.
            kwargs: the arguments of [`VideoLLaMA2Processor.__call__`].

        Returns:
            `BatchFeature` with the result of [`VideoLLaMA2Processor.__call__`] and, if there are regions,
            `region_masks` of shape `(B, M, grid_height, grid_width)` and dtype `bool`; `region_frames` of shape
            `(B, M)`, the frame of each mask; `region_lengths` of shape `(B, R)`, the number of masks of each region;
            and `region_pixel_values` of shape `(B, F, 3, S, S)`, the frames with masks that no visual of the sample
            shows. Every prompt has a row, which is padded with zeros if others have more; see [`RegionInputs`].

        Raises:
            PromptError: `<region>` placeholders and regions do not match.
            RegionError: a region does not fit its video, or has no pixel anywhere; the message names the sample.
            VideoError: a visual cannot be read; the message names the sample.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        return super().__call__(images=images, text=text, videos=videos, **kwargs)

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        settings, text_settings = super()._split_settings(kwargs)
        check_mask_policy(settings["mask_policy"])
        check_region_limit(settings["max_frames_per_region"])
        return settings, text_settings

    @property
    def object_encoder_config(self) -> ObjectEncoderConfig:
        """The configuration of the model's object encoder, which decides how many tokens a region becomes."""
        return ObjectEncoderConfig(max_tokens_per_region=self.max_tokens_per_region)

    # ------------------------------------------------------------------ regions of one sample

    def _draw_regions(
        self, samples: list[Sample], clips: list[Clip], settings: dict[str, Any]
    ) -> list[list[DrawnRegion]]:
        policy, limit = settings["mask_policy"], settings["max_frames_per_region"]
        pad = settings["image_aspect_ratio"] == "pad"
        visuals = clips_by_sample(clips, len(samples))
        drawn = []
        for sample, own in zip(samples, visuals, strict=True):
            used: list[RegionMasks] = []
            for number, region in enumerate(sample.regions):
                with named(f"Sample {sample.index}: region {number}"):
                    used.append(region_frames(region, own[sample.region_visuals[number]], policy, limit))
            encoder = self.object_encoder_config
            counts = encoder.count_tokens(used, [masks.size for masks in used])
            sample.replacements[self.region_token] = [encoder.placeholder(self.region_token, n) for n in counts]
            drawn.append(
                [
                    DrawnRegion(own[visual], masks.frames, grid_masks(masks, self.grid_size, policy, pad))
                    for visual, masks in zip(sample.region_visuals, used, strict=True)
                ]
            )
        return drawn

    def _region_tensors(
        self, clips: list[Clip], regions: list[list[DrawnRegion]], frames: FrameStore
    ) -> dict[str, Tensor]:
        if not any(regions):
            return {}
        rows = [
            self._sample_tensors(visuals, own, frames)
            for visuals, own in zip(clips_by_sample(clips, len(regions)), regions, strict=True)
        ]
        return {f"region_{name}": pad_sequence([row[name] for row in rows], True) for name in rows[0]}

    def _sample_tensors(
        self, visuals: list[Clip], regions: list[DrawnRegion], frames: FrameStore
    ) -> dict[str, Tensor]:
        """The regions of one sample; see [`RegionInputs`]."""
        first, shown = {}, 0
        for clip in sorted(visuals, key=lambda clip: clip.kind == "image"):  # videos come first
            first[id(clip)] = shown
            shown += len(clip.sampled)
        extra: dict[tuple[int, int], int] = {}  # frames that no visual shows, each once
        pixels: list[Tensor] = []
        places = []
        for region in regions:
            place = region.clip.place
            for frame in region.frames:
                key = id(region.clip.video), region.clip.rows_of([frame])[0]
                if frame not in place and key not in extra:
                    extra[key] = len(extra)
                    pixels.append(frames.get(region.clip, [frame])[0])
                places.append(first[id(region.clip)] + place[frame] + 1 if frame in place else -1 - extra[key])
        size = self.image_size
        return {
            "masks": torch.cat([torch.zeros((0, *self.grid_size), dtype=torch.bool), *(r.masks for r in regions)]),
            "frames": torch.tensor(places, dtype=torch.long),
            "lengths": torch.tensor([len(region.frames) for region in regions], dtype=torch.long),
            "pixel_values": torch.stack(pixels) if pixels else torch.zeros((0, 3, size, size)),
        }

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
        are several), or as content items `{"type": "region", "region": Region}`. They lie on the last visual before
        them in the conversation, unless they name theirs. Otherwise see
        [`VideoLLaMA2Processor.apply_chat_template`].

        Raises:
            PromptError: regions are given both ways, or the conversation is malformed.
            ConfigurationError: a setting is unknown to this class and to the template, or given twice.
        """
        tokenize = bool(kwargs.get("tokenize"))
        conversations, batched = as_conversations(conversation, self.content_kinds, with_sources=tokenize)
        processor_kwargs = dict(processor_kwargs or {})
        if "regions" in processor_kwargs and "regions" in kwargs:
            raise ConfigurationError("regions are given twice, on their own and in processor_kwargs. Leave one out.")
        regions = regions_of(conversations, {**processor_kwargs, **kwargs}.get("regions"))
        processor_kwargs.pop("regions", None)
        if regions is not None:
            kwargs["regions"] = regions
        return super().apply_chat_template(
            conversations if batched else conversations[0],
            chat_template=chat_template,
            processor_kwargs=processor_kwargs,
            **kwargs,
        )
