"""LLaVA-OneVision: frame by frame on a square grid; the features are hidden states of a chosen layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Visual, first_rows, register_host
from videorefer_plugin.hosts.repeats import distinct_by, spread_output
from videorefer_plugin.hosts.rows import EncodedRows, TowerRow
from videorefer_plugin.hosts.stacked import StackedHost
from videorefer_plugin.models.distinct import distinct_frames, take
from videorefer_plugin.models.videorefer.feature_rows import token_counts

__all__ = ["LlavaOnevisionHost", "select_layer"]


def select_layer(config: Any, output: Any) -> Tensor:
    """Features at `config.vision_feature_layer`, without the class token if the host leaves it out."""
    layers = config.vision_feature_layer
    if isinstance(layers, int):
        features = output.hidden_states[layers]
    else:
        features = torch.cat([output.hidden_states[layer] for layer in layers], dim=-1)
    return features[:, 1:] if config.vision_feature_select_strategy == "default" else features


class LlavaOnevisionHost(StackedHost):
    """See [`Host`]. An image's regions lie on its first tile, which shows all of it."""

    model_type = "llava_onevision"
    processor_names = ("LlavaOnevisionProcessor",)
    places_images = True

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        return select_layer(config, output)

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. Images are cut into tiles if they are the only ones of their prompts."""
        left = iter(visuals["image"])
        by_prompt = [[next(left) for _ in range(prompt.count(processor.image_token))] for prompt in text]
        nested = {**visuals, "image": [images for images in by_prompt if images]}
        return super().call_processor(processor, text, nested, metadata, settings)

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        grids = super().locate(processor, outputs, visuals, patch_size)
        images = [place for place, visual in enumerate(visuals) if visual.kind == "image"]
        if not images:
            return grids
        height, width = outputs["pixel_values"].shape[-2:]
        tiles = _tiles(outputs, processor.image_processor.image_grid_pinpoints, height)
        rows = [visual.num_frames for visual in visuals]
        for place, count in zip(images, tiles, strict=True):
            rows[place] = count
        first = first_rows(visuals, rows)
        for place in images:
            grids[place] = VisualGrid(first[place] or 0, (height // patch_size, width // patch_size))
        return grids

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`Host.visual_rows`]. The rows of an image are its tiles."""
        lengths = output.get("clip_lengths")
        if lengths is not None:
            each = (len(output.pooler_output) - len(lengths)) // int(lengths.sum())
            return lengths, lengths * each + 1
        if kind == "video":
            return super().visual_rows(model, kind, output, inputs)
        config = model.config
        tiles = _tiles(inputs, config.image_grid_pinpoints, config.vision_config.image_size)
        return torch.tensor(tiles), token_counts(output.pooler_output)

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """See [`Host.encode_distinct`]. Frames are encoded one by one, images with all their tiles."""
        plain = super().encode_distinct
        if kind == "image":
            return _encode_images(plain, encode, pixels, arguments)
        ragged = not isinstance(pixels, Tensor)
        frames = torch.cat(list(pixels)) if ragged else pixels.flatten(0, 1)
        first, place = distinct_frames(frames)
        if len(first) == len(frames) and not ragged:
            return plain(encode, kind, pixels, arguments)
        lengths = [len(clip) for clip in pixels]
        output = plain(encode, kind, take(frames, first).unsqueeze(0), arguments)
        tokens, newline = output.pooler_output[0, :-1].unflatten(0, (len(first), -1)), output.pooler_output[0, -1:]
        output = spread_output(output, place, len(first))
        clips = [torch.cat([clip.flatten(0, 1), newline]) for clip in tokens[place].split(lengths)]
        if not ragged:
            output.pooler_output = torch.stack(clips)
            return output
        # Token by token: the host, and beam search, take the tokens of all clips in one tensor.
        output.pooler_output = torch.cat(clips).unsqueeze(1)
        return _RaggedOutput(**output, clip_lengths=torch.tensor(lengths))

    def cut_rows(self, model: Any, kind: str, inputs: dict[str, Any]) -> list[TowerRow] | None:
        """See [`RowHost.cut_rows`]. The tokens of an image depend on the layout of its tiles."""
        return super().cut_rows(model, kind, inputs) if kind == "video" else None

    def without_ends(self, kind: str, tokens: Tensor) -> Tensor:
        """See [`FrameHost.without_ends`]."""
        return tokens[:-1]

    def join_rows(self, model: Any, kind: str, parts: Sequence[dict[str, Tensor]]) -> Any:
        """See [`RowHost.join_rows`]."""
        tokens = torch.cat([each["tokens"] for each in parts])
        return EncodedRows(pooler_output=torch.cat([tokens, model.base_model.image_newline[None].to(tokens)])[None])

    def count_tokens(self, model: Any, kind: str, rows: int, size: tuple[int, int]) -> int:
        """See [`StackedHost.count_tokens`]. A clip ends with one extra token."""
        vision = model.config.vision_config
        side = -(-(vision.image_size // vision.patch_size) // 2)
        return rows * side * side + 1


@dataclass
class _RaggedOutput(BaseModelOutputWithPooling):
    """Clips of different lengths, encoded: `pooler_output` has shape `(num_tokens, 1, hidden_size)`."""

    clip_lengths: Tensor | None = None


def _encode_images(
    plain: Callable[..., Any], encode: Callable[..., Any], pixels: Tensor, given: dict[str, Any]
) -> Any:
    sizes, per_prompt = given["image_sizes"], given.get("batch_num_images")
    # Images that share a prompt are not cut into tiles; only the number of images of each prompt tells.
    alone = pixels.ndim == 5 and (per_prompt is None or all(int(number) == 1 for number in per_prompt))
    first, place = distinct_by(pixels, sizes) if alone else (list(range(len(pixels))), [])
    if len(first) == len(pixels):
        return plain(encode, "image", pixels, given)
    arguments = {**given, "image_sizes": sizes[first]}
    if per_prompt is not None:
        arguments["batch_num_images"] = per_prompt[: len(first)]
    output = plain(encode, "image", pixels[first], arguments)
    images = output.pooler_output
    config = encode.__self__.config  # type: ignore[attr-defined]
    tiles = _tiles(arguments, config.image_grid_pinpoints, config.vision_config.image_size)
    rows = torch.arange(sum(tiles)).split(tiles)
    output = spread_output(output, torch.cat([rows[image] for image in place]).tolist(), sum(tiles))
    output.pooler_output = [images[image] for image in place]
    return output


def _tiles(given: dict[str, Any], pinpoints: Any, side: int) -> list[int]:
    """The number of tiles of each image: those that share a prompt are not cut, but shown unchanged."""
    from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

    sizes, per_prompt = given["image_sizes"], given.get("batch_num_images")
    alone = [True] * len(sizes)
    if per_prompt is not None:
        alone = [int(number) == 1 for number in per_prompt for _ in range(int(number))]
    return [
        image_size_to_num_patches(size, pinpoints, side) if cut else 1 for size, cut in zip(sizes, alone, strict=True)
    ]


register_host(LlavaOnevisionHost())
