"""Ask one question about one video: the whole library in a call."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from videorefer_plugin.regions import Region

__all__ = ["Reply", "answer", "ask", "ask_about", "load_model"]


def ask(
    model: Any,
    video: Any,
    question: str,
    regions: Sequence[Region] = (),
    *,
    processor: Any = None,
    image: Any = None,
    max_new_tokens: int = 256,
    **generate_kwargs: Any,
) -> str:
    """Ask a question about objects in a video or image.

    Args:
        model (`str`, `os.PathLike` or model): a checkpoint's folder or Hub id, or a loaded model.
        video: the video, as [`VideoReferProcessor`] takes it; `None` with `image`.
        question (`str`): the question, with one `<region>` for each region.
        regions (`Sequence[Region]`, *optional*): the regions, in the order of the question.
        processor (`VideoReferProcessor`, *optional*): needed if the model was not loaded from a folder or the Hub.
        image: an image to ask about instead of a video.
        max_new_tokens (`int`, *optional*, defaults to 256): the most tokens to answer with.
        generate_kwargs: passed on to `generate`; without any, decoding is greedy.

    Returns:
        `str`: the answer.

    Raises:
        PromptError: question and regions do not match, or both or neither of video and image are given.
        ConfigurationError: the processor is missing.
        RegionError: a region does not fit the video.
        VideoError: the video cannot be read.
        CheckpointError: the checkpoint cannot be loaded.
    """
    from videorefer_plugin.errors import PromptError

    if (video is None) == (image is None):
        raise PromptError(f"Pass either a video or an image; {'neither was' if video is None else 'both were'} given.")
    if not isinstance(question, str):
        raise PromptError(f"The question must be a string, but is a {type(question).__name__}.")
    if isinstance(model, (str, os.PathLike)):
        model, processor = load_model(model, processor=processor)
    elif processor is None:
        processor = _load_processor(model.name_or_path)
    visual = {"type": "video", "video": video} if image is None else {"type": "image", "image": image}
    conversation = [{"role": "user", "content": [visual, {"type": "text", "text": question}]}]
    given = [regions] if isinstance(regions, Region) else list(regions)
    return answer(model, processor, [conversation], [given], max_new_tokens=max_new_tokens, **generate_kwargs)[0]


def load_model(
    name: str | os.PathLike,
    *,
    object_encoder: str | os.PathLike | None = None,
    processor: Any = None,
    device: Any = None,
) -> tuple[Any, Any]:
    """Load a model that can be asked, and its processor.

    Args:
        name (`str` or `os.PathLike`): a checkpoint's folder or Hub id; with `object_encoder`, a host's.
        object_encoder (`str` or `os.PathLike`, *optional*): what was saved of an object encoder, for that host.
        processor (*optional*): the processor, if it is not to be loaded.
        device (*optional*): where to; spread over the GPUs by default, if there are any.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigurationError: there is no processor.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    from videorefer_plugin.errors import CheckpointError, VideoReferError

    name = os.fspath(name)
    if device is None and torch.cuda.is_available():
        device = "auto"
    try:
        model = AutoModelForImageTextToText.from_pretrained(name, device_map=device)
    except VideoReferError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"There is no checkpoint that can be loaded at {name!r}: {error}") from error
    processor = processor or _load_processor(name)
    if object_encoder is None:
        return model, processor

    from videorefer_plugin.hosts import RegionProcessor, load_object_encoder

    load_object_encoder(model, object_encoder, processor=processor)
    return model, RegionProcessor(processor, model)


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
        conversations: messages of each, as `apply_chat_template` takes them.
        regions (*optional*): the regions of each, for models that take some.
        max_new_tokens (`int`, *optional*, defaults to 256): the most tokens of an answer.
        processor_kwargs (`dict`, *optional*): settings of the processor.
        generate_kwargs: passed on to `generate`; without any, decoding is greedy.
    """
    given = {} if regions is None else {"regions": [list(some) for some in regions]}
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


def generate(model: Any, processor: Any, inputs: Any, *, max_new_tokens: int, **generate_kwargs: Any) -> list[str]:
    """Generate from what a processor prepared; the answers without their prompts."""
    inputs = inputs.to(model.device)
    generate_kwargs.setdefault("do_sample", False)
    output = model.eval().generate(**inputs, max_new_tokens=max_new_tokens, **generate_kwargs)
    texts = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _load_processor(name: str) -> Any:
    from transformers import AutoProcessor, ProcessorMixin

    from videorefer_plugin.errors import ConfigurationError

    try:
        processor = AutoProcessor.from_pretrained(name) if name else None
    except OSError:
        processor = None
    # Where the Auto class cannot load a processor, it may come back with a mere tokenizer.
    if not isinstance(processor, ProcessorMixin):
        where = (
            f"{name!r} has no processor that can be loaded" if name else "The model does not say where it came from"
        )
        raise ConfigurationError(f"{where}. Pass processor=, for instance VideoReferProcessor.from_pretrained(...).")
    return processor


@dataclass(frozen=True)
class Reply:
    """What came of a question on the command line.

    Attributes:
        model, video, question, answer (`str`): who was asked about what, and said what.
        regions (`list[str]`): as they were given, each with its kind in front.
        seconds (`float`): for loading the model and answering.
        note (`str`, *optional*): what to know about the answer.
    """

    model: str
    video: str
    question: str
    answer: str
    regions: list[str]
    seconds: float
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The reply as JSON has it."""
        return asdict(self)


