"""Models that see frames and no regions: loaded here, or behind an endpoint."""

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from transformers.utils import logging

from videorefer_plugin._kinds import MODEL, PATH, PROCESSOR, check_kind
from videorefer_plugin.asking import generate, load_model
from videorefer_plugin.bench.marks import MarkedClip, frame_messages
from videorefer_plugin.chat.base import CHAT, Chat, Message
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import BenchError, ConfigurationError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.models.fingerprint import fingerprint

__all__ = ["FrameEndpoint", "FrameModel", "Loaded", "Seer", "frame_inputs"]

logger = logging.get_logger(__name__)


class Seer(Protocol):
    """The interface of models that answer about frames, or without frames.

    Attributes:
        workers (`int`): number of concurrent calls that it takes.
    """

    workers: int

    def settings(self, num_frames: int) -> dict[str, Any]:
        """Return all settings that its answers about this number of frames depend on."""
        ...

    def look(self, clips: Sequence[MarkedClip]) -> Sequence[str | ReplyError]:
        """Answer the question about each clip. A clip without an answer gets a [`ReplyError`]."""
        ...

    def say(self, prompt: str) -> str:
        """Answer a prompt without frames."""
        ...


class Loaded:
    """A model that is loaded on first use, so that a run without work does not load it.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        object_encoder (*optional*): for a host, folder of the saved object encoder.
        processor (*optional*): processor of a model in memory.
        device (*optional*): device of the model.

    Attributes:
        workers (`int`): number of concurrent calls that it takes.
        name (`str`): folder or Hub id.
    """

    workers = 1

    def __init__(
        self,
        model: Any,
        object_encoder: str | os.PathLike | None = None,
        processor: Any = None,
        device: Any = None,
    ):
        if not PATH.fits(model):
            check_kind(ConfigurationError, MODEL, model=model)
            check_kind(ConfigurationError, PROCESSOR, optional=True, processor=processor)
        check_kind(ConfigurationError, PATH, optional=True, object_encoder=object_encoder)
        self.name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else model.name_or_path
        self.object_encoder = None if object_encoder is None else os.fspath(object_encoder)
        self.device = device
        self._loaded: tuple[Any, Any] | None = None
        self._given = not isinstance(model, (str, os.PathLike))
        if self._given:
            if processor is None:
                raise ConfigurationError("A model in memory needs its processor: pass processor= too.")
            self._loaded = model, processor

    def source(self) -> dict[str, Any]:
        """Return the model's name and a fingerprint of its weights."""
        weights = "in memory" if self._given else fingerprint(self.name)
        found: dict[str, Any] = {"model": self.name, "weights": weights}
        if self.object_encoder is not None:
            found |= {
                "object_encoder": self.object_encoder,
                "object_encoder_weights": fingerprint(self.object_encoder),
            }
        return found

    def load(self) -> tuple[Any, Any]:
        """Return the model and its processor, which are loaded once."""
        if self._loaded is None:
            self._loaded = load_model(self.name, object_encoder=self.object_encoder, device=self.device)
        return self._loaded


class FrameModel(Loaded):
    """Any image-text-to-text model of transformers or of this library, as a `Seer`.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        processor (*optional*): processor of a model in memory.
        max_new_tokens (`int`): most tokens of an answer.
        device (*optional*): device of the model.
    """

    def __init__(self, model: Any, *, processor: Any = None, max_new_tokens: int = 512, device: Any = None):
        super().__init__(model, None, processor, device)
        check_at_least_one(max_new_tokens, "max_new_tokens")
        self.max_new_tokens = max_new_tokens

    def settings(self, num_frames: int) -> dict[str, Any]:
        """See `Seer`."""
        return {**self.source(), "num_frames": num_frames, "max_new_tokens": self.max_new_tokens}

    def look(self, clips: Sequence[MarkedClip]) -> list[str]:
        """Answer; see `Seer`. Adjacent clips that are all videos, or all pictures, form one batch."""
        answers: list[str] = []
        for kind, some in groupby(clips, lambda clip: clip.kind):
            answers += self._generate(list(some), kind == "image")
        return answers

    def say(self, prompt: str) -> str:
        """See `Seer`."""
        return self._generate([MarkedClip(np.empty((0, 1, 1, 3), np.uint8), {}, prompt, "image")], True)[0]

    def _generate(self, clips: list[MarkedClip], as_images: bool) -> list[str]:
        model, processor = self.load()
        prompts, videos = [clip.prompt for clip in clips], [clip.frames for clip in clips]
        known = [] if as_images else [clip.metadata for clip in clips]
        inputs = frame_inputs(model, processor, prompts, videos, known, as_images)
        return generate(model, processor, inputs, max_new_tokens=self.max_new_tokens)


