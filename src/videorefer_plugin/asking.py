"""Asks one question about one video with a single call."""

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from videorefer_plugin._kinds import MODEL, PATH, PROCESSOR, check_kind
from videorefer_plugin.embedded import SHAPES_WORLD, is_tiny_checkpoint, tiny_checkpoint
from videorefer_plugin.errors import ConfigurationError, PromptError
from videorefer_plugin.inputs.asked import Question, open_stream, read_question, read_questions
from videorefer_plugin.inputs.matching import check_at_least_one, take_settings
from videorefer_plugin.inputs.questions import check_question, question_regions
from videorefer_plugin.models.checkpoint_files import PROCESSOR_FILES, check_files
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.generate_checks import check_generate
from videorefer_plugin.models.hub_arguments import HUB_ARGUMENTS, elsewhere, hub_arguments, in_subfolder, pinned
from videorefer_plugin.models.threads import threads_for
from videorefer_plugin.models.tokenizing import answers_of
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, open_video

__all__ = [
    "Question",
    "Reply",
    "answer",
    "answer_about",
    "ask",
    "ask_about",
    "ask_all",
    "load_model",
    "read_question",
    "read_questions",
    "shapes_note",
]

_ONLY_SHAPES = (
    "The embedded model knows nothing but the shapes world (videorefer demo), so its answer about this video means "
    "nothing. Ask a model that knows real videos: give its folder or Hub id as model (--model on the command line)."
)


def ask(
    model: Any,
    video: Any,
    question: str,
    regions: Sequence[Region | Mapping[str, Any]] = (),
    *,
    processor: Any = None,
    image: Any = None,
    stream: int | None = None,
    max_new_tokens: int = 256,
    **generate_kwargs: Any,
) -> str:
    """Ask a question about objects in a video or image.

    Args:
        model (`str`, `os.PathLike` or model): a checkpoint's folder or Hub id, or a loaded model.
        video: the video, in any form that [`VideoReferProcessor`] takes; `None` with `image`.
        question (`str`): the question, with one `<region>` for each region.
        regions (`Sequence[Region]`, *optional*):
            the regions, in the order of the question, as [`Region`] or in the JSON form that [`Region.from_json`]
            takes.
        processor (`VideoReferProcessor`, *optional*): needed if the model was not loaded from a folder or the Hub.
        image: an image to ask about instead of a video.
        stream (`int`, *optional*): index of the video stream, for files with several; see [`open_video`].
        max_new_tokens (`int`, *optional*, defaults to 256): largest number of tokens of the answer.
        generate_kwargs:
            Further arguments of `generate`; decoding is greedy by default. With a folder or Hub id, they may include
            arguments of `load_model` for fetching files from the Hub, such as `revision` and `token`.

    Returns:
        `str`: the answer.

    Raises:
        PromptError: question and regions do not match, the question is not a usable text, or both or neither of video
            and image are given.
        ConfigurationError: the processor is missing, `max_new_tokens` is not a number of tokens, or `generate` does
            not take an argument.
        RegionError: a region does not fit the video.
        VideoError: the video cannot be read.
        CheckpointError: the checkpoint cannot be loaded.
        ConfigurationError: `model` is not a model or checkpoint, or does not tell where its processor is.

    Several threads may share a model and a processor, here and in sessions, as long as none of them trains or saves.
    The embedded model knows the shapes world only, and warns (`UserWarning`) about any other video.
    """
    if (video is None) == (image is None):
        raise PromptError(f"Pass either a video or an image; {'neither was' if video is None else 'both were'} given.")
    check_question(question)
    check_at_least_one(max_new_tokens, "max_new_tokens")
    given = question_regions(regions)
    if not PATH.fits(model):
        check_kind(ConfigurationError, MODEL, model=model)
    if stream is not None:
        video = open_stream(video, stream)
    check_kind(ConfigurationError, PROCESSOR, optional=True, processor=processor)
    if isinstance(model, (str, os.PathLike)):
        hub = {name: generate_kwargs.pop(name) for name in HUB_ARGUMENTS if name in generate_kwargs}
        model, processor = load_model(model, processor=processor, **hub)
    elif processor is None:
        from videorefer_plugin.hosts.loading import processor_of

        processor = processor_of(model)
    check_generate(model, generate_kwargs)
    if is_tiny_checkpoint(model.name_or_path):
        video = None if video is None else open_video(video)
        if note := shapes_note(video):
            warnings.warn(note, stacklevel=2)
    return _ask(model, processor, video, image, question, given, max_new_tokens, generate_kwargs)


