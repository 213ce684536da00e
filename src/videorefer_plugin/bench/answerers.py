"""Who answers: models with regions, and models that see marks, loaded here or behind an endpoint."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from videorefer_plugin.asking import answer, generate, load_model
from videorefer_plugin.bench.marks import STYLES, frame_messages, mark_item
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.errors import BenchError, ConfigurationError, VideoError
from videorefer_plugin.models.fingerprint import fingerprint
from videorefer_plugin.session import VideoSession
from videorefer_plugin.session.making import takes

__all__ = ["Answerer", "MarkedEndpoint", "MarkedModel", "RegionModel", "frame_inputs"]

_MARKED_FRAMES = 16  # as in the paper


class Answerer(Protocol):
    """Somebody who answers items.

    Attributes:
        workers (`int`): how many calls it takes at the same time.
    """

    workers: int

    def settings(self) -> dict[str, Any]:
        """Everything that its answers depend on."""
        ...

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        """Answer a batch of items in single- or multi-frame mode."""
        ...


class _Loaded:
    """A model that is loaded when it is first asked, so that a run with nothing to do loads none."""

    workers = 1

    def __init__(
        self,
        model: Any,
        object_encoder: str | os.PathLike | None = None,
        processor: Any = None,
        device: Any = None,
    ):
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
        weights = "in memory" if self._given else fingerprint(self.name)
        found: dict[str, Any] = {"model": self.name, "weights": weights}
        if self.object_encoder is not None:
            found |= {
                "object_encoder": self.object_encoder,
                "object_encoder_weights": fingerprint(self.object_encoder),
            }
        return found

    def load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = load_model(self.name, object_encoder=self.object_encoder, device=self.device)
        return self._loaded


class RegionModel(_Loaded):
    """A model of this library, or a host with an attached object encoder: it takes the regions themselves.

    A batch about one video is answered in a [`VideoSession`], where that takes the model. In a `with` block the
    session is kept for the next call, until one is about another video or the block is left. A batch about several
    videos is run as one: with short prompts that is quicker than a session for each.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        object_encoder (*optional*): for a host, what was saved of its object encoder.
        processor (*optional*): of a model in memory.
        num_frames (`int`, *optional*): frames to sample; the checkpoint's number by default. The scripts released with
            the paper sample 8.
        max_frames_per_region (`int`, *optional*): in multi-frame mode, the most frames to use of an object.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`; the processor's by default.
        max_new_tokens (`int`): the most tokens of an answer.
        device (*optional*): where to run.
    """

    def __init__(
        self,
        model: Any,
        object_encoder: str | os.PathLike | None = None,
        *,
        processor: Any = None,
        num_frames: int | None = None,
        max_frames_per_region: int | None = None,
        mask_policy: str | None = None,
        max_new_tokens: int = 512,
        device: Any = None,
    ):
        super().__init__(model, object_encoder, processor, device)
        given = {
            "num_frames": num_frames,
            "max_frames_per_region": max_frames_per_region,
            "mask_policy": mask_policy,
        }
        self.processor_kwargs: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.max_new_tokens = max_new_tokens
        self._session: tuple[Path, VideoSession] | None = None
        self._goes_on = False
        self._lock = threading.RLock()

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        return {
            "sees": "regions",
            **self.source(),
            **self.processor_kwargs,
            "max_new_tokens": self.max_new_tokens,
        }

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        """See [`Answerer`]."""
        model, processor = self.load()
        if not hasattr(processor, "region_token"):
            raise BenchError(
                f"{self.name!r} takes no regions: give --object-encoder, what was trained for it, or let it see "
                "--marks"
            )
        with self._lock:
            try:
                if len({item.video for item in items}) == 1 and takes(model, processor):
                    return self._answer_in_session(items, mode)
                self._close()
                return self._answer_together(items, mode)
            finally:
                if not self._goes_on:
                    self._close()

    def __enter__(self) -> "RegionModel":
        """Until the block is left, keep what is known of a video while items are about it."""
        self._goes_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on = False
        with self._lock:
            self._close()

    def _answer_in_session(self, items: Sequence[Item], mode: str) -> list[str]:
        questions = [(item.prompt, item.regions(mode)) for item in items]
        try:
            session = self._session_about(items[0].video)
            return session.ask_many(questions, len(questions), max_new_tokens=self.max_new_tokens)
        except VideoError as error:
            if str(error).startswith("Sample "):
                raise
            raise VideoError(f"Sample 0: {error}") from error  # as processors say it, so that failures read the same

    def _session_about(self, video: Path) -> VideoSession:
        if self._session is None or self._session[0] != video:
            self._close()
            self._session = video, VideoSession(*self.load(), os.fspath(video), **self.processor_kwargs)
        return self._session[1]

    def _close(self) -> None:
        if self._session is not None:
            self._session[1].close()
            self._session = None

    def _answer_together(self, items: Sequence[Item], mode: str) -> list[str]:
        model, processor = self.load()
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "video", "video": os.fspath(item.video)},
                        {"type": "text", "text": item.prompt},
                    ],
                }
            ]
            for item in items
        ]
        return answer(
            model,
            processor,
            conversations,
            [item.regions(mode) for item in items],
            max_new_tokens=self.max_new_tokens,
            processor_kwargs=self.processor_kwargs,
        )


class MarkedModel(_Loaded):
    """Any image-text-to-text model of transformers, also ours: it sees the objects marked on the frames.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        processor (*optional*): of a model in memory.
        num_frames (`int`): frames to show.
        max_new_tokens (`int`): the most tokens of an answer.
        device (*optional*): where to run.
    """

    def __init__(
        self,
        model: Any,
        style: str = "contour",
        *,
        processor: Any = None,
        num_frames: int | None = None,
        max_new_tokens: int = 512,
        device: Any = None,
    ):
        super().__init__(model, None, processor, device)
        self.style = _known_style(style)
        self.num_frames = num_frames or _MARKED_FRAMES
        self.max_new_tokens = max_new_tokens

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        return {
            "sees": f"marks: {self.style}",
            **self.source(),
            "num_frames": self.num_frames,
            "max_new_tokens": self.max_new_tokens,
        }

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        """See [`Answerer`]."""
        model, processor = self.load()
        clips = [mark_item(item, mode, self.style, self.num_frames) for item in items]
        inputs = frame_inputs(
            model,
            processor,
            [clip.prompt for clip in clips],
            [clip.frames for clip in clips],
            [clip.metadata for clip in clips],
        )
        return generate(model, processor, inputs, max_new_tokens=self.max_new_tokens)


class MarkedEndpoint:
    """A model behind an OpenAI-compatible endpoint that takes frames: it sees the objects marked on them.

    Args:
        chat: the endpoint.
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        num_frames (`int`, *optional*): frames to send; 16 by default.
    """

    def __init__(self, chat: Chat, style: str = "contour", *, num_frames: int | None = None):
        self.chat = chat
        self.workers = chat.workers
        self.style = _known_style(style)
        self.num_frames = num_frames or _MARKED_FRAMES

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        return {"sees": f"marks: {self.style}", **self.chat.settings(), "num_frames": self.num_frames}

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        """See [`Answerer`]."""
        clips = [mark_item(item, mode, self.style, self.num_frames) for item in items]
        return [self.chat.complete(frame_messages(clip)).text for clip in clips]


def _known_style(style: str) -> str:
    if style not in STYLES:
        raise BenchError(f"marks are {style!r}: expected one of {', '.join(STYLES)}")
    return style


def frame_inputs(
    model: Any,
    processor: Any,
    prompts: list[str],
    videos: list[Any],
    metadata: list[Any],
    as_images: bool = False,
) -> Any:
    """Inputs of a model for videos whose frames are chosen already.

    Args:
        model: the model.
        processor: its processor.
        prompts: the question about each.
        videos: uint8 (frames, height, width, 3) each.
        metadata: what is known of each, as video processors take it.
        as_images: whether frames are shown as images; those for models that take no video always are.
    """
    from transformers.feature_extraction_utils import BatchFeature
    from transformers.video_utils import VideoMetadata

    from videorefer_plugin.hosts.registry import Host, host_of, supported_hosts
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor

    is_own = isinstance(processor, VideoLLaMA2Processor)
    takes_video = is_own or (getattr(processor, "video_processor", None) is not None and not as_images)
    conversations = []
    for prompt, video in zip(prompts, videos, strict=True):
        shown = [{"type": "video"}] if takes_video else [{"type": "image"}] * len(video)
        conversations.append([{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}])
    if is_own:
        inputs = answer_inputs(processor, conversations, videos)
        return inputs
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


def answer_inputs(processor: Any, conversations: list[Any], videos: list[Any]) -> Any:
    """Inputs of this library's own models for frames that are chosen already."""
    for conversation, video in zip(conversations, videos, strict=True):
        conversation[0]["content"][0]["video"] = video
    return processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        do_sample_frames=False,
    )
