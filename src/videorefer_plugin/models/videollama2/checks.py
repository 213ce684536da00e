"""Checks of VideoLLaMA2's inputs, before the vision tower runs."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.call_checks import check_ids
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.object_encoder.checks import not_finite, whole_numbers

__all__ = [
    "LEADING",
    "PIXELS",
    "check_pixels",
    "check_place_count",
    "check_places",
    "check_visuals",
    "clip_lengths",
    "count_frames",
]

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
"""For each kind of visual, the argument that holds its pixels."""

LEADING = {"image": ("num_images",), "video": ("num_videos", "num_frames")}
"""For each kind of visual, the dimensions of its pixels before color, height and width."""


def check_pixels(
    config: VideoLLaMA2Config, name: str, pixels: Any, leading: tuple[str, ...], values: bool = True
) -> None:
    """Check the shape and dtype of preprocessed frames and that every value is a finite number.

    Args:
        config ([`VideoLLaMA2Config`]): the model's configuration.
        name (`str`): of the argument, for messages.
        pixels (`torch.Tensor` of shape `(*leading, 3, image_size, image_size)`): the frames.
        leading (`tuple[str, ...]`): names of the first dimensions.
        values (`bool`, *optional*, defaults to `True`): whether to look for NaN and infinity, which reads every
            pixel.

    Raises:
        TensorError: no tensor, another shape, a dtype that is not floating point, NaN or infinity.
    """
    size = config.vision_config.image_size
    if not isinstance(pixels, Tensor) or not pixels.is_floating_point():
        what = f"dtype {pixels.dtype}" if isinstance(pixels, Tensor) else f"a {type(pixels).__name__}"
        raise TensorError(
            f"{name} must be a floating-point tensor of preprocessed frames, but is {what}. Let the processor make "
            "it, with return_tensors='pt'."
        )
    if pixels.ndim != len(leading) + 3 or tuple(pixels.shape[-3:]) != (3, size, size):
        raise TensorError(
            f"{name} must have shape ({', '.join(leading)}, 3, {size}, {size}), but has shape "
            f"{tuple(pixels.shape)}. Use the processor that belongs to this model."
        )
    what, bad = not_finite(pixels) if values else ("", [])
    if what:
        raise TensorError(
            f"{name} holds {what} at index {listed(bad)} of its first dimension; the processor makes none."
        )


def check_visuals(
    config: VideoLLaMA2Config,
    input_ids: Any,
    pixels: dict[str, Any],
    encoded: dict[str, Any] | None,
    video_lengths: Any = None,
) -> None:
    """Check that visuals are well-formed and fill their placeholders.

    Args:
        config ([`VideoLLaMA2Config`]): the model's configuration.
        input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
        pixels (`dict`): preprocessed frames under `"image"` and `"video"`, or `None`.
        encoded (`dict`, *optional*): what `get_image_features` and `get_video_features` returned.
        video_lengths (`torch.LongTensor` of shape `(num_videos,)`, *optional*): number of frames of each clip.

    Raises:
        PromptError: placeholders and visuals do not match, visuals come both as pixels and encoded, or there are
            visuals but no `input_ids`.
        TensorError: tensors have the wrong shape or dtype, hold NaN or infinity, or are not tensors.
    """
    if input_ids is not None:
        check_ids(input_ids)
    encoded = {} if encoded is None else encoded
    _check_encoded(config, encoded)
    for what, token_id in (("image", config.image_token_id), ("video", config.video_token_id)):
        tokens: list[int] = []
        if pixels[what] is not None:
            if encoded.get(what) is not None:
                raise PromptError(
                    f"You cannot pass both raw pixels ({PIXELS[what]}) and mm_encoder_outputs for {what}s. Leave one "
                    "out."
                )
            tokens = _count(config, what, pixels[what], video_lengths)
        elif encoded.get(what) is not None:
            tokens = [len(each) for each in encoded[what].pooler_output]
        if input_ids is not None:
            check_places(input_ids == token_id, tokens, what)
        elif tokens:
            raise PromptError(
                "Visual inputs need input_ids, since their positions cannot be found in inputs_embeds. "
                "Pass input_ids, or put the visual tokens into inputs_embeds yourself."
            )


def clip_lengths(pixels: Tensor, lengths: Tensor | None) -> list[int]:
    """Return the number of frames of each clip.

    Args:
        pixels (`torch.Tensor` of shape `(num_videos, num_frames, 3, image_size, image_size)`): the clips.
        lengths (`torch.LongTensor` of shape `(num_videos,)`, *optional*): as handed to the model.

    Raises:
        TensorError: the lengths have another shape or dtype, or do not fit the clips.
    """
    clips, longest = pixels.shape[:2]
    # A compiled or exported model is made for clips of one length.
    if lengths is None or torch.compiler.is_compiling():
        return [longest] * clips
    if not isinstance(lengths, Tensor):
        given = f"are a {type(lengths).__name__}"
    elif not whole_numbers(lengths) or lengths.shape != (clips,):
        given = f"have shape {tuple(lengths.shape)} and dtype {lengths.dtype}"
    else:
        given = ""
    if given:
        raise TensorError(
            f"video_lengths must hold one whole number for each of the {clips} video(s) in pixel_values_videos, but "
            f"{given}. Pass all outputs of the processor on."
        )
    found: list[int] = lengths.tolist()
    if any(not 1 <= length <= longest for length in found):
        raise TensorError(
            f"video_lengths are {listed(found)}, but pixel_values_videos have room for 1 to {longest} frame(s) a "
            "video. Pass all outputs of the processor on."
        )
    return found


def _count(config: VideoLLaMA2Config, what: str, pixels: Tensor, video_lengths: Any) -> list[int]:
    """How many tokens each of these visuals becomes."""
    check_pixels(config, PIXELS[what], pixels, LEADING[what])
    frames, tokens = count_frames(config, what, pixels, video_lengths)
    if 0 in tokens:
        raise TensorError(
            f"{PIXELS[what]} of shape {tuple(pixels.shape)} makes no token: the connector joins two frames into one, "
            f"but a clip has {frames[tokens.index(0)]}. Use at least 2 frames."
        )
    return tokens


def count_frames(
    config: VideoLLaMA2Config, what: str, pixels: Tensor, video_lengths: Tensor | None
) -> tuple[list[int], list[int]]:
    """Return how many frames each of these visuals has, and how many tokens it becomes.

    Args:
        config ([`VideoLLaMA2Config`]): the model's configuration.
        what (`str`): `"image"` or `"video"`.
        pixels (`torch.Tensor`): preprocessed frames of the visuals of that kind.
        video_lengths (`torch.LongTensor` of shape `(num_videos,)`, *optional*): number of frames of each clip.

    Raises:
        TensorError: the lengths have another shape or dtype, or do not fit the clips.
    """
    frames = clip_lengths(pixels, video_lengths) if what == "video" else [1] * len(pixels)
    shown = frames if what == "video" else [config.num_frames] * len(pixels)
    return frames, [count_visual_tokens(number, config.grid_size, config.projector_type) for number in shown]


def _check_encoded(config: VideoLLaMA2Config, encoded: Any) -> None:
    if not isinstance(encoded, dict):
        raise TensorError(f"mm_encoder_outputs must be a dict, but is a {type(encoded).__name__}.")
    for what, output in encoded.items():
        if what not in ("image", "video"):
            raise TensorError(f"mm_encoder_outputs holds {what!r}; known are 'image' and 'video'.")
        tokens = getattr(output, "pooler_output", None)
        width = config.text_config.hidden_size
        if output is not None and not _are_tokens(tokens, width):
            given = (
                f"has shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else f"is a {type(output).__name__}"
            )
            raise TensorError(
                f"mm_encoder_outputs must hold under {what!r} what get_{what}_features returns, with tokens of "
                f"shape (num_{what}s, num_tokens, {width}), but that {given}."
            )


def _are_tokens(tokens: Any, width: int) -> bool:
    """Whether these are the tokens of visuals: a tensor, or one for each visual."""
    if isinstance(tokens, (list, tuple)):
        return all(isinstance(each, Tensor) and each.ndim == 2 and each.shape[1] == width for each in tokens)
    return isinstance(tokens, Tensor) and tokens.ndim == 3 and tokens.shape[2] == width


def check_places(places: Tensor, tokens: list[int], what: str) -> None:
    """Compare the positions of a placeholder, `(batch, length)`, with the number of tokens of each visual.

    Raises:
        PromptError: there are more or fewer positions than tokens, or a visual would be spread over two samples.
    """
    if torch.compiler.is_compiling():
        return
    found = places.sum(dim=1).tolist()
    left = list(tokens)
    odd = None
    for sample, count in enumerate(found):
        while left and count > 0:
            count -= left.pop(0)
        if count and odd is None:
            odd = sample
    if odd is None and not left:
        return
    whole = odd is None or sum(found) == 0 or not tokens
    named = "" if whole else f"; sample {odd} has no whole number of {what}s"
    each = ", ".join(map(str, sorted(set(tokens)))) or "0"
    raise PromptError(
        f"input_ids hold {sum(found)} <{what}> position(s) (by sample: {found}{named}), but {len(tokens)} {what}(s) "
        f"of {each} token(s) each were handed over. Use the processor that belongs to this model, and pass all its "
        "outputs on."
    )


def check_place_count(places: Tensor, tokens: int, what: str) -> None:
    """Compare the number of positions of a placeholder, `(batch, length)`, with that of its visual tokens.

    Raises:
        PromptError: there are more or fewer positions than tokens.
    """
    if not torch.compiler.is_compiling() and (found := int(places.sum())) != tokens:
        raise PromptError(
            f"There are {found} <{what}> position(s), but {tokens} token(s) of {what}s. Pass all tokens that "
            f"get_{what}_features makes of the {what}s of the prompts."
        )
