"""Checks of what is handed to VideoLLaMA2, before the vision tower runs."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.object_encoder.checks import not_finite

__all__ = ["LEADING", "PIXELS", "check_pixels", "check_places", "check_visuals"]

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
) -> None:
    """Check that visuals are well-formed and fill their placeholders.

    Args:
        config ([`VideoLLaMA2Config`]): the model's configuration.
        input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
        pixels (`dict`): preprocessed frames under `"image"` and `"video"`, or `None`.
        encoded (`dict`, *optional*): what `get_image_features` and `get_video_features` returned.

    Raises:
        PromptError: placeholders and visuals do not match, visuals come both as pixels and encoded, or there are
            visuals but no `input_ids`.
        TensorError: tensors have the wrong shape or dtype, hold NaN or infinity, or are no tensors.
    """
    if input_ids is not None and (not isinstance(input_ids, Tensor) or input_ids.ndim != 2):
        raise TensorError(
            "input_ids must be a tensor of shape (batch, length), but have "
            f"{f'shape {tuple(input_ids.shape)}' if isinstance(input_ids, Tensor) else type(input_ids).__name__}. "
            "Call the processor with return_tensors='pt'."
        )
    encoded = {} if encoded is None else encoded
    _check_encoded(config, encoded)
    for what, token_id in (("image", config.image_token_id), ("video", config.video_token_id)):
        visuals = each = 0
        if pixels[what] is not None:
            if encoded.get(what) is not None:
                raise PromptError(
                    f"You cannot pass both raw pixels ({PIXELS[what]}) and mm_encoder_outputs for {what}s. Leave one "
                    "out."
                )
            visuals, each = _count(config, what, pixels[what])
        elif encoded.get(what) is not None:
            visuals, each = encoded[what].pooler_output.shape[:2]
        if input_ids is not None:
            check_places(input_ids == token_id, visuals, each, what)
        elif visuals:
            raise PromptError(
                "Visual inputs need input_ids, since their places cannot be found in inputs_embeds. "
                "Pass input_ids, or put the visual tokens into inputs_embeds yourself."
            )


def _count(config: VideoLLaMA2Config, what: str, pixels: Tensor) -> tuple[int, int]:
    """How many visuals these are, and how many tokens each becomes."""
    check_pixels(config, PIXELS[what], pixels, LEADING[what])
    frames = pixels.shape[1] if what == "video" else config.num_frames
    each = count_visual_tokens(frames, config.grid_size, config.projector_type)
    if each == 0:
        raise TensorError(
            f"{PIXELS[what]} of shape {tuple(pixels.shape)} makes no token: the connector joins two frames into one, "
            f"but a clip has {frames}. Use at least 2 frames."
        )
    return len(pixels), each


def _check_encoded(config: VideoLLaMA2Config, encoded: Any) -> None:
    if not isinstance(encoded, dict):
        raise TensorError(f"mm_encoder_outputs must be a dict, but is a {type(encoded).__name__}.")
    for what, output in encoded.items():
        if what not in ("image", "video"):
            raise TensorError(f"mm_encoder_outputs holds {what!r}; known are 'image' and 'video'.")
        tokens = getattr(output, "pooler_output", None)
        width = config.text_config.hidden_size
        if output is not None and (tokens is None or tokens.ndim != 3 or tokens.shape[2] != width):
            given = f"is a {type(output).__name__}" if tokens is None else f"has shape {tuple(tokens.shape)}"
            raise TensorError(
                f"mm_encoder_outputs must hold under {what!r} what get_{what}_features returns, with tokens of "
                f"shape (num_{what}s, num_tokens, {width}), but that {given}."
            )


def check_places(places: Tensor, visuals: int, each: int, what: str) -> None:
    """Compare the positions of a placeholder, `(batch, length)`, with `visuals` visuals of `each` tokens.

    Raises:
        PromptError: there are more or fewer positions than tokens.
    """
    if torch.compiler.is_compiling():
        return
    found = places.sum(dim=1).tolist()
    odd = next((sample for sample, count in enumerate(found) if count % max(each, 1)), None)
    if odd is None and sum(found) == visuals * each:
        return
    named = "" if odd is None else f"; sample {odd} has no whole number of {what}s"
    raise PromptError(
        f"input_ids hold {sum(found)} <{what}> position(s) (by sample: {found}{named}), but {visuals} {what}(s) of "
        f"{each} token(s) each were handed over. Use the processor that belongs to this model, and pass all its "
        "outputs on."
    )
