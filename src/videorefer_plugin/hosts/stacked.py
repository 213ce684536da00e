"""Hosts that take the videos of a batch in one tensor, where shorter ones are padded with frames of zeros."""

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin.errors import TensorError
from videorefer_plugin.hosts.rows import FrameHost
from videorefer_plugin.models.videorefer.feature_rows import rows_by_sample, token_counts
from videorefer_plugin.models.videorefer.regions import RegionMixin

__all__ = ["StackedHost", "UnpaddedVisualsMixin"]

# Whether beams repeat the visuals of a sample as a whole.
_repeats_samples: ContextVar[bool] = ContextVar("repeats_samples", default=False)

_NO_TENSORS = ["video_metadata", "text_replacement_offsets"]


class StackedHost(FrameHost):
    """See [`Host`]. The host does not support padding, so it is removed before the host sees the pixels.

    Attributes:
        stacked (`tuple[str, ...]`): kinds of visuals whose pixels have shape `(num_visuals, num_rows, 3, side, side)`.
    """

    stacked: tuple[str, ...] = ("video",)
    equal_frames = False

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. The processor stacks visuals of equally many rows only."""
        lengths = {len(video) for video in visuals["video"]}
        if len(lengths) < 2 and not ("image" in self.stacked and len(visuals["image"]) > 1):
            return super().call_processor(processor, text, visuals, metadata, settings)
        given = super().call_processor(processor, text, visuals, metadata, {**settings, "return_tensors": None})
        outputs = dict(given)
        for kind in self.stacked:
            name = self.encoders[kind][0]
            if name in outputs:
                rows = [torch.as_tensor(pixels) for pixels in outputs[name]]
                outputs[name] = pad_sequence(rows, batch_first=True)
        return BatchFeature(outputs, tensor_type="pt", skip_tensor_conversion=_NO_TENSORS)

    def count_tokens(self, model: Any, kind: str, rows: int, size: tuple[int, int]) -> int:
        """Return how many positions of the prompt a visual fills.

        Args:
            model (`PreTrainedModel`): the host.
            kind (`str`): `"video"` or `"image"`.
            rows (`int`): its number of frames or tiles.
            size (`tuple[int, int]`): their height and width, in pixels.
        """
        raise NotImplementedError

    def unpadded(self, clips: list[Tensor]) -> Any:
        """Join the pixels of visuals of different lengths, as `encode_distinct` takes them."""
        return clips

    def check_pixels(self, kind: str, pixels: Any, inputs: dict[str, Any]) -> None:
        """See [`Host.check_pixels`]."""
        super().check_pixels(kind, pixels, inputs)
        if kind in self.stacked and isinstance(pixels, Tensor) and (pixels.ndim != 5 or pixels.shape[2] != 3):
            raise TensorError(
                f"{self.encoders[kind][0]} must have shape (num_{kind}s, num_rows, 3, height, width), but has shape "
                f"{tuple(pixels.shape)}. Use the processor that belongs to this model."
            )

    def take_padding_out(self, model: Any, input_ids: Any, inputs: dict[str, Any]) -> bool:
        """Remove padding, rows of zeros at the ends of visuals, from the pixels among `inputs`.

        Such rows are padding if the prompts have positions for the other rows alone. While a model is compiled,
        nothing is removed.

        Args:
            model (`PreTrainedModel`): the host.
            input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
            inputs (`dict`): the other keyword arguments of `forward`, changed in place.

        Returns:
            `bool`: whether rows were removed.
        """
        if torch.compiler.is_compiling() or not isinstance(input_ids, Tensor):
            return False
        before = dict(inputs)
        for kind in self.stacked:
            name = self.encoders[kind][0]
            pixels = inputs.get(name)
            if not isinstance(pixels, Tensor) or pixels.ndim != 5:
                continue
            if bool(pixels[:, -1].flatten(1).any(dim=1).all()):
                continue  # all are as long as the longest
            places = torch.arange(1, pixels.shape[1] + 1, device=pixels.device)
            lengths = (pixels.flatten(2).any(dim=2) * places).amax(dim=1).tolist()
            positions = int((input_ids == self.placeholder_id(model.config, kind)).sum())
            size = (pixels.shape[3], pixels.shape[4])
            if positions == sum(self.count_tokens(model, kind, rows, size) for rows in lengths):
                clips = [clip[:rows] for clip, rows in zip(pixels, lengths, strict=True)]
                inputs[name] = self.unpadded(clips)
        return any(inputs[name] is not before[name] for name in inputs)


class UnpaddedVisualsMixin(RegionMixin):
    """Let an attached model take batches whose visuals are padded to the longest; see [`StackedHost`]."""

    region_host: Any

    def place_regions(self, inputs: dict[str, Any]) -> None:
        """See [`RegionMixin.place_regions`]."""
        self._take_padding_out(inputs.get("input_ids"), inputs)
        super().place_regions(inputs)

    def generate(self, inputs: Any = None, **kwargs: Any) -> Any:
        """See [`RegionMixin.generate`]."""
        with torch.no_grad():
            self._take_padding_out(inputs if inputs is not None else kwargs.get("input_ids"), kwargs)
        ours = ("region_lengths", "object_tokens", "mm_encoder_outputs")
        token = _repeats_samples.set(any(kwargs.get(name) is not None for name in ours))
        try:
            return super().generate(inputs, **kwargs)
        finally:
            _repeats_samples.reset(token)

    def _expand_multimodal_outputs(
        self, input_ids: Any, mm_encoder_output: Any, expand_size: int = 1, inputs_embeds: Any = None
    ) -> Any:
        # Older transformers repeats each frame of a sample separately, which changes their order. But a model whose
        # object encoder is not used must answer as the bare host.
        if not _repeats_samples.get():
            return super()._expand_multimodal_outputs(
                input_ids, mm_encoder_output, expand_size=expand_size, inputs_embeds=inputs_embeds
            )
        left = {}
        for kind, output in mm_encoder_output.items():
            tokens = None if output is None else output.pooler_output
            if not isinstance(tokens, Tensor) or input_ids is None or not input_ids.numel():
                left[kind] = output
                continue
            positions = (input_ids == self.placeholder_id(kind)).sum(dim=1)
            counts = token_counts(tokens)
            first, number = rows_by_sample(positions, counts, torch.ones_like(counts))
            own = [
                torch.arange(start, start + count)
                for start, count in zip(first.tolist(), number.tolist(), strict=True)
            ]
            output.pooler_output = tokens[
                torch.cat([part for part in own for _ in range(expand_size)]).to(tokens.device)
            ]
        super()._expand_multimodal_outputs(input_ids, left, expand_size=expand_size, inputs_embeds=inputs_embeds)
        return mm_encoder_output

    def _take_padding_out(self, input_ids: Any, kwargs: dict[str, Any]) -> None:
        host: Any = self.region_host
        if not isinstance(host, StackedHost) or not host.take_padding_out(self, input_ids, kwargs):
            return
        if kwargs.get("region_lengths") is None:  # otherwise they are encoded after the regions were checked
            encoded = kwargs.get("mm_encoder_outputs")
            self.check_visuals(input_ids, kwargs, None, encoded)
            kwargs["mm_encoder_outputs"] = self.encode_visuals(kwargs, encoded)
