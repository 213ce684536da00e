"""Models for questions about videos that are loaded here: this library's own, hosts, and others of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.asking import generate, load_model
from videorefer_plugin.bench.answerers import frame_inputs
from videorefer_plugin.chat.reasoning import without_reasoning
from videorefer_plugin.data_engine.agents.loading import check_device, free_memory, loads
from videorefer_plugin.data_engine.agents.shown import ShownFrames
from videorefer_plugin.embedded import tiny_checkpoint
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.hosts import RegionProcessor, attach_object_encoder, supported_hosts
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.models.fingerprint import fingerprint
from videorefer_plugin.regions import Region
from videorefer_plugin.segment.loading import read_device
from videorefer_plugin.session import VideoSession
from videorefer_plugin.session.making import takes
from videorefer_plugin.video import Video, open_video

__all__ = ["EMBEDDED", "FRAMES", "VisualModel"]

EMBEDDED = "embedded"
FRAMES = 16  # default number, as for general models in the paper
_TOGETHER = 4  # prompts of a batch if each of them has the video again
_DTYPES = ("auto", "float32", "float16", "bfloat16")


class VisualModel:
    """A model that answers questions about videos and images.

    Questions about one video are asked in one [`VideoSession`], which computes their common part once. Hosts without
    an object encoder get one for that, which no question uses. Other models of transformers get the frames with each
    question, in batches of questions.

    Args:
        stage (`str`): stage of the agent, for messages.
        checkpoint (`str`): folder or Hub id, or "embedded".
        object_encoder (`str`, *optional*): for a host, folder of the saved object encoder.
        revision (`str`, *optional*): branch, tag or commit of the checkpoint on the Hub.
        num_frames (`int`, *optional*): frames to show. Default: the checkpoint's number in a session, otherwise 16.
        max_new_tokens (`int`): most tokens of an answer.
        batch_size (`int`, *optional*): questions in a batch. Default in a session: as many as memory allows.
        device, dtype (`str`, *optional*): device, and data type of the weights.
    """

    def __init__(
        self,
        stage: str,
        checkpoint: str,
        *,
        object_encoder: str | None = None,
        revision: str | None = None,
        num_frames: int | None = None,
        max_new_tokens: int = 256,
        batch_size: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        if not isinstance(checkpoint, str) or not checkpoint:
            raise ConfigurationError(
                f"The {stage} has checkpoint={short(checkpoint)}; expected a folder, a Hub id, or '{EMBEDDED}'."
            )
        numbers = {"max_new_tokens": max_new_tokens, "num_frames": num_frames, "batch_size": batch_size}
        for name, value in numbers.items():
            if value is not None or name == "max_new_tokens":
                check_at_least_one(value, name)
        if dtype is not None and str(dtype).removeprefix("torch.") not in _DTYPES:
            raise ConfigurationError(f"The {stage} has dtype={short(dtype)}; expected one of {', '.join(_DTYPES)}.")
        check_device(stage, device)
        if checkpoint == EMBEDDED and (object_encoder is not None or revision is not None):
            raise ConfigurationError(f"The {stage} has the embedded model, which needs no object_encoder or revision.")
        self.stage, self.checkpoint, self.object_encoder, self.revision = stage, checkpoint, object_encoder, revision
        self.num_frames, self.max_new_tokens, self.batch_size = num_frames, max_new_tokens, batch_size
        self.device, self.dtype = device, None if dtype is None else str(dtype).removeprefix("torch.")
        self._loaded: tuple[Any, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Return everything that its answers depend on."""
        said: dict[str, Any] = {"model": self.checkpoint, "weights": fingerprint(self._folder, self.revision)}
        if self.object_encoder is not None:
            said |= {"object_encoder": self.object_encoder, "object_encoder_weights": fingerprint(self.object_encoder)}
        given = {"revision": self.revision, "num_frames": self.num_frames, "dtype": self.dtype}
        return {**said, **given, "max_new_tokens": self.max_new_tokens}

    def load(self) -> tuple[Any, Any]:
        """Return the model and its processor, which are loaded once.

        Raises:
            EngineError: they cannot be loaded.
        """
        if self._loaded is None:
            with loads(f"The {self.stage}'s model {self.checkpoint!r}"):
                if self.device is not None:
                    read_device(self.device)
                hub = {} if self.revision is None else {"revision": self.revision}
                model, processor = load_model(
                    self._folder, object_encoder=self.object_encoder, device=self.device, dtype=self.dtype, **hub
                )
            self._check_template(processor)
            self._loaded = model, _for_sessions(model, processor)
        return self._loaded

    def _check_template(self, processor: Any) -> None:
        parts = (processor, getattr(processor, "tokenizer", None))
        if not any(getattr(part, "chat_template", None) for part in parts):
            raise EngineError(
                f"The {self.stage}'s model {self.checkpoint!r} has no chat template, so it cannot be asked; take a "
                "checkpoint that was trained to follow instructions."
            )

    def check_regions(self) -> None:
        """Make sure that the model takes regions, and was trained for them.

        Raises:
            EngineError: the model takes no regions.
        """
        _, processor = self.load()
        untrained = isinstance(processor, RegionProcessor) and self.object_encoder is None
        if untrained or not hasattr(processor, "region_token"):
            raise EngineError(
                f"The {self.stage}'s model {self.checkpoint!r} takes no regions: give the encoder that was "
                "trained for it as object_encoder, or a checkpoint of this library."
            )

    def close(self) -> None:
        """Release the model."""
        self._loaded = None
        free_memory()

    def ask(
        self, video: Video, questions: Sequence[tuple[str, Sequence[Region]]], *, is_image: bool = False
    ) -> list[str]:
        """Answer questions about one video, or an image as a video of one frame.

        Raises:
            VideoError, RegionError, PromptError: see [`VideoSession`].
        """
        model, processor = self.load()
        if takes(model, processor):
            if self.num_frames == 1 and not any(regions for _, regions in questions):
                return self.ask_frames(ShownFrames.of(video, 1), [text for text, _ in questions], is_image=is_image)
            given = self.num_frames is not None and not is_image and video.num_frames > 1
            frames = {"num_frames": self.num_frames} if given else {}
            return self._in_session(video, questions, is_image, frames)
        shown = ShownFrames.of(video, self.num_frames or FRAMES)
        return self._one_by_one(shown, [text for text, _ in questions], is_image)

    def ask_frames(self, shown: ShownFrames, questions: Sequence[str], *, is_image: bool = False) -> list[str]:
        """Answer questions about frames that are chosen already."""
        model, processor = self.load()
        if not takes(model, processor):
            return self._one_by_one(shown, questions, is_image)
        # A connector may merge two frames: a single one is repeated, as in default sampling.
        frames = {} if is_image or len(shown.indices) == 1 else {"num_frames": len(shown.indices)}
        video = open_video(shown.pictures, fps=shown.fps)
        return self._in_session(video, [(text, []) for text in questions], is_image, frames)

    @property
    def _folder(self) -> str:
        return tiny_checkpoint() if self.checkpoint == EMBEDDED else self.checkpoint

    def _in_session(
        self, video: Video, questions: Sequence[tuple[str, Sequence[Region]]], is_image: bool, settings: dict[str, Any]
    ) -> list[str]:
        seen: dict[str, Any] = {"image": video} if is_image else {"video": video}
        model, processor = self.load()
        with VideoSession(model, processor, **seen, **settings) as session:
            answers = session.ask_many(questions, self.batch_size, max_new_tokens=self.max_new_tokens)
        return [without_reasoning(answer) or "" for answer in answers]

    def _one_by_one(self, shown: ShownFrames, questions: Sequence[str], is_image: bool) -> list[str]:
        model, processor = self.load()
        step = self.batch_size or _TOGETHER
        answers: list[str] = []
        for first in range(0, len(questions), step):
            some = list(questions[first : first + step])
            pictures, known = [shown.pictures] * len(some), [dict(shown.metadata)] * len(some)
            inputs = frame_inputs(model, processor, some, pictures, known, as_images=is_image)
            answers += generate(model, processor, inputs, max_new_tokens=self.max_new_tokens)
        return [without_reasoning(answer) or "" for answer in answers]


def _for_sessions(model: Any, processor: Any) -> Any:
    """Return the processor with which a session takes the model; `None` if sessions do not take it."""
    if takes(model, processor) or model.config.model_type not in supported_hosts():
        return processor
    try:
        attach_object_encoder(model, processor=processor)
    except ConfigurationError:  # a processor or shape that the host's description does not know
        return processor
    return RegionProcessor(processor, model)
