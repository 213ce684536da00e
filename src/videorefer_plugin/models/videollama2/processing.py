"""Processor of VideoLLaMA2.1: prompts, videos and images in, tensors out."""

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, SiglipImageProcessorPil
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin, TextKwargs

from videorefer_plugin.errors import ConfigurationError, PromptError, VideoError, VideoReferError
from videorefer_plugin.models.shims import PROCESSOR_AUTO_MAPS, PROCESSOR_SHIMS, write_shims
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.models.videollama2.original import find_vision_tower, is_original_config
from videorefer_plugin.models.videollama2.visuals import flatten_images, flatten_videos
from videorefer_plugin.video import Video, load_image, open_video

__all__ = ["VideoLLaMA2Processor"]

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_TEXT_SETTINGS = frozenset(TextKwargs.__annotations__)
_IGNORED_SETTINGS = frozenset({"return_mm_token_type_ids", "add_special_tokens"})


@dataclass
class Sample:
    """One prompt of a batch with what belongs to it.

    Attributes:
        text (`str`): the prompt, with placeholders.
        kind (`str`, *optional*): `"image"`, `"video"` or nothing.
        source: the image or video, as it was handed over.
        replacements (`dict[str, list[str]]`): what each placeholder, in order, is replaced by.
    """

    text: str
    kind: str | None = None
    source: Any = None
    replacements: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Clip:
    """An opened visual: an image is a video of one frame.

    Attributes:
        video (`Video`): gives frames by index.
        sampled (`list[int]`): frames shown to the model, in order.
    """

    video: Video
    sampled: list[int]


