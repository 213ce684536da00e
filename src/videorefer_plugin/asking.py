"""Ask one question about one video: the whole library in a call."""

import os
from collections.abc import Sequence
from typing import Any

from videorefer_plugin.regions import Region

__all__ = ["ask"]


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
    import torch
    from transformers import AutoModel

    from videorefer_plugin.errors import CheckpointError, PromptError, VideoReferError

    if (video is None) == (image is None):
        raise PromptError(f"Pass either a video or an image; {'neither was' if video is None else 'both were'} given.")
    if not isinstance(question, str):
        raise PromptError(f"The question must be a string, but is a {type(question).__name__}.")
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        try:
            model = AutoModel.from_pretrained(name, device_map="auto" if torch.cuda.is_available() else None)
        except VideoReferError:
            raise
        except (OSError, ValueError) as error:
            raise CheckpointError(f"There is no checkpoint that can be loaded at {name!r}: {error}") from error
        processor = processor or _load_processor(name)
    elif processor is None:
        processor = _load_processor(model.name_or_path)
    visual = {"type": "video", "video": video} if image is None else {"type": "image", "image": image}
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [visual, {"type": "text", "text": question}]}],
        regions=[regions] if isinstance(regions, Region) else list(regions),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    generate_kwargs.setdefault("do_sample", False)
    output = model.eval().generate(**inputs, max_new_tokens=max_new_tokens, **generate_kwargs)
    return processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


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
