"""Processor of VideoLLaMA2.1: turns prompts, videos and images into tensors."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.inputs.clips import CLIP_SETTINGS, Clip, Sampling, open_clips
from videorefer_plugin.inputs.conversations import as_conversations
from videorefer_plugin.inputs.frames import FrameStore
from videorefer_plugin.inputs.masks import DrawnRegion
from videorefer_plugin.inputs.matching import Sample, flatten_settings, match_samples, named, take_settings
from videorefer_plugin.inputs.placeholders import check_expanded, expand
from videorefer_plugin.inputs.placing import place_regions
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.batches import JoinsSamples, PreparedBatch
from videorefer_plugin.models.chat_settings import TEXT_SETTINGS, TOKENIZE_SETTINGS, take_chat_settings
from videorefer_plugin.models.tokenizing import one_at_a_time
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.models.videollama2.images import pillow_based
from videorefer_plugin.models.videollama2.preparing import (
    PlannedBatch,
    PreparesFrames,
    VideoLLaMA2ProcessorKwargs,
)
from videorefer_plugin.models.videollama2.processor_files import ProcessorFiles

__all__ = ["VideoLLaMA2Processor"]

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
# Settings of the text beside those of every tokenizer.
_TEXT_SETTINGS = TEXT_SETTINGS | {"return_mm_token_type_ids", "add_special_tokens"}


class VideoLLaMA2Processor(PreparesFrames, JoinsSamples, ProcessorFiles):
    r"""
    Turns prompts with `<video>` or `<image>`, and their visuals, into the inputs of a
    [`VideoLLaMA2ForConditionalGeneration`].

    Args:
        image_processor (`BaseImageProcessor`):
            Resizes and normalizes frames. A Pillow-based one with the same settings replaces it if there is one,
            because other interpolations give slightly different pixels than those that the models were trained on.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the language model; placeholders that it lacks are added to it.
        chat_template (`str`, *optional*): chat template; that of VideoLLaMA2.1 by default.
        num_frames (`int`, *optional*, defaults to 16): frames sampled from a video.
        image_aspect_ratio (`str`, *optional*, defaults to `"square"`):
            `"square"` resizes frames to a square, `"pad"` centers them on one of the mean color first.
        patch_size (`int`, *optional*, defaults to 14): side of the vision tower's patches in pixels.
        projector_type (`str`, *optional*, defaults to `"stc_connector_v35"`): the connector, for token counts.
        padding_side (`str`, *optional*, defaults to `"left"`): where shorter prompts of a batch are padded.
        image_token, video_token (`str`, *optional*): the placeholders.
    """

    placeholders = ("<image>", "<video>")
    config_class = VideoLLaMA2Config
    content_kinds: tuple[str, ...] = ("text", "image", "video")  # of the items of a conversation
    # Settings of a call beside those of the tokenizer; some have a default kept on the processor.
    call_settings: tuple[str, ...] = (*CLIP_SETTINGS, "sample_by_second", "image_aspect_ratio")
    valid_processor_kwargs = VideoLLaMA2ProcessorKwargs

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
        **kwargs: Any,
    ):
        self.num_frames = num_frames
        self.image_aspect_ratio = image_aspect_ratio
        self.patch_size = patch_size
        self.projector_type = projector_type
        self.padding_side = padding_side
        self.image_token = image_token
        self.video_token = video_token
        if chat_template is None:
            chat_template = _TEMPLATE.read_text(encoding="utf-8")
        super().__init__(pillow_based(image_processor), tokenizer, chat_template=chat_template)
        # `<region>` gets the first free id whether or not this processor takes regions, so that a bare host and
        # VideoRefer agree on every id.
        missing = [token for token in (REGION_TOKEN, image_token, video_token) if token not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(video_token)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call may return for the model."""
        return ["input_ids", "attention_mask", "pixel_values", "pixel_values_videos", "video_lengths"]

    # ------------------------------------------------------------------ calling

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            images:
                The images of the prompts, in order, as [`load_image`] takes them: a list, or a list for each sample.
            text (`str` or `list[str]`): prompts with an `<image>` or `<video>` for each of their visuals.
            videos:
                The videos of the prompts, in order, as [`open_video`] takes them: a list, or a list for each sample. A
                video that occurs several times, as the same object or path, is read once.
            num_frames (`int`, *optional*): frames to sample from each video, instead of the processor's.
            fps (`float`, *optional*): frames to sample a second, evenly spread, instead of `num_frames`.
            max_frames (`int`, *optional*): the most frames to sample from a video.
            video_start, video_end (`float`, *optional*):
                Part of the videos to look at, in seconds. These and the three above may be lists, with a value for
                each video, or one for each sample.
            sample_by_second (`bool`, *optional*, defaults to `False`):
                Whether to take one frame a second as the original code does, in steps of whole frames, and the first
                `max_frames` (32 by default) of these.
            do_sample_frames (`bool`, *optional*, defaults to `True`):
                Whether to sample; otherwise all frames of every video are used.
            video_metadata (`list[dict]`, *optional*):
                For frames decoded elsewhere, a dict or `VideoMetadata` for each video: `frames_indices` are the
                    indices
                of these frames in the source, by default all, and `fps` and `total_num_frames` are those of the
                source. Regions name source frames.
            image_aspect_ratio (`str`, *optional*): overrides the processor's.
            return_metadata (`bool`, *optional*, defaults to `False`):
                Whether to return `video_metadata` too: for each video its frame rate, number of frames, size and the
                indices of the frames that were sampled.
            return_mm_token_type_ids (`bool`, *optional*, defaults to `False`):
                Whether to return `mm_token_type_ids` too: 0 for text and regions, 1 for images, 2 for videos.
            return_tensors (`str`, *optional*): `"pt"` for tensors.
            kwargs:
                Settings of the tokenizer, such as `padding_side`; by default prompts are padded to the longest. And
                settings of the image processor that do not change the size of frames, such as `do_rescale`. Settings
                may also be given in `text_kwargs`, `images_kwargs`, `videos_kwargs` and `common_kwargs`.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask`, and as needed `pixel_values` of shape
            `(num_images, 3, S, S)`, and `pixel_values_videos` of shape `(num_videos, num_frames, 3, S, S)` with
            `video_lengths` of shape `(num_videos,)`, the number of frames of each video; shorter videos are padded
            with zeros.

        Raises:
            PromptError: placeholders and visuals do not match.
            VideoError: a visual cannot be read; the message names the sample.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        plan = self.plan(images=images, text=text, videos=videos, **kwargs)
        settings = plan.settings
        frames = FrameStore(plan.preprocess)
        for clip in plan.clips:
            frames.want(clip, clip.sampled)
        for one in (one for own in plan.regions for one in own):
            frames.want(one.clip, one.frames)
        data: dict[str, Any] = {
            **self._visual_tensors(plan.clips, frames),
            **self._region_tensors(plan.clips, plan.regions, frames),
            **self.tokenize_plan(plan),
        }
        if settings["return_metadata"]:
            data["video_metadata"] = [clip.describe() for clip in plan.clips if clip.kind == "video"]
        tensor_type = plan.text_settings.get("return_tensors")
        return PreparedBatch(data, tensor_type=tensor_type, skip_tensor_conversion=self.skip_tensor_conversion)

    def plan(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> PlannedBatch:
        """Match prompts, visuals and regions, and draw the regions, without reading a frame.

        The arguments are those of a call, and so are the errors that can be found without reading frames.

        Returns:
            [`PlannedBatch`]: the frames that are needed, the regions on them, and the prompts.
        """
        audio = kwargs.pop("audio", None)
        settings, text_settings = self._split_settings(kwargs)
        tokens = {"image": self.image_token, "video": self.video_token}
        samples = match_samples(
            text,
            images,
            videos,
            settings.get("regions"),
            audio=audio,
            tokens=tokens,
            region_token=getattr(self, "region_token", None),
        )
        clips = []
        for clip in open_clips(samples, self._sampling(settings), settings["video_metadata"]):
            with named(f"Sample {clip.sample}"):
                self._check_clip(clip)
            self._make_room(samples[clip.sample], clip)
            clips.append(clip)
        regions = self._draw_regions(samples, clips, settings)

        def preprocess(read: np.ndarray, kind: str) -> Tensor:
            return self.preprocess_frames(read, settings["image_aspect_ratio"], **settings["frame_settings"][kind])

        return PlannedBatch(samples, clips, regions, settings, text_settings, preprocess)

    def tokenize_plan(self, plan: PlannedBatch, **changed: Any) -> dict[str, Any]:
        """Tokenize the prompts of a plan.

        Args:
            plan ([`PlannedBatch`]): the plan.
            changed: settings of the tokenizer, instead of the plan's.

        Raises:
            PromptError: the text was truncated; the message names the sample.
        """
        return self._tokenize(plan.samples, {**plan.text_settings, **changed})

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Separate visual settings from the tokenizer's, and refuse unknown ones."""
        others = _TEXT_SETTINGS | self.frame_settings
        settings, rest = take_settings(kwargs, self.call_settings, others, type(self).__name__)
        for name in settings:
            if settings[name] is None and name not in ("num_frames", "fps"):
                settings[name] = getattr(self, name, None)
        settings["frame_settings"], rest = self.take_frame_settings(rest)
        text_settings = flatten_settings(rest)
        # As in transformers' own processors, the settings of the tokenizer apply if a call gives none.
        for name in TEXT_SETTINGS.intersection(self.tokenizer.init_kwargs) - {"padding_side", "return_tensors"}:
            text_settings.setdefault(name, self.tokenizer.init_kwargs[name])
        if settings.get("image_aspect_ratio", "square") not in ("square", "pad"):
            raise ConfigurationError(
                f"Unknown image_aspect_ratio {short(settings['image_aspect_ratio'])}; supported are 'square' and "
                "'pad'."
            )
        text_settings.setdefault("padding", True)
        text_settings.setdefault("padding_side", self.padding_side)
        return settings, text_settings

    def _sampling(self, settings: dict[str, Any]) -> Sampling:
        by_second = bool(settings["sample_by_second"])
        for name in ("num_frames", "fps"):
            if by_second and settings[name] is not None:
                raise VideoError(f"sample_by_second and {name}={settings[name]} exclude each other; give one of them.")
        return Sampling.of(settings, num_frames=self.num_frames, by_second=by_second)

    def _check_clip(self, clip: Clip) -> None:
        frames = self.num_frames if clip.kind == "image" else len(clip.sampled)
        if count_visual_tokens(frames, self.grid_size, self.projector_type):
            return
        if clip.kind == "image":
            raise ConfigurationError(
                f"An image shown in {frames} frame(s) makes no token, since the connector joins two frames into one; "
                "set num_frames of the processor and the model to at least 2."
            )
        raise VideoError(
            f"{frames} frame(s) of {clip.video.name} make no token, since the connector joins two frames into one; "
            "use at least 2."
        )

    def _make_room(self, sample: Sample, clip: Clip) -> None:
        """Expand the placeholder of a visual to its number of tokens."""
        image = clip.kind == "image"
        token = self.image_token if image else self.video_token
        frames = self.num_frames if image else len(clip.sampled)
        count = count_visual_tokens(frames, self.grid_size, self.projector_type)
        sample.replacements.setdefault(token, []).append(token * count)

    def _draw_regions(
        self, samples: list[Sample], clips: list[Clip], settings: dict[str, Any]
    ) -> list[list[DrawnRegion]]:
        """Draw the regions of each sample, bring them to the feature grid, and make room for their tokens."""
        return []

    def _visual_tensors(self, clips: list[Clip], frames: FrameStore) -> dict[str, Tensor]:
        """Pixels of the images and videos of the batch, shorter videos padded with zeros."""
        data: dict[str, Tensor] = {}
        images = [frames.get(clip, clip.sampled) for clip in clips if clip.kind == "image"]
        videos = [clip for clip in clips if clip.kind == "video"]
        if images:
            data["pixel_values"] = torch.cat(images)
        if videos:
            data["pixel_values_videos"] = pad_sequence([frames.get(clip, clip.sampled) for clip in videos], True)
            data["video_lengths"] = torch.tensor([len(clip.sampled) for clip in videos])
        return data

    def _region_tensors(
        self, clips: list[Clip], regions: list[list[DrawnRegion]], frames: FrameStore
    ) -> dict[str, Tensor]:
        """The tensors of the regions, if there are any."""
        return {}

    def _tokenize(self, samples: list[Sample], settings: dict[str, Any]) -> dict[str, Any]:
        return_offsets = settings.pop("return_text_replacement_offsets", False)
        return_types = settings.pop("return_mm_token_type_ids", False)
        expanded = [expand(sample.text, sample.replacements) for sample in samples]
        with one_at_a_time():
            encoded = dict(self.tokenizer([text for text, _ in expanded], **settings))
        replacements = [sample.replacements for sample in samples]
        token_ids = {token: self.tokenizer.convert_tokens_to_ids(token) for one in replacements for token in one}
        check_expanded(encoded["input_ids"], replacements, token_ids)
        if return_types:
            encoded["mm_token_type_ids"] = self.create_mm_token_type_ids(encoded["input_ids"])
        if return_offsets:
            encoded["text_replacement_offsets"] = [offsets for _, offsets in expanded]
        return encoded

    # ------------------------------------------------------------------ chat

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Format a conversation, or many, and prepare it for the model with `tokenize=True, return_dict=True`.

        Content items are `{"type": "video", "video": ...}`, `{"type": "image", "image": ...}` and
        `{"type": "text", "text": ...}`, and the other forms that `as_conversations` reads. Settings of the processor's
        own call, such as `num_frames`, may be given directly or in `processor_kwargs`. Otherwise this is
        `ProcessorMixin.apply_chat_template`.

        Raises:
            PromptError: the conversation is malformed.
            ConfigurationError: a setting is unknown to this class and to the template.
        """
        tokenize = bool(kwargs.get("tokenize"))
        conversations, batched = as_conversations(conversation, self.content_kinds, with_sources=tokenize)
        called = {*self.call_settings, *_TEXT_SETTINGS, *self.frame_settings}
        own, of_template = take_chat_settings(
            kwargs, processor_kwargs, called, self, chat_template, type(self).__name__
        )
        render = partial(
            super().apply_chat_template, conversations if batched else conversations[0], chat_template=chat_template
        )
        if tokenize and own.get("regions") is not None:

            def prompts() -> list[str]:
                said = render(**{name: of_template[name] for name in of_template.keys() - TOKENIZE_SETTINGS})
                return said if batched else [said]

            tokens = {"image": self.image_token, "video": self.video_token}
            own["regions"] = place_regions(
                conversations, own["regions"], prompts, tokens=tokens, region_token=str(self.region_token)
            )
        return render(processor_kwargs=own, **of_template)