class VideoLLaMA2Processor(ProcessorMixin):
    r"""
    Turns prompts with `<video>` or `<image>`, and the visuals that belong to them, into the inputs of a
    [`VideoLLaMA2ForConditionalGeneration`].

    Args:
        image_processor (`BaseImageProcessor`):
            Resizes and normalises frames. A Pillow-based one is used in its place where there is one, because other
            interpolations give slightly different pixels than those that the models were trained on.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the language model; placeholders that it lacks are added to it.
        chat_template (`str`, *optional*): chat template; that of VideoLLaMA2.1 by default.
        num_frames (`int`, *optional*, defaults to 16): frames sampled from a video.
        image_aspect_ratio (`str`, *optional*, defaults to `"square"`):
            `"square"` resizes frames to a square, `"pad"` centres them on one of the mean colour first.
        patch_size (`int`, *optional*, defaults to 14): side of the vision tower's patches in pixels.
        projector_type (`str`, *optional*, defaults to `"stc_connector_v35"`): the connector, for token counts.
        padding_side (`str`, *optional*, defaults to `"left"`): where shorter prompts of a batch are padded.
        image_token, video_token (`str`, *optional*): the placeholders.
    """

    placeholders = ("<image>", "<video>")
    config_class = VideoLLaMA2Config
    content_kinds: tuple[str, ...] = ("text", "image", "video")  # of the items of a conversation
    # Settings of a call beside those of the tokenizer, and whether they have a default kept on the processor.
    call_settings: tuple[str, ...] = (
        "num_frames",
        "image_aspect_ratio",
        "sample_by_second",
        "max_frames",
        "video_start",
        "video_end",
        "do_sample_frames",
        "return_metadata",
    )

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
        super().__init__(_pillow_based(image_processor), tokenizer, chat_template=chat_template)
        # `<region>` gets the first free id whether or not this processor takes regions, so that a bare host and
        # VideoRefer agree on every id.
        missing = [token for token in ("<region>", image_token, video_token) if token not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(video_token)

    # ------------------------------------------------------------------ loading

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        vision_tower: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a processor, from this library's layout or next to an original checkpoint.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): folder or Hub id.
            vision_tower (`str` or `os.PathLike`, *optional*):
                For an original checkpoint: where the vision tower is, instead of the place that it names.
            kwargs: everything else that `ProcessorMixin.from_pretrained` takes.

        Raises:
            CheckpointError: the vision tower that an original checkpoint names is nowhere to be found.
        """
        if not (Path(pretrained_model_name_or_path) / "processor_config.json").is_file():
            try:
                config_dict, _ = cls.config_class.get_config_dict(pretrained_model_name_or_path, **kwargs)
            except OSError:
                config_dict = {}
            if is_original_config(config_dict):
                return cls._from_original(pretrained_model_name_or_path, vision_tower, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _from_original(
        cls, checkpoint: str | os.PathLike, vision_tower: str | os.PathLike | None, **kwargs: Any
    ) -> Any:
        tower = {} if vision_tower is None else {"vision_tower": os.fspath(vision_tower)}
        config = cls.config_class.from_pretrained(checkpoint, **tower)
        settings = {name: kwargs.pop(name) for name in list(kwargs) if name in cls._init_settings()}
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **kwargs)
        image_processor = _tower_image_processor(config, checkpoint)
        return cls(image_processor, tokenizer, **{**cls._settings_from_config(config), **settings})

    @classmethod
    def _init_settings(cls) -> set[str]:
        import inspect

        return set(inspect.signature(cls.__init__).parameters) - {"self", "image_processor", "tokenizer", "kwargs"}

    @classmethod
    def _settings_from_config(cls, config: VideoLLaMA2Config) -> dict[str, Any]:
        return {
            "num_frames": config.num_frames,
            "image_aspect_ratio": config.image_aspect_ratio,
            "patch_size": config.vision_config.patch_size,
            "projector_type": config.projector_type,
        }

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save the processor, and what lets its folder load with `trust_remote_code=True`."""
        if self.config_class.model_type not in PROCESSOR_AUTO_MAPS:  # a class derived elsewhere brings its own files
            return super().save_pretrained(os.fspath(save_directory), push_to_hub=push_to_hub, **kwargs)
        # Only while saving, since a loaded processor has no such attribute either.
        self.auto_map = dict(PROCESSOR_AUTO_MAPS[self.config_class.model_type])
        try:
            files = super().save_pretrained(os.fspath(save_directory))
        finally:
            del self.auto_map
        write_shims(save_directory, PROCESSOR_SHIMS)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoProcessor") -> None:
        """Do nothing: published checkpoints name this package instead of carrying copies of its files."""

    # ------------------------------------------------------------------ sizes

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
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call may return for the model."""
        return ["input_ids", "attention_mask", "pixel_values", "pixel_values_videos"]

    # ------------------------------------------------------------------ calling

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            images: the images of the prompts, in order; paths, PIL images or arrays, as a list, or a list a sample.
            text (`str` or `list[str]`): prompts, each with at most one `<image>` or `<video>`.
            videos:
                The videos of the prompts, in order: files, folders of frames, arrays of shape
                `(frames, height, width, 3)`, lists of images, or [`Video`]s.
            num_frames (`int`, *optional*): frames to sample from each video, instead of the processor's.
            image_aspect_ratio (`str`, *optional*): instead of the processor's.
            sample_by_second (`bool`, *optional*, defaults to `False`):
                Whether to take one frame a second instead of `num_frames`.
            max_frames (`int`, *optional*): with `sample_by_second`, the most frames to take; 32 by default.
            video_start, video_end (`float` or `list[float]`, *optional*): part of the videos to look at, in seconds.
            do_sample_frames (`bool`, *optional*, defaults to `True`):
                Whether to sample; otherwise all frames of every video are used.
            return_metadata (`bool`, *optional*, defaults to `False`):
                Whether to return `video_metadata` too: for each video its frame rate, number of frames, size and the
                indices of the frames that were sampled.
            return_tensors (`str`, *optional*): `"pt"` for tensors.
            kwargs: settings of the tokenizer, such as `padding_side`. By default prompts are padded to the longest.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask`, and as needed `pixel_values` of shape
            `(num_images, 3, S, S)` and `pixel_values_videos` of shape `(num_videos, num_frames, 3, S, S)`.

        Raises:
            PromptError: placeholders and visuals do not match.
            VideoError: a visual cannot be read; the sample is named.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        settings, text_settings = self._split_settings(kwargs)
        if audio is not None:
            raise PromptError("This model does not listen: leave audio out.")
        if text is None:
            raise PromptError("text is missing: pass the prompt, or a list of prompts.")
        samples = self._match(text, images, videos, settings)
        data: dict[str, Any] = {}
        metadata: list[dict[str, Any]] = []
        for index, sample in enumerate(samples):
            if sample.kind is not None:
                try:
                    clip = self._open(sample, settings, order=len(metadata))
                    metadata.append(_describe(clip))
                    self._encode(sample, clip, settings, data)
                except VideoReferError as error:
                    raise type(error)(f"Sample {index}: {error}") from error
        self._stack(data)
        data.update(self._tokenize(samples, text_settings))
        tensor_type = text_settings.get("return_tensors")
        if settings["return_metadata"]:
            data["video_metadata"] = [m for m, s in zip(metadata, _with_visual(samples), strict=True) if s == "video"]
        return BatchFeature(data, tensor_type=tensor_type, skip_tensor_conversion=self.skip_tensor_conversion)

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Separate visual settings from the tokenizer's, and refuse what is neither."""
        flat: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in ("text_kwargs", "images_kwargs", "videos_kwargs", "common_kwargs"):
                flat.update(value or {})
            else:
                flat[name] = value
        known = {*self.call_settings, *_TEXT_SETTINGS, *_IGNORED_SETTINGS}
        for name in flat:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise ConfigurationError(f"{type(self).__name__} has no setting {name!r}{hint}")
        settings = {name: flat.pop(name, None) for name in self.call_settings}
        for name in settings:
            if settings[name] is None:
                settings[name] = getattr(self, name, None)
        if settings["image_aspect_ratio"] not in ("square", "pad"):
            raise ConfigurationError(
                f"Unknown image_aspect_ratio {settings['image_aspect_ratio']!r}; supported are 'square' and 'pad'."
            )
        text_settings = {name: value for name, value in flat.items() if name != "return_mm_token_type_ids"}
        text_settings.setdefault("padding", True)
        text_settings.setdefault("padding_side", self.padding_side)
        return settings, text_settings

    def _match(self, text: Any, images: Any, videos: Any, settings: dict[str, Any]) -> list[Sample]:
        """Give every prompt its visual, in order."""
        if not isinstance(text, (str, list, tuple)):
            raise PromptError(f"text must be a string or a list of strings, but is a {type(text).__name__}.")
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise PromptError("text is an empty list: pass at least one prompt.")
        left = {"image": flatten_images(images), "video": flatten_videos(videos)}
        given = {kind: len(sources) for kind, sources in left.items()}
        samples = []
        for index, prompt in enumerate(texts):
            if not isinstance(prompt, str):
                raise PromptError(f"Sample {index}: text must be a string, but is a {type(prompt).__name__}.")
            counts = {"image": prompt.count(self.image_token), "video": prompt.count(self.video_token)}
            if sum(counts.values()) > 1:
                raise PromptError(
                    f"Sample {index} has {counts['video']} {self.video_token} and {counts['image']} "
                    f"{self.image_token} in its text, but a sample can have one visual. If the words are meant "
                    "literally, write them without the angle brackets."
                )
            sample = Sample(prompt)
            for kind, count in counts.items():
                if count and not left[kind]:
                    raise PromptError(
                        f"Sample {index} has <{kind}> in its text, but only {given[kind]} {kind}(s) were given for "
                        f"the batch. Pass one {kind} for each <{kind}>."
                    )
                if count:
                    sample.kind, sample.source = kind, left[kind].pop(0)
            samples.append(sample)
        for kind, sources in left.items():
            if sources:
                raise PromptError(
                    f"{given[kind]} {kind}(s) were given, but the texts have {given[kind] - len(sources)} <{kind}>. "
                    f"Put one <{kind}> into the text for each, for instance '<{kind}>\\nWhat happens here?'."
                )
        return samples

    def _open(self, sample: Sample, settings: dict[str, Any], order: int) -> Clip:
        if sample.kind == "image":
            if count_visual_tokens(self.num_frames, self.grid_size, self.projector_type) == 0:
                raise ConfigurationError(
                    f"An image shown in {self.num_frames} frame(s) makes no token, since the connector joins two "
                    "frames into one; set num_frames of the processor and the model to at least 2."
                )
            image = open_video(load_image(sample.source)[None])
            if isinstance(sample.source, (str, os.PathLike)):
                image.name = repr(os.fspath(sample.source))
            return Clip(image, [0])
        video = open_video(sample.source)
        if settings["do_sample_frames"] is False:
            sampled = list(range(video.num_frames))
        else:
            by_second = settings["sample_by_second"]
            sampled = video.sample(
                None if by_second else settings["num_frames"],
                start=_one(settings["video_start"], order, "video_start"),
                end=_one(settings["video_end"], order, "video_end"),
                max_frames=(settings["max_frames"] or 32) if by_second else None,
            )
        if count_visual_tokens(len(sampled), self.grid_size, self.projector_type) == 0:
            raise VideoError(
                f"{len(sampled)} frame(s) of {video.name} make no token, since the connector joins two frames into "
                "one; use at least 2."
            )
        return Clip(video, sampled)

    def _encode(self, sample: Sample, clip: Clip, settings: dict[str, Any], data: dict[str, Any]) -> None:
        """Read and preprocess the frames of one sample, each once, and add them to the batch."""
        extra = self._extra_frames(sample, clip, settings, data)
        wanted = sorted({*clip.sampled, *extra})
        pixels = self.preprocess_frames(clip.video.read(wanted), settings["image_aspect_ratio"])
        row = {frame: position for position, frame in enumerate(wanted)}
        shown = pixels[[row[frame] for frame in clip.sampled]]
        key, token = (
            ("pixel_values", self.image_token)
            if sample.kind == "image"
            else (
                "pixel_values_videos",
                self.video_token,
            )
        )
        clips = data.setdefault(key, [])
        if clips and clips[0].shape != shown.shape:
            raise VideoError(
                f"{len(shown)} frames were sampled from {clip.video.name}, but {len(clips[0])} from the first video "
                "of the batch. Sample equally many from each (num_frames), or run them one by one."
            )
        clips.append(shown)
        frames = self.num_frames if sample.kind == "image" else len(shown)
        count = count_visual_tokens(frames, self.grid_size, self.projector_type)
        sample.replacements[token] = [token * count]
        self._add_extra(pixels, row, sample, clip, data)

    def _extra_frames(self, sample: Sample, clip: Clip, settings: dict[str, Any], data: dict[str, Any]) -> list[int]:
        """Frames needed beside the sampled ones."""
        return []

    def _add_extra(
        self, pixels: Tensor, row: dict[int, int], sample: Sample, clip: Clip, data: dict[str, Any]
    ) -> None:
        """Take the extra frames from `pixels`, where frame `f` of the video is row `row[f]`."""

    def preprocess_frames(self, frames: np.ndarray, image_aspect_ratio: str | None = None) -> Tensor:
        """Resize and normalise frames.

        Args:
            frames (`np.ndarray` of shape `(num_frames, height, width, 3)` and dtype `uint8`): RGB frames.
            image_aspect_ratio (`str`, *optional*): `"square"` or `"pad"`; the processor's by default.

        Returns:
            `torch.Tensor` of shape `(num_frames, 3, image_size, image_size)` and dtype `float32`.
        """
        if (image_aspect_ratio or self.image_aspect_ratio) == "pad":
            frames = _pad_to_square(frames, [int(mean * 255) for mean in self.image_processor.image_mean])
        images = [Image.fromarray(frame) for frame in frames]
        return self.image_processor(images, return_tensors="pt")["pixel_values"]

    def _stack(self, data: dict[str, Any]) -> None:
        """Join what the samples added into tensors of the batch."""
        if "pixel_values" in data:
            data["pixel_values"] = torch.cat(data["pixel_values"])
        if "pixel_values_videos" in data:
            data["pixel_values_videos"] = torch.stack(data["pixel_values_videos"])

    def _tokenize(self, samples: list[Sample], settings: dict[str, Any]) -> dict[str, Any]:
        return_offsets = settings.pop("return_text_replacement_offsets", False)
        expanded = [_expand(sample.text, sample.replacements) for sample in samples]
        encoded = dict(self.tokenizer([text for text, _ in expanded], **settings))
        for index, (sample, ids) in enumerate(zip(samples, encoded["input_ids"], strict=True)):
            ids = torch.as_tensor(ids)
            for token, replacements in sample.replacements.items():
                wanted = sum(len(replacement) // len(token) for replacement in replacements)
                found = int((ids == self.tokenizer.convert_tokens_to_ids(token)).sum())
                if wanted != found:
                    raise PromptError(
                        f"Sample {index} needs {wanted} {token} position(s), but {found} are left after tokenising: "
                        "the text was truncated. Raise max_length, or shorten the text yourself."
                    )
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
        `{"type": "text", "text": ...}`. Settings of the processor's own call, such as `num_frames`, may be given
        directly or in `processor_kwargs`. Otherwise this is `ProcessorMixin.apply_chat_template`.

        Raises:
            PromptError: the conversation is malformed.
        """
        self._check_conversations(conversation)
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in self._chat_settings()}
        return super().apply_chat_template(
            conversation,
            chat_template=chat_template,
            processor_kwargs={**(processor_kwargs or {}), **own},
            **kwargs,
        )

    def _check_conversations(self, conversation: Any) -> None:
        """Check that this is a conversation or a list of them, with content that the template knows."""
        batched = isinstance(conversation, (list, tuple)) and bool(conversation)
        batched = batched and isinstance(conversation[0], (list, tuple))
        for index, messages in enumerate(conversation if batched else [conversation]):
            where = f"Sample {index}: a" if batched else "A"
            if (
                not isinstance(messages, (list, tuple))
                or not messages
                or not all(isinstance(m, dict) for m in messages)
            ):
                raise PromptError(
                    f"{where} conversation must be a list of messages such as "
                    f'{{"role": "user", "content": "What happens here?"}}, but is {messages!r}.'
                )
            for message in messages:
                content = message.get("content")
                for item in content if isinstance(content, (list, tuple)) else []:
                    kind = item.get("type") if isinstance(item, dict) else item
                    if not isinstance(item, dict) or kind not in self.content_kinds:
                        raise PromptError(
                            f"{where} content item must be a dict with one of the types "
                            f"{', '.join(map(repr, self.content_kinds))}, but one has {kind!r}."
                        )

    def _chat_settings(self) -> set[str]:
        return {*self.call_settings, *_TEXT_SETTINGS} - {"return_tensors"}


def _expand(text: str, replacements: dict[str, list[str]]) -> tuple[str, list[dict[str, Any]]]:
    """Replace each placeholder in turn; also say where, so that spans of the text can be found again."""
    left = {token: list(values) for token, values in replacements.items()}
    parts: list[str] = []
    offsets: list[dict[str, Any]] = []
    position = length = 0
    while True:
        hits = [(text.find(token, position), token) for token, values in left.items() if values]
        hits = [hit for hit in hits if hit[0] >= 0]
        if not hits:
            return "".join([*parts, text[position:]]), offsets
        start, token = min(hits)
        replacement = left[token].pop(0)
        parts += [text[position:start], replacement]
        length += start - position
        offsets.append(
            {
                "type": token.strip("<>"),
                "span": (start, start + len(token)),
                "new_span": (length, length + len(replacement)),
                "text": token,
                "replacement": replacement,
            }
        )
        length += len(replacement)
        position = start + len(token)


def _one(value: Any, order: int, name: str) -> float | None:
    """Setting of one video, from one value for all or a list."""
    if not isinstance(value, (list, tuple)):
        return value
    if order >= len(value):
        raise VideoError(f"{name} has {len(value)} value(s), but the batch has more videos; pass one for each.")
    return value[order]


def _describe(clip: Clip) -> dict[str, Any]:
    video = clip.video
    return {
        "total_num_frames": video.num_frames,
        "fps": video.fps,
        "height": video.height,
        "width": video.width,
        "duration": video.duration,
        "frames_indices": list(clip.sampled),
    }


def _with_visual(samples: list[Sample]) -> list[str]:
    return [sample.kind for sample in samples if sample.kind is not None]


def _pad_to_square(frames: np.ndarray, colour: list[int]) -> np.ndarray:
    """Centre frames on a square; the spare row or column goes to the bottom or right."""
    height, width = frames.shape[1:3]
    side = max(height, width)
    square = np.empty((len(frames), side, side, 3), dtype=frames.dtype)
    square[...] = np.asarray(colour, dtype=frames.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = frames
    return square


def _pillow_based(image_processor: Any) -> Any:
    import transformers

    name = type(image_processor).__name__
    pillow = None if name.endswith("Pil") else getattr(transformers, f"{name}Pil", None)
    if pillow is None:
        return image_processor
    values = {k: v for k, v in image_processor.to_dict().items() if not k.endswith("_type")}
    return pillow(**values)


def _tower_image_processor(config: VideoLLaMA2Config, checkpoint: str | os.PathLike) -> Any:
    folder = find_vision_tower(str(config.vision_tower), checkpoint)
    try:
        return AutoImageProcessor.from_pretrained(folder or config.vision_tower, backend="pil")
    except (OSError, ValueError):
        if config.vision_config.model_type != "siglip_vision_model":
            raise
        side = config.vision_config.image_size
        return SiglipImageProcessorPil(size={"height": side, "width": side})
