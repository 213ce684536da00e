"""Processor of VideoRefer-VideoLLaMA3: turns prompts, visuals and regions into tensors."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.inputs.clips import CLIP_SETTINGS, Clip, Sampling, clips_by_sample
from videorefer_plugin.inputs.frames import FrameStore
from videorefer_plugin.inputs.masks import region_frames
from videorefer_plugin.inputs.matching import REGION_SETTINGS, Sample, named, regions_by_sample
from videorefer_plugin.inputs.placeholders import check_expanded, expand
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.batches import PreparedBatch
from videorefer_plugin.models.tokenizing import one_at_a_time
from videorefer_plugin.models.videollama2.images import pillow_based
from videorefer_plugin.models.videollama2.original import find_vision_tower
from videorefer_plugin.models.videollama2.preparing import PlannedBatch, check_size
from videorefer_plugin.models.videorefer.crop_inputs import pack_crops
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config
from videorefer_plugin.models.videorefer_videollama3.cropping import CroppedRegion, cut_crops, plan_used, warn_of_cost
from videorefer_plugin.models.videorefer_videollama3.patches import Patches, Shown, keep_changed, time_label
from videorefer_plugin.models.videorefer_videollama3.sampling import IntervalSampling
from videorefer_plugin.object_encoder import CropEncoderConfig
from videorefer_plugin.regions import as_region

__all__ = ["VideoReferVideoLLaMA3Processor"]

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_MIN_PIXELS = 56 * 56
_TENSORS = ("pixel_values", "masks", "grids", "mask_grids", "lengths")


class VideoReferVideoLLaMA3Processor(VideoReferProcessor):
    r"""
    Turns prompts with `<region>`, their visuals and their regions into the inputs of a
    [`VideoReferVideoLLaMA3ForConditionalGeneration`].

    Users write `<video>`, `<image>` and `<region>`. A video becomes its frames, each after `Time 1.0s:` with the time
    it is labeled with; a region becomes `[<REGION>...]` for each frame that it is marked in, which the model reads as
    tokens of that frame's crop.

    Args:
        image_processor (`VideoLlama3ImageProcessorPil`): only its mean, deviation, patch size and interpolation are
            used.
        tokenizer (`PreTrainedTokenizerBase`): tokenizer of the language model.
        chat_template (`str`, *optional*): chat template; that of VideoLLaMA3 by default.
        fps (`float`, *optional*, defaults to 1): frames that are shown a second; see the setting of the call.
        num_frames (`int`, *optional*): frames that are shown instead, evenly from the first to the last one.
        max_frames (`int`, *optional*, defaults to 768): the most frames of a video.
        spatial_merge_size (`int`, *optional*, defaults to 2): side of the blocks of patches of a token of a frame.
        max_visual_tokens (`int`, *optional*, defaults to 2369): the most tokens of an image, or of a whole clip.
        compress_tokens (`bool`, *optional*, defaults to `True`):
            Whether to leave out tokens whose pixels did not change since the previous frame.
        crop_settings (`dict`, *optional*): settings of the model's [`CropEncoderConfig`].
        mask_policy (`str`, *optional*, defaults to `"keep"`):
            With `"keep"` every object has at least one token, small ones are enlarged up to a limit, and the crop of
            an object does not depend on other objects. `"original"` follows the released code in all of this, and
            an object in n frames may also be written as n `<region>` in a row; but an empty mask is an error.
        frame_token, object_token (`str`, *optional*):
            Placeholders in the vocabulary for tokens of frames and of objects.

    The other arguments are those of [`VideoReferProcessor`].
    """

    config_class = VideoReferVideoLLaMA3Config
    call_settings = (*CLIP_SETTINGS, *REGION_SETTINGS, "compress_tokens")

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        fps: float = 1.0,
        num_frames: int | None = None,
        max_frames: int = 768,
        spatial_merge_size: int = 2,
        max_visual_tokens: int = 2369,
        compress_tokens: bool = True,
        crop_settings: dict[str, Any] | None = None,
        mask_policy: str = "keep",
        max_frames_per_region: int | None = None,
        padding_side: str = "left",
        image_token: str = "<image>",
        video_token: str = "<video>",
        region_token: str = REGION_TOKEN,
        frame_token: str = "<|stream_start|>",
        object_token: str = "<REGION>",
        **kwargs: Any,
    ):
        self.fps = fps
        self.num_frames = num_frames  # type: ignore[assignment]
        self.max_frames = max_frames
        self.spatial_merge_size = spatial_merge_size
        self.max_visual_tokens = max_visual_tokens
        self.compress_tokens = compress_tokens
        self.crop_settings = CropEncoderConfig.from_dict(crop_settings or {}).to_dict()
        self.mask_policy = mask_policy
        self.max_frames_per_region = max_frames_per_region
        self.padding_side = padding_side
        self.image_token, self.video_token, self.region_token = image_token, video_token, region_token
        self.frame_token, self.object_token = frame_token, object_token
        if chat_template is None:
            chat_template = _TEMPLATE.read_text(encoding="utf-8")
        ProcessorMixin.__init__(self, pillow_based(image_processor), tokenizer, chat_template=chat_template)
        missing = [token for token in (image_token, frame_token, object_token) if token not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
        ids = tokenizer.convert_tokens_to_ids
        self.image_token_id, self.video_token_id, self.region_token_id = map(
            ids, (image_token, frame_token, object_token)
        )

    @classmethod
    def _settings_from_config(cls, config: Any) -> dict[str, Any]:
        return {
            "spatial_merge_size": config.spatial_merge_size,
            "max_visual_tokens": config.max_visual_tokens,
            "crop_settings": config.object_encoder_config.to_dict(),
        }

    @classmethod
    def _image_processor_of(cls, config: Any, folder: str, hub: dict[str, Any]) -> Any:
        """The image processor of the tower in an original checkpoint, or of the known tower if it is unreachable."""
        values: dict[str, Any] = {"patch_size": config.vision_config.patch_size}
        tower = find_vision_tower(config.vision_tower, folder) if config.vision_tower else None
        try:
            if tower or config.vision_tower:
                own, _ = VideoLlama3ImageProcessorPil.get_image_processor_dict(tower or config.vision_tower, **hub)
                values |= {name: own[name] for name in ("image_mean", "image_std", "resample") if name in own}
        except (OSError, ValueError):
            pass  # the defaults are those of the known tower
        most = config.max_visual_tokens * config.vision_config.patch_size**2
        return VideoLlama3ImageProcessorPil(size={"shortest_edge": _MIN_PIXELS, "longest_edge": most}, **values)

    @classmethod
    def _check_ids(cls, processor: Any, config: Any) -> None:
        """Refuse a tokenizer whose placeholders have other ids than the model looks for."""
        for token, name in (("image", "image_token_id"), ("frame", "video_token_id"), ("object", "region_token_id")):
            text = getattr(processor, f"{token}_token")
            found = processor.tokenizer.convert_tokens_to_ids(text)
            if found != getattr(config, name):
                raise CheckpointError(
                    f"The tokenizer has {text} as id {found}, but by config.json it is {getattr(config, name)}. Fetch "
                    "or save the tokenizer of this checkpoint again."
                )

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call may return for the model."""
        visuals = [f"{kind}_{name}" for kind in ("image", "video") for name in ("grid_thw", "merge_sizes")]
        return [
            *("input_ids", "attention_mask", "pixel_values", "pixel_values_videos", *visuals),
            "video_compression_mask",
            *(f"region_{name}" for name in _TENSORS),
        ]

    @property
    def object_encoder_config(self) -> Any:
        """The configuration of the object encoder: how crops are cut and how many tokens they become."""
        return CropEncoderConfig.from_dict(self.crop_settings)

    @property
    def frame_settings(self) -> frozenset[str]:
        """No settings of the image processor: sizes follow from `max_visual_tokens`."""
        return frozenset()

    @property
    def patches(self) -> Patches:
        """Makes patches of frames."""
        return Patches(self.image_processor)

    # ------------------------------------------------------------------ calling

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            images, text, videos, regions, mask_policy, max_frames_per_region: as in [`VideoReferProcessor.__call__`].
            fps (`float`, *optional*):
                Frames to show per second, which overrides the processor's: the last frame of every interval, labeled
                with the start of the interval, as in the original code. Frames without known times count as 3 per
                second.
            num_frames (`int`, *optional*): frames to show instead, evenly from the first to the last one.
            max_frames (`int`, *optional*): the most frames to show of a video.
            compress_tokens (`bool`, *optional*): overrides the processor's.
            kwargs: `video_start`, `video_end`, `do_sample_frames`, `video_metadata`, `return_metadata` and the
                settings of the tokenizer, as in [`VideoLLaMA2Processor.__call__`].

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, and as needed `pixel_values` of shape
            `(num_patches, patch_values)` with `image_grid_thw` and `image_merge_sizes`, `pixel_values_videos` with
            `video_grid_thw`, `video_merge_sizes` and `video_compression_mask`, and, if there are regions, the tensors
            of [`CropInputs`] under names that begin with `region_`.

        Raises:
            PromptError: placeholders, visuals and regions do not match.
            RegionError: a region does not fit its video, or has no pixel; the message names the sample.
            VideoError: a visual cannot be read; the message names the sample.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        plan = self.plan(images=images, text=text, videos=videos, **kwargs)
        data: dict[str, Any] = {
            **self.pack_visuals(plan),
            **self._region_tensors(plan.clips, plan.regions, None),
        }
        data = {**self.tokenize_plan(plan), **data}
        if plan.settings["return_metadata"]:
            data["video_metadata"] = [clip.describe() for clip in plan.clips if clip.kind == "video"]
        tensor_type = plan.text_settings.get("return_tensors")
        return PreparedBatch(data, tensor_type=tensor_type, skip_tensor_conversion=self.skip_tensor_conversion)

    def plan(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> PlannedBatch:
        """Match prompts, visuals and regions without reading a frame; see [`VideoLLaMA2Processor.plan`].

        Tokens of clips are counted before compression, which depends on the pixels.
        """
        if (kwargs.get("mask_policy") or self.mask_policy) == "original" and kwargs.get("regions") is not None:
            text = self._one_placeholder_each(text, kwargs["regions"])
        plan = super().plan(images=images, text=text, videos=videos, **kwargs)
        for clip, shown in zip(plan.clips, self._show(plan), strict=True):
            self._write_visual(plan.samples[clip.sample], clip, shown, None)
        return plan

    def _one_placeholder_each(self, text: Any, regions: Any) -> Any:
        """Join the n placeholders in a row that an object in n frames has in the original's prompts."""
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, (list, tuple)) or not all(isinstance(one, str) for one in texts):
            return text
        joined = []
        for prompt, own in zip(texts, regions_by_sample(regions, len(texts)), strict=True):
            counts = [len(as_region(region).order) for region in own]
            if prompt.count(self.region_token) == sum(counts) != len(counts):
                runs = iter(counts)
                left = 0
                pieces = []
                for piece in re.split(f"({re.escape(self.region_token)})", prompt):
                    if piece != self.region_token:
                        pieces.append(piece)
                    elif left:
                        left -= 1
                    else:
                        left = next(runs) - 1
                        pieces.append(piece)
                prompt = "".join(pieces)
            joined.append(prompt)
        return joined[0] if isinstance(text, str) else joined

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        number = kwargs.get("num_frames")
        settings, text_settings = super()._split_settings(kwargs)
        settings["num_frames"] = number  # None, if no number is given
        if not isinstance(settings["compress_tokens"], bool):
            raise ConfigurationError(f"compress_tokens must be True or False, but is {settings['compress_tokens']!r}.")
        return settings, text_settings

    def _sampling(self, settings: dict[str, Any]) -> Sampling:
        return IntervalSampling.of(settings, num_frames=self.num_frames, fps=self.fps, max_frames=self.max_frames)

    def _check_clip(self, clip: Clip) -> None:
        """Every frame makes tokens."""

    def _make_room(self, sample: Sample, clip: Clip) -> None:
        """Done once all visuals of a sample are known, since they share a budget."""

    # ------------------------------------------------------------------ visuals

    def _show(self, plan: PlannedBatch) -> list[Shown]:
        """How each visual of a batch is shown."""
        videos = [clip for clip in plan.clips if clip.kind == "video"]
        owners = [clip.sample for clip in videos]
        sampling = self._sampling(plan.settings).by_video(owners, len(plan.samples))
        assert isinstance(sampling, IntervalSampling)
        numbers = {id(clip): number for number, clip in enumerate(videos)}
        images = [sum(clip.kind == "image" for clip in own) for own in clips_by_sample(plan.clips, len(plan.samples))]
        patches, merge = self.patches, self.spatial_merge_size
        budget = self.max_visual_tokens * patches.side**2
        shown = []
        for clip in plan.clips:
            if clip.kind == "image":
                shown.append(patches.shown(clip.size, 1, budget // images[clip.sample], _MIN_PIXELS))
                continue
            times = sampling.labels(clip, numbers[id(clip)])
            share = budget * merge**2 // max(len(clip.sampled), 1)
            shown.append(patches.shown(clip.size, merge, share, _MIN_PIXELS, times))
        return shown

    def _write_visual(self, sample: Sample, clip: Clip, shown: Shown, kept: Tensor | None) -> None:
        """Expand the placeholder of a visual; `kept` selects the tokens of a clip that are kept."""
        if clip.kind == "image":
            sample.replacements.setdefault(self.image_token, []).append(self.image_token * shown.tokens)
            return
        counts = [shown.tokens] * len(shown.times) if kept is None else kept.sum(dim=1).tolist()
        frames = [
            f"Time {time_label(time)}s:{self.frame_token * count}"
            for time, count in zip(shown.times, counts, strict=True)
        ]
        sample.replacements.setdefault(self.video_token, []).append(",".join(frames))

    def pack_visuals(self, plan: PlannedBatch) -> dict[str, Tensor]:
        """Read the visuals of a plan, and write into its prompts which of their tokens are kept.

        Returns:
            `dict[str, torch.Tensor]`: their pixels and grids, as a call returns them.

        Raises:
            VideoError: a frame cannot be read; the message names the sample.
        """
        shown = self._show(plan)
        patches = self.patches
        stores: dict[tuple[tuple[int, int], int], FrameStore] = {}
        for clip, one in zip(plan.clips, shown, strict=True):
            key = one.size, one.merge
            if key not in stores:
                stores[key] = FrameStore(patches.preprocess(*key))
            stores[key].want(clip, clip.sampled)
        for sample in plan.samples:
            for token in (self.video_token, self.image_token):
                sample.replacements.pop(token, None)
        packed: dict[str, list[tuple[Tensor, Shown, Tensor | None]]] = {"image": [], "video": []}
        for clip, one in zip(plan.clips, shown, strict=True):
            values = stores[one.size, one.merge].get(clip, clip.sampled)
            kept = None
            if clip.kind == "video" and plan.settings["compress_tokens"] and len(values) > 1:
                kept = keep_changed(values, one.merge)
            self._write_visual(plan.samples[clip.sample], clip, one, kept)
            packed[clip.kind].append((values, one, kept))
        data: dict[str, Tensor] = {}
        for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            if not packed[kind]:
                continue
            data[name] = torch.cat([values.flatten(0, 1) for values, _, _ in packed[kind]])
            data[f"{kind}_grid_thw"] = torch.tensor([[len(v), *one.grid] for v, one, _ in packed[kind]])
            data[f"{kind}_merge_sizes"] = torch.tensor([one.merge for _, one, _ in packed[kind]])
        if packed["video"]:
            masks = [
                torch.ones(len(values) * one.tokens, dtype=torch.bool) if kept is None else kept.flatten()
                for values, one, kept in packed["video"]
            ]
            data["video_compression_mask"] = torch.cat(masks)
        return data

    def _count_tokens(self, frames: int | None, size: Any, length: int) -> int:
        values = check_size(size, length)
        patches = self.patches
        budget = self.max_visual_tokens * patches.side**2
        if length == 2:
            return patches.shown((values[0], values[1]), 1, budget, _MIN_PIXELS).tokens
        merge, count = self.spatial_merge_size, values[0]
        share = budget * merge**2 // count
        return count * patches.shown((values[1], values[2]), merge, share, _MIN_PIXELS).tokens

    # ------------------------------------------------------------------ regions

    def _draw_regions(self, samples: list[Sample], clips: list[Clip], settings: dict[str, Any]) -> Any:
        policy, limit, config = settings["mask_policy"], settings["max_frames_per_region"], self.object_encoder_config
        planned = []
        for sample, visuals in zip(samples, clips_by_sample(clips, len(samples)), strict=True):
            drawn = []
            for number, region in enumerate(sample.regions):
                clip = visuals[sample.region_visuals[number]]
                with named(f"Sample {sample.index}: region {number}"):
                    drawn.append((clip, region_frames(region, clip, policy, limit)))
            regions = plan_used(config, sample, drawn, policy, self.region_token, self.object_token)
            planned.append(regions)
        warn_of_cost(self, clips, planned)
        return planned

    def _region_tensors(self, clips: list[Clip], regions: Any, frames: Any) -> dict[str, Tensor]:
        own: list[list[CroppedRegion]] = regions
        if not any(own):
            return {}
        return pack_crops(cut_crops(own, self.patches), 3 * self.image_processor.patch_size**2)

    # ------------------------------------------------------------------ text

    def _tokenize(self, samples: list[Sample], settings: dict[str, Any]) -> dict[str, Any]:
        return_offsets = settings.pop("return_text_replacement_offsets", False)
        return_types = settings.pop("return_mm_token_type_ids", False)
        expanded = [expand(sample.text, sample.replacements) for sample in samples]
        with one_at_a_time():
            encoded = dict(self.tokenizer([text for text, _ in expanded], **settings))
        # Placeholders are replaced by tokens with other names.
        written = {self.video_token: self.frame_token, self.region_token: self.object_token}
        standing = [
            {written.get(token, token): values for token, values in sample.replacements.items()} for sample in samples
        ]
        ids = {token: self.tokenizer.convert_tokens_to_ids(token) for one in standing for token in one}
        check_expanded(encoded["input_ids"], standing, ids)
        if return_types:
            encoded["mm_token_type_ids"] = self.create_mm_token_type_ids(encoded["input_ids"])
        if return_offsets:
            encoded["text_replacement_offsets"] = [offsets for _, offsets in expanded]
        return encoded