class FrameEndpoint:
    """A model behind an OpenAI-compatible endpoint that takes frames, as a `Seer`.

    Args:
        chat: the endpoint.
    """

    def __init__(self, chat: Chat):
        check_kind(BenchError, CHAT, chat=chat)
        self.chat = chat
        self.workers = chat.workers

    def settings(self, num_frames: int) -> dict[str, Any]:
        """See `Seer`."""
        return {**self.chat.settings(), "num_frames": num_frames}

    def look(self, clips: Sequence[MarkedClip]) -> list[str | ReplyError]:
        """See `Seer`."""
        return [self._look(clip) for clip in clips]

    def say(self, prompt: str) -> str:
        """See `Seer`."""
        return self._said([{"role": "user", "content": prompt}])

    def _look(self, clip: MarkedClip) -> str | ReplyError:
        try:
            return self._said(frame_messages(clip))
        except ReplyError as error:
            return error  # the paid answers to others are kept

    def _said(self, messages: Sequence[Message]) -> str:
        return said_by(self.chat, messages)


def said_by(chat: Chat, messages: Sequence[Message]) -> str:
    """Return an answer, even if it is cut off, unless it is cut off before it begins.

    Raises:
        ReplyError: there is no answer.
    """
    completion = chat.complete(messages)
    if completion.finish == "length":
        if not completion.text.strip():
            raise ReplyError(
                "The model's answer is cut off before it begins, at the most tokens of an answer; raise "
                "--max-new-tokens.",
                "cut_off",
                (completion,),
            )
        logger.warning_once(
            "Answers are cut off at the most tokens of an answer; to have all of them, raise --max-new-tokens."
        )
    return completion.text


def frame_inputs(
    model: Any,
    processor: Any,
    prompts: list[str],
    videos: list[Any],
    metadata: list[Any],
    as_images: bool = False,
) -> Any:
    """Return the inputs of a model for videos whose frames are chosen already.

    Args:
        model: the model.
        processor: its processor.
        prompts: the question about each.
        videos: uint8 (frames, height, width, 3) each.
        metadata: numbers and times of the frames of each, in the form of video processors.
        as_images: whether frames are shown as images; always for models that take no video.
    """
    from transformers.feature_extraction_utils import BatchFeature
    from transformers.video_utils import VideoMetadata

    from videorefer_plugin.hosts.registry import Host, host_of, supported_hosts
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor

    is_own = isinstance(processor, VideoLLaMA2Processor)
    takes_video = not as_images and (is_own or getattr(processor, "video_processor", None) is not None)
    conversations = []
    for prompt, video in zip(prompts, videos, strict=True):
        shown = [{"type": "video"}] if takes_video else [{"type": "image"} for _ in video]
        conversations.append([{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}])
    if is_own:
        return own_inputs(processor, conversations, videos, metadata)
    texts = [
        processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        for conversation in conversations
    ]
    model_type = model.config.model_type
    host = host_of(model_type) if model_type in supported_hosts() else Host()
    visuals: dict[str, list[Any]] = (
        {"video": videos, "image": []}
        if takes_video
        else {"video": [], "image": [frame for video in videos for frame in video]}
    )
    described = [VideoMetadata(**each) for each in metadata]
    settings = {"padding": True, "padding_side": "left"}
    return BatchFeature(dict(host.call_processor(processor, texts, visuals, described, settings)))


def own_inputs(processor: Any, conversations: list[Any], videos: list[Any], metadata: Any = None) -> Any:
    """Return the inputs of this library's own models for frames that are chosen already."""
    # Processors that put the times of frames into the prompt need them.
    timed = {"video_metadata": metadata} if metadata and hasattr(processor, "frame_token") else {}
    for conversation, video in zip(conversations, videos, strict=True):
        for part, frame in zip(conversation[0]["content"], video, strict=False):
            if part["type"] != "text":
                part[part["type"]] = video if part["type"] == "video" else frame
    return processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        do_sample_frames=False,
        **timed,
    )
