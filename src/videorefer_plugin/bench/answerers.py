"""Answerers: models that take regions, and models that see marks on the frames or boxes as text."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from videorefer_plugin.asking import answer
from videorefer_plugin.bench.boxes import box_item, known_format
from videorefer_plugin.bench.marks import MarkedClip, known_style, mark_item
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.runner import ItemError, failure_of
from videorefer_plugin.bench.seeing import FrameEndpoint, FrameModel, Loaded, Seer, frame_inputs
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import BenchError, VideoError
from videorefer_plugin.inputs.matching import check_at_least_one, check_mask_policy, check_region_limit
from videorefer_plugin.session import VideoSession
from videorefer_plugin.session.making import takes

__all__ = ["Answerer", "BoxText", "FrameAnswerer", "MarkedEndpoint", "MarkedModel", "RegionModel", "frame_inputs"]

FRAMES = 16  # as in the paper


class Answerer(Protocol):
    """The interface of everything that answers items.

    Attributes:
        workers (`int`): number of concurrent calls that it takes.
    """

    workers: int

    def settings(self) -> dict[str, Any]:
        """Return all settings that the answers depend on."""
        ...

    def answer(self, items: Sequence[Item], mode: str) -> Sequence[str | ItemError]:
        """Answer a batch of items in single- or multi-frame mode. An item without an answer gets an `ItemError`.

        An exception concerns the whole batch, which is then tried again, one item after the other.
        """
        ...


class RegionModel(Loaded):
    """A model of this library, or a host with an attached object encoder, which takes regions.

    A batch about one video or picture is answered in a [`VideoSession`], if the model supports sessions. In a `with`
    block, the session is kept for the next calls about the same video. A batch about several videos is run at once,
    which is faster than a session for each if prompts are short.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        object_encoder (*optional*): for a host, folder of the saved object encoder.
        processor (*optional*): processor of a model in memory.
        num_frames (`int`, *optional*): frames to sample. Default: the checkpoint's number. The scripts released with
            the paper sample 8.
        max_frames_per_region (`int`, *optional*): most frames of an object to use in multi-frame mode.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`. Default: the processor's.
        max_new_tokens (`int`): most tokens of an answer.
        device (*optional*): device of the model.
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
        check_at_least_one(max_new_tokens, "max_new_tokens")
        check_region_limit(max_frames_per_region)
        given = {
            "num_frames": num_frames,
            "max_frames_per_region": max_frames_per_region,
            "mask_policy": mask_policy,
        }
        if num_frames is not None:
            check_at_least_one(num_frames, "num_frames")
        if mask_policy is not None:
            check_mask_policy(mask_policy)
        self.processor_kwargs: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.max_new_tokens = max_new_tokens
        self._session: tuple[tuple[Path, str], VideoSession] | None = None
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
                f"{self.name!r} takes no regions: give the encoder that was trained for it as --object-encoder, or "
                "use --marks"
            )
        with self._lock:
            try:
                if len({(item.video, item.kind) for item in items}) == 1 and takes(model, processor):
                    return self._answer_in_session(items, mode)
                self._close()
                return self._answer_together(items, mode)
            finally:
                if not self._goes_on:
                    self._close()

    def __enter__(self) -> "RegionModel":
        """Keep the session of a video for further items about it, until the block is left."""
        self._goes_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on = False
        with self._lock:
            self._close()

    def _answer_in_session(self, items: Sequence[Item], mode: str) -> list[str]:
        questions = [(item.prompt, item.regions(mode)) for item in items]
        try:
            session = self._session_about(items[0])
            return session.ask_many(questions, len(questions), max_new_tokens=self.max_new_tokens)
        except VideoError as error:
            if str(error).startswith("Sample "):
                raise
            raise VideoError(f"Sample 0: {error}") from error  # the form of processors, so that failures read the same

    def _session_about(self, item: Item) -> VideoSession:
        about = item.video, item.kind
        if self._session is None or self._session[0] != about:
            self._close()
            model, processor = self.load()
            shown: dict[str, Any] = {item.kind: os.fspath(item.video)}
            self._session = about, VideoSession(model, processor, **shown, **self.processor_kwargs)
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
                        {"type": item.kind, item.kind: os.fspath(item.video)},
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


class FrameAnswerer:
    """A model that sees an item's frames, with its objects as marks or as text.

    Args:
        seer (`Seer`): the model.
        num_frames (`int`, *optional*): frames to show; 16 by default.
        sees (`str`): the form in which it sees objects.
    """

    def __init__(self, seer: Seer, num_frames: int | None, sees: str):
        self.seer = seer
        self.workers = seer.workers
        if num_frames is not None:
            check_at_least_one(num_frames, "num_frames")
        self.num_frames = num_frames or FRAMES
        self.sees = sees

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        return {"sees": self.sees, **self.seer.settings(self.num_frames)}

    def answer(self, items: Sequence[Item], mode: str) -> list[str | ItemError]:
        """See [`Answerer`]."""
        said = self.seer.look([self.clip(item, mode) for item in items])
        return [
            failure_of(item, one) if isinstance(one, ReplyError) else one
            for item, one in zip(items, said, strict=True)
        ]

    def clip(self, item: Item, mode: str) -> MarkedClip:
        """Return the frames and the prompt of an item."""
        raise NotImplementedError


class _Marked(FrameAnswerer):
    def __init__(self, seer: Seer, style: str, num_frames: int | None):
        self.style = known_style(style)
        super().__init__(seer, num_frames, f"marks: {style}")

    def clip(self, item: Item, mode: str) -> MarkedClip:
        """See [`mark_item`]."""
        return mark_item(item, mode, self.style, self.num_frames)


class MarkedModel(_Marked):
    """Any image-text-to-text model of transformers, or a model of this library, that sees marks on the frames.

    Args:
        model: folder or Hub id, or a model in memory (which needs `processor`).
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        processor (*optional*): processor of a model in memory.
        num_frames (`int`): frames to show.
        max_new_tokens (`int`): most tokens of an answer.
        device (*optional*): device of the model.
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
        seer = FrameModel(model, processor=processor, max_new_tokens=max_new_tokens, device=device)
        super().__init__(seer, style, num_frames)


class MarkedEndpoint(_Marked):
    """A model behind an OpenAI-compatible endpoint that takes frames with marks on them.

    Args:
        chat: the endpoint.
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        num_frames (`int`, *optional*): frames to send; 16 by default.
    """

    def __init__(self, chat: Chat, style: str = "contour", *, num_frames: int | None = None):
        self.chat = chat
        super().__init__(FrameEndpoint(chat), style, num_frames)


class BoxText(FrameAnswerer):
    """A model that takes boxes as text, as Elysium does (section 4.2.1). The frames are unmarked.

    A single box replaces the object's `<region>`. In multi-frame mode, the boxes of all annotated frames that are
    shown are listed before the question, with number and time of each frame.

    Args:
        seer (`Seer`): the model, a [`FrameModel`] or a [`FrameEndpoint`].
        box_format (`str`): `"0-1"`, `"0-100"`, `"0-999"`, `"0-1000"` or `"pixels"` of the frame.
        num_frames (`int`, *optional*): frames to show; 16 by default.
    """

    def __init__(self, seer: Seer, box_format: str = "0-1", *, num_frames: int | None = None):
        self.box_format = known_format(box_format)
        super().__init__(seer, num_frames, f"boxes as text: {box_format}")

    def clip(self, item: Item, mode: str) -> MarkedClip:
        """See `box_item`."""
        return box_item(item, mode, self.box_format, self.num_frames)