def shapes_note(video: Video | None) -> str | None:
    """Return the warning about answers of the embedded model, if the video is not of the shapes world."""
    return None if video is not None and video.comment == SHAPES_WORLD else _ONLY_SHAPES


def _ask(
    model: Any,
    processor: Any,
    video: Any,
    image: Any,
    question: str,
    regions: list[Region],
    max_new_tokens: int,
    generate_kwargs: dict[str, Any],
) -> str:
    visual = {"type": "video", "video": video} if image is None else {"type": "image", "image": image}
    conversation = [{"role": "user", "content": [visual, {"type": "text", "text": question}]}]
    return answer(model, processor, [conversation], [regions], max_new_tokens=max_new_tokens, **generate_kwargs)[0]


def load_model(
    name: str | os.PathLike,
    *,
    object_encoder: str | os.PathLike | None = None,
    processor: Any = None,
    device: Any = None,
    dtype: Any = None,
    **hub_kwargs: Any,
) -> tuple[Any, Any]:
    """Load a model for questions, and its processor.

    Args:
        name (`str` or `os.PathLike`):
            A checkpoint's folder or Hub id, which is that of a host with `object_encoder`. For a PEFT adapter, its
            base model is loaded first, then the object encoder beside the adapter, and the processor of either.
        object_encoder (`str` or `os.PathLike`, *optional*): folder or Hub id of the host's saved object encoder.
        processor (*optional*): a loaded processor to use instead of the checkpoint's.
        device (*optional*): device of the model; by default all GPUs, if there are any.
        dtype (*optional*): dtype of the weights, as `from_pretrained` takes it; by default that of the checkpoint.
        hub_kwargs:
            Arguments of `from_pretrained` for fetching files from the Hub: `revision`, `subfolder`, `token`,
            `cache_dir`, `local_files_only`, `force_download`, `proxies`. The first two apply to the checkpoint only,
            the others to the object encoder as well.

    Raises:
        CheckpointError: a checkpoint cannot be loaded, or lacks weights.
        ConfigurationError: there is no processor, or an argument is unknown.
    """
    import torch

    from videorefer_plugin.hosts import load_checkpoint, load_object_encoder
    from videorefer_plugin.hosts.loading import load_processor, own_object_encoder, with_regions
    from videorefer_plugin.models.videorefer.regions import RegionMixin

    check_kind(ConfigurationError, PATH, name=name)
    check_kind(ConfigurationError, PATH, optional=True, object_encoder=object_encoder)
    check_kind(ConfigurationError, PROCESSOR, optional=True, processor=processor)
    name = os.fspath(name)
    take_settings(hub_kwargs, (), HUB_ARGUMENTS, "load_model")
    hub = pinned(name, hub_arguments(hub_kwargs))
    if device is None and torch.cuda.is_available():
        device = "auto"
    if processor is None:
        check_files(in_subfolder(name, hub), PROCESSOR_FILES)  # before the model, which takes long to load
    model = load_checkpoint(name, device_map=device, **({} if dtype is None else {"dtype": dtype}), **hub)
    processor = processor or load_processor(name, **hub)
    place = None if object_encoder is None else (object_encoder, elsewhere(hub))
    if place is None and not isinstance(model, RegionMixin):
        place = own_object_encoder(name, hub)
    if place is not None:
        load_object_encoder(model, place[0], processor=processor, **place[1])
    return model, with_regions(processor, model)


def answer(
    model: Any,
    processor: Any,
    conversations: Sequence[Any],
    regions: Sequence[Sequence[Region]] | None = None,
    *,
    max_new_tokens: int = 256,
    processor_kwargs: dict[str, Any] | None = None,
    **generate_kwargs: Any,
) -> list[str]:
    """Answer conversations in one batch.

    Args:
        model: the model.
        processor: its processor.
        conversations: messages of each conversation, as `apply_chat_template` takes them.
        regions (*optional*): the regions of each conversation, for models that take regions.
        max_new_tokens (`int`, *optional*, defaults to 256): largest number of tokens of an answer.
        processor_kwargs (`dict`, *optional*): settings of the processor.
        generate_kwargs: further arguments of `generate`; decoding is greedy by default.
    """
    given = {} if regions is None else {"regions": [list(some) for some in regions]}
    with threads_for(model):
        inputs = processor.apply_chat_template(
            list(conversations),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **given,
            **(processor_kwargs or {}),
        )
        return generate(model, processor, inputs, max_new_tokens=max_new_tokens, **generate_kwargs)