def ask_about(
    model: str | None,
    visual: str | os.PathLike,
    question: str,
    regions: Sequence[tuple[str, str]],
    *,
    image: bool = False,
    object_encoder: str | None = None,
    max_new_tokens: int = 256,
    picture: str | os.PathLike | None = None,
) -> Reply:
    """Ask about a file, with regions as they are written on a command line.

    Args:
        model (`str`, *optional*): a checkpoint's folder or Hub id; the embedded model by default.
        visual (`str` or `os.PathLike`): path of the video or image.
        question (`str`): the question, with one `<region>` for each region.
        regions (`Sequence[tuple[str, str]]`): kind and text of each, as `regions.text.read_region` takes them.
        image (`bool`, *optional*, defaults to `False`): whether the file is an image.
        object_encoder (`str`, *optional*): with a host, what was saved of its object encoder.
        max_new_tokens (`int`, *optional*, defaults to 256): the most tokens to answer with.
        picture (`str` or `os.PathLike`, *optional*): where to write a picture of the regions and the answer.

    Raises:
        PromptError: question and regions do not match.
        RegionError: a region cannot be read, or does not fit the video.
        VideoError: the file cannot be read, or the picture's name has an unknown ending.
        CheckpointError: the model cannot be loaded.
    """
    import time

    from videorefer_plugin.embedded import tiny_checkpoint
    from videorefer_plugin.errors import PromptError, RegionError
    from videorefer_plugin.pictures import Line, check_picture, picture_answers
    from videorefer_plugin.regions.text import read_region
    from videorefer_plugin.video import load_image, open_video

    given = [read_region(kind, text) for kind, text in regions]
    if question.count("<region>") != len(given):
        raise PromptError(
            f"The question has {question.count('<region>')} <region>, but {len(given)} region(s) were given. Write "
            "one <region> for each --box, --point, --mask or --rle, in the same order."
        )
    path = os.fspath(visual)
    shown = open_video(load_image(path)[None] if image else path)
    for (kind, text), region in zip(regions, given, strict=True):  # before a model is loaded
        placed = region.at_frames(shown.frame_at)
        if placed.frames[-1] >= shown.num_frames:
            raise RegionError(
                f"--{kind} {text!r} lies on frame {placed.frames[-1]}, but {path} has {shown.num_frames} frame(s), "
                "numbered from 0."
            )
        if not any(mask.any() for _, mask in placed.masks(shown.height, shown.width)):
            raise RegionError(
                f"--{kind} {text!r} has no pixel inside the frame of {path}, {shown.height}x{shown.width} (height x "
                "width)."
            )
    if picture is not None:
        check_picture(picture)
    started = time.monotonic()
    name = model or tiny_checkpoint()
    loaded, processor = load_model(name, object_encoder=object_encoder)
    said = ask(
        loaded,
        None if image else path,
        question,
        given,
        image=path if image else None,
        processor=processor,
        max_new_tokens=max_new_tokens,
    )
    seconds = round(time.monotonic() - started, 2)
    if picture is not None:
        picture_answers(shown, given, [Line(question, said, tuple(range(len(given))))]).save(os.fspath(picture))
    note = None if model or _of_shapes_world(path) else _ONLY_SHAPES
    written = [f"{kind} {text}" for kind, text in regions]
    return Reply(model or "embedded", path, question, said, written, seconds, note)


_ONLY_SHAPES = (
    "The embedded model knows nothing but the shapes world (videorefer demo), so its answer about this video means "
    "nothing. Name a model that knows real videos with --model, a folder or a Hub id."
)


def _of_shapes_world(path: str) -> bool:
    """Whether a file was written by `world.encode_video`, which says so in the file."""
    import av

    from videorefer_plugin.world.dataset import COMMENT

    try:
        with av.open(path) as container:
            return container.metadata.get("comment") == COMMENT
    except (OSError, av.error.FFmpegError):
        return False
