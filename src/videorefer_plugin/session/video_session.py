"""`VideoSession` answers many questions about one video or image."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import ConfigurationError, PromptError, SessionError, VideoError
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.inputs.matching import check_at_least_one, named
from videorefer_plugin.inputs.questions import (
    check_question,
    question_pairs,
    question_regions,
    without_placeholders,
)
from videorefer_plugin.inputs.wording import REGION_TOKEN, description_prompt
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.models.threads import threads_for
from videorefer_plugin.models.tokenizing import answers_of
from videorefer_plugin.pictures import TokenSimilarity
from videorefer_plugin.regions import Region
from videorefer_plugin.session.chat import SessionChat, Turn
from videorefer_plugin.session.keeping import KeepsWithin
from videorefer_plugin.session.making import (
    check_settings,
    check_takes,
    generate_settings,
    make_visuals,
    plain_model,
    weights_version,
)
from videorefer_plugin.session.prefixes import Prefix, Runner
from videorefer_plugin.session.prompts import Computed, Prepared
from videorefer_plugin.session.streaming import AnswerStream
from videorefer_plugin.video import open_video

__all__ = ["VideoSession"]

_MAX_BYTES = 2 << 30
_MAX_ROWS = 64  # of a batch, by default


class VideoSession(KeepsWithin):
    """Answers many questions about one video or image, and computes once what they share.

    Each frame is decoded and encoded once for all questions and masks. The first part of every prompt (the system
    prompt and the video) runs through the language model once. Answers are the same as those of [`ask`]. Decoding is
    greedy by default.

    Several threads may use one session, which answers one question after the other.

    Args:
        model: a VideoLLaMA2 or VideoRefer model, or a host with an attached object encoder. It may be inside a PEFT
            model.
        processor: the [`VideoReferProcessor`], [`VideoLLaMA2Processor`] or [`RegionProcessor`] that belongs to it.
        video: the video, in any form that [`open_video`] takes; `None` with `image`.
        image: an image instead of a video, in any form that [`load_image`] takes.
        stream (`int`, *optional*): index of the video stream, for files with several.
        features ([`FeatureStore`], *optional*):
            Store of the features of frames, for other sessions on the same video. By default, the session drops
            them when it is closed.
        max_bytes (`int`, *optional*, defaults to 2 GiB):
            Largest number of bytes to keep between questions, and of the keys and values of a batch of questions.
            Values that were not used for the longest time are dropped, and computed again when they are needed.
        processor_settings: settings of the processor's call, such as `num_frames`, `fps` or `mask_policy`.

    Raises:
        PromptError: both or neither of video and image are given.
        VideoError: the video cannot be read.
        ConfigurationError: model and processor do not belong together, or a setting has an unknown value.

    Example:

    ```python
    import videorefer_plugin as vr

    with vr.VideoSession(model, processor, "dog.mp4") as session:
        print(session.ask("What is <region> doing?", [region]))
        print(session.ask_many([("What color is <region>?", [one]) for one in regions]))
        chat = session.chat()
        chat.ask("What is <region> doing?", [region])
        chat.ask("Why?")
    ```

    Attributes:
        processor: the processor.
        computed ([`Computed`]): counts of frames and positions that were computed so far.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        video: Any = None,
        *,
        image: Any = None,
        stream: int | None = None,
        features: FeatureStore | None = None,
        max_bytes: int = _MAX_BYTES,
        **processor_settings: Any,
    ):
        if (video is None) == (image is None):
            given = "neither was" if video is None else "both were"
            raise PromptError(f"Pass either a video or an image; {given} given.")
        if stream is not None and video is None:
            raise VideoError(f"stream={stream} was given for an image, but only video files have streams.")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
            raise ConfigurationError(f"max_bytes must be a whole number of bytes, but is {max_bytes!r}.")
        check_settings(processor_settings)
        if features is not None and not isinstance(features, FeatureStore):
            raise ConfigurationError(
                f"features must be a FeatureStore, but is a {type(features).__name__}. For a folder write "
                "features=FeatureStore(folder=...)."
            )
        self.processor = processor
        self.computed = Computed()
        self._model = plain_model(model)
        check_takes(self._model, processor)
        self._kind = "video" if image is None else "image"
        self._before: list[dict[str, Any]] = []  # messages in front of every conversation
        self._video = open_image(image) if image is not None else open_video(video, stream=stream)
        super().__init__(FeatureStore(max_bytes) if features is None else features, features is None, max_bytes)
        self._settings = processor_settings
        tokens = [getattr(processor, f"{kind}_token", None) for kind in ("video", "image")]
        self._placeholders = [token for token in tokens if isinstance(token, str)]
        self._reserved = [*self._placeholders, getattr(processor, "region_token", REGION_TOKEN)]
        self._lock = threading.RLock()
        self._closed = False
        self._start()

    def _start(self) -> None:
        """Start with nothing computed, and with the weights that the model has now."""
        self._weights = weights_version(self._model)
        self._visuals = make_visuals(
            self._model,
            self.processor,
            self._kind,
            self._video,
            self._store,
            self._own_store,
            self._settings,
            self.computed,
        )
        tokenizer = self.processor.tokenizer
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self._runner = Runner(self._model, pad or 0, self.computed)
        self._tail: Tensor | None = None
        self._compared = False
        self._visuals.check([self._text([("", None)])], [[]])  # settings

    # ------------------------------------------------------------------ questions

    def ask(self, question: str, regions: Sequence[Region | Mapping[str, Any]] = (), **generate_kwargs: Any) -> str:
        """Ask a question.

        Args:
            question (`str`): the question, with one `<region>` for each region.
            regions (`Sequence[Region]`, *optional*):
                The regions, in the order of the question, as [`Region`] or in its JSON form.
            max_new_tokens (`int`, *optional*, defaults to 256): largest number of tokens of the answer.
            generate_kwargs: further arguments of `generate`; decoding is greedy by default.

        Returns:
            `str`: the answer.

        Raises:
            PromptError: question and regions do not match, or the question is not a usable text.
            RegionError: a region does not fit the video.
            VideoError: a frame cannot be read.
            ConfigurationError: the session sets an argument of `generate` itself.
            SessionError: the session was closed.
        """
        return self.ask_many([(question, regions)], **generate_kwargs)[0]

    def ask_many(
        self,
        questions: Sequence[tuple[str, Sequence[Region | Mapping[str, Any]]]],
        batch_size: int | None = None,
        **generate_kwargs: Any,
    ) -> list[str]:
        """Ask independent questions, in batches of `batch_size`.

        Args:
            questions (`Sequence[tuple[str, Sequence[Region]]]`): questions with their regions.
            batch_size (`int`, *optional*): number of questions in a batch; by default as many as `max_bytes` allows.
            generate_kwargs: see [`VideoSession.ask`].

        Returns:
            `list[str]`: the answers, in the order of the questions.

        Raises:
            PromptError, RegionError, VideoError, ConfigurationError, SessionError: as [`VideoSession.ask`]. They are
                raised before any question is answered.
        """
        if batch_size is not None:
            check_at_least_one(batch_size, "batch_size")
        settings = self.checked(generate_kwargs)
        with self.answering():
            texts, regions = self._read(questions)
            step = self._visuals.at_once
            if len(texts) > step:
                self._visuals.check(texts, regions)
            answers: list[str] = []
            for first in range(0, len(texts), step):
                piece = slice(first, first + step)
                answers += self._answer(self._prepare(texts[piece], regions[piece]), batch_size, settings)
                self.trim()
            return answers

    def describe(self, regions: Sequence[Region | Mapping[str, Any]], **generate_kwargs: Any) -> list[str]:
        """Describe objects one by one, with the question of the paper's description benchmark.

        Args:
            regions (`Sequence[Region]`): the objects.
            generate_kwargs: see [`VideoSession.ask_many`].

        Returns:
            `list[str]`: a description of each object.
        """
        prompt = description_prompt(self._kind)
        return self.ask_many([(prompt, [region]) for region in question_regions(regions)], **generate_kwargs)

    def stream(
        self, question: str, regions: Sequence[Region | Mapping[str, Any]] = (), **generate_kwargs: Any
    ) -> AnswerStream:
        """Ask a question, and return an iterator over the pieces of the answer.

        The arguments and errors are those of [`VideoSession.ask`]; errors of arguments are raised by this call, not
        by the iterator. Other questions wait until this one is answered, or its stream is closed.

        Returns:
            `AnswerStream`: an iterator of `str`.
        """
        settings = self.checked(generate_kwargs, streams=True)
        with self.answering():
            (prompt,) = self._prepare(*self._read([(question, regions)]))

        def answer(streaming: dict[str, Any]) -> str:
            with self.answering():
                (text,) = self._answer([prompt], None, {**settings, **streaming})
                self.trim()
                return text

        return self.opened(AnswerStream(self.processor.tokenizer, answer, settings.pop("stopping_criteria", None)))

    def chat(self, history: Sequence[Turn] = ()) -> SessionChat:
        """Start a conversation in which every question refers to the turns before it.

        Args:
            history (`Sequence[Turn]`, *optional*): earlier turns, such as those of a session that was closed.
        """
        return self.opened(SessionChat(self, history))

    def similarity(self, region: Region | Mapping[str, Any]) -> TokenSimilarity:
        """Compare the object encoder's features of an object between neighboring frames, before it merges them.

        This makes figure 7 of the paper for any video: `session.similarity(region).save("similarity.png")`.

        Args:
            region (`Region`): the object, in several frames; a [`Region`] or its JSON form.

        Returns:
            [`TokenSimilarity`]: similarities of neighbors, which frames become one object token, and the picture.

        Raises:
            RegionError: the region does not fit the video.
            SessionError: the session was closed.
        """
        given = question_regions([region])
        with self.answering():
            token = getattr(self.processor, "region_token", REGION_TOKEN)
            frames, pooled = self._visuals.pooled(self._text([(token, None)]), given[0])
            self.trim()
            unions = self._model.object_encoder.config.max_tokens_per_region
            return TokenSimilarity.of(self._video, given[0].at_frames(self._video.frame_at), frames, pooled, unions)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop all streams, and drop everything that was computed. A second call has no effect."""
        for stream in self.all_open(AnswerStream):
            stream.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.forget_all()
            if self._own_store:
                self._store.clear()

    def __enter__(self) -> "VideoSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.memory() / 2**20:.1f} MiB kept"
        return f"VideoSession({self._video.name!r}, {state})"

    # ------------------------------------------------------------------ for conversations

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Keep other threads out, and start again if the model's weights have changed.

        Raises:
            SessionError: the session was closed.
        """
        with self._lock:
            if self._closed:
                raise SessionError("This session was closed. Open another one: VideoSession(model, processor, video).")
            if self._weights != weights_version(self._model):
                self.forget_all()
                if self._own_store:
                    self._store.clear()
                self._start()
            self._model.eval()
            with torch.no_grad(), threads_for(self._model):
                yield

    def checked(self, generate_kwargs: dict[str, Any], streams: bool = False) -> dict[str, Any]:
        """Check and complete the arguments of `generate`; see `generate_settings`."""
        return generate_settings(self._model, generate_kwargs, streams)

    def prepare_turn(self, turns: Sequence[Turn], question: str, regions: Any) -> tuple[list[Region], Prepared]:
        """Return the regions of a question, and the conversation up to this question, ready to run."""
        check_question(question, self._placeholders)
        given = question_regions(regions)
        told = [(turn.question, without_placeholders(turn.answer, self._reserved)) for turn in turns]
        before = [region for turn in turns for region in turn.regions]
        (prompt,) = self._prepare([self._text([*told, (question, None)])], [[*before, *given]])
        return given, prompt

    def converse(self, prompt: Prepared, kept: Prefix | None, settings: dict[str, Any]) -> tuple[str, Prefix | None]:
        """Answer a conversation; see `Runner.converse`."""
        answer, kept = self._runner.converse(prompt, self._tail, kept, settings)
        return self._decode([answer])[0], kept

    # ------------------------------------------------------------------ one batch

    def _read(self, questions: Any) -> tuple[list[str], list[list[Region]]]:
        """Return questions as the chat template formats them, and their regions."""
        texts, given = [], []
        pairs = question_pairs(questions)
        for number, (question, regions) in enumerate(pairs):
            with named(f"question {number}") if len(pairs) > 1 else nullcontext():
                texts.append(self._text([(check_question(question, self._placeholders), None)]))
                given.append(question_regions(regions))
        return texts, given

    def _text(self, turns: Sequence[tuple[str, str | None]]) -> str:
        conversation: list[dict[str, Any]] = list(self._before)
        for number, (question, answer) in enumerate(turns):
            visual = [] if number else [{"type": self._kind, self._kind: self._video}]
            conversation.append({"role": "user", "content": [*visual, {"type": "text", "text": question}]})
            if answer is not None:
                conversation.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)

    def _prepare(self, texts: list[str], regions: list[list[Region]]) -> list[Prepared]:
        if not texts:
            return []
        if self._compared:
            return self._visuals.prepare(texts, regions)
        # The positions that all prompts share are found by comparing two of them.
        other = self._text([("?" + getattr(self.processor, "region_token", "") * len(regions[0]), None)])
        *prompts, probe = self._visuals.prepare([*texts, other], [*regions, regions[0]])
        self._tail, self._compared = self._runner.tail_of(prompts[0], probe), True
        return prompts

    def _answer(self, prompts: list[Prepared], batch_size: int | None, settings: dict[str, Any]) -> list[str]:
        """Answer prompts in batches of prompts that show the same frames."""
        alike: dict[Any, list[int]] = {}
        for place, prompt in enumerate(prompts):
            alike.setdefault(prompt.shown.key, []).append(place)
        ids: dict[int, Tensor] = {}
        for places in alike.values():
            own = [prompts[place] for place in places]
            rows = batch_size or self._rows(own, settings)
            for first in range(0, len(own), rows):
                found = self._runner.generate(own[first : first + rows], self._tail, settings)
                ids |= zip(places[first : first + rows], found, strict=True)
        return self._decode([ids[place] for place in range(len(prompts))])

    def _rows(self, prompts: list[Prepared], settings: dict[str, Any]) -> int:
        if len(prompts) == 1:
            return 1
        return min(self._runner.rows_for(prompts, self._tail, settings, self._max_bytes), _MAX_ROWS)

    def _decode(self, ids: list[Tensor]) -> list[str]:
        return answers_of(self.processor, ids)