def answer_about(
    model: Any,
    processor: Any,
    visual: Any,
    questions: Sequence[tuple[str, Sequence[Region]]],
    *,
    image: bool = False,
    max_new_tokens: int = 256,
) -> list[str]:
    """Answer questions about one visual, in a session or, for models that sessions do not take, one by one.

    Args:
        model: the model.
        processor: its processor.
        visual: the video or image.
        questions (`Sequence[tuple[str, Sequence[Region]]]`): questions with their regions.
        image (`bool`, *optional*, defaults to `False`): whether the visual is an image.
        max_new_tokens (`int`, *optional*, defaults to 256): largest number of tokens of an answer.
    """
    from videorefer_plugin.session import VideoSession
    from videorefer_plugin.session.making import takes

    video, picture = (None, visual) if image else (visual, None)
    if len(questions) == 1 or not takes(model, processor):
        asked = [(model, processor, video, picture, text, list(regions)) for text, regions in questions]
        return [_ask(*one, max_new_tokens, {}) for one in asked]
    with VideoSession(model, processor, video, image=picture) as session:
        return session.ask_many(questions, max_new_tokens=max_new_tokens)


def generate(model: Any, processor: Any, inputs: Any, *, max_new_tokens: int, **generate_kwargs: Any) -> list[str]:
    """Generate answers from a processor's output, and return them without their prompts."""
    inputs = inputs.to(device_of(model))
    generate_kwargs.setdefault("do_sample", False)
    with threads_for(model):
        output = model.eval().generate(**inputs, max_new_tokens=max_new_tokens, **generate_kwargs)
    return answers_of(processor, output[:, inputs["input_ids"].shape[1] :])


@dataclass(frozen=True)
class Reply:
    """The answer to a question on the command line.

    Attributes:
        model, video, question, answer (`str`): the model, the video, the question and the answer.
        regions (`list[str]`): the regions as they were given, each with its kind in front.
        seconds (`float`): time for loading the model and answering all questions.
        note (`str`, *optional*): a warning about the answer.
    """

    model: str
    video: str
    question: str
    answer: str
    regions: list[str]
    seconds: float
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the reply as a `dict` for JSON."""
        return asdict(self)


def ask_about(model: str | None, question: Question, **settings: Any) -> Reply:
    """Ask one question that was read from a command line; see [`ask_all`]."""
    return ask_all(model, [question], **settings)[0]


def ask_all(
    model: str | None,
    questions: Sequence[Question],
    *,
    object_encoder: str | None = None,
    revision: str | None = None,
    max_new_tokens: int = 256,
) -> list[Reply]:
    """Ask questions about one file that were read from a command line.

    Args:
        model (`str`, *optional*): a checkpoint's folder or Hub id; the embedded model by default.
        questions (`Sequence[Question]`): the questions; see [`read_questions`].
        object_encoder (`str`, *optional*): for a host, folder or Hub id of its saved object encoder.
        revision (`str`, *optional*): branch, tag or commit of the model's repository on the Hub.
        max_new_tokens (`int`, *optional*, defaults to 256): largest number of tokens of each answer.

    Raises:
        PromptError: a question is not usable.
        RegionError: a region does not fit the video.
        VideoError: a frame cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    started = time.monotonic()
    loaded, processor = load_model(model or tiny_checkpoint(), object_encoder=object_encoder, revision=revision)
    asked = [(question.text, question.regions) for question in questions]
    first = questions[0]
    said = answer_about(loaded, processor, first.video, asked, image=first.image, max_new_tokens=max_new_tokens)
    seconds = round(time.monotonic() - started, 2)
    note = shapes_note(None if first.image else first.video) if is_tiny_checkpoint(loaded.name_or_path) else None
    return [
        Reply(model or "embedded", one.path, one.text, text, one.written, seconds, note)
        for one, text in zip(questions, said, strict=True)
    ]
