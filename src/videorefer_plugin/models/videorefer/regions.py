"""`RegionMixin`: regions for any host with a vision tower and a decoder."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.videorefer.region_inputs import (
    FlatRegions,
    RegionInputs,
    check_placeholders,
    rows_by_sample,
)
from videorefer_plugin.object_encoder import ObjectEncoder, ObjectEncoderConfig, ObjectEncoderOutput

__all__ = ["RegionInputs", "RegionMixin"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object

# Name under which object tokens travel from `forward` through the host to the hook on its decoder.
_SCATTER = "object_token_scatter"


class RegionMixin(_Host):
    """Give a host's `...ForConditionalGeneration` regions, when mixed in front of it.

    The mixin owns `object_encoder`, turns regions into object tokens before the host runs, and lets a hook on the
    host's decoder put them in the places of `<region>`, after the host has put its own visual tokens into theirs.
    Nothing is kept on the model between calls.

    A host implements [`RegionMixin.get_vision_tower`], [`RegionMixin.get_region_features`] and
    [`RegionMixin.encode_visuals`].
    """

    object_encoder: ObjectEncoder

    # Whether mask-carrying frames come as pixels of their own; see `RegionInputs.collect`.
    _regions_with_pixels = True

    def add_object_encoder(self, config: ObjectEncoderConfig) -> RemovableHandle:
        """Create the object encoder and hook the decoder. Called once, when the model is built.

        Returns:
            The handle that takes the hook away again.
        """
        self.object_encoder = ObjectEncoder(config)
        return self.get_decoder().register_forward_pre_hook(scatter_object_tokens, with_kwargs=True)

    @property
    def region_token_id(self) -> int:
        """Id that stands for object tokens in `input_ids`."""
        return self.config.region_token_id

    # ------------------------------------------------------------------ what a host provides

    def get_vision_tower(self) -> torch.nn.Module:
        """The vision tower, which training tells from what connects it with the language model."""
        raise NotImplementedError

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Run the vision tower over the visual inputs, once, and take their pixel values out of `inputs`.

        Args:
            inputs (`dict`): keyword arguments of `forward`; those that are used up are removed.
            mm_encoder_outputs (`dict`, *optional*): outputs computed before, which are kept.
        """
        raise NotImplementedError

    def check_visuals(
        self,
        input_ids: Tensor | None,
        inputs: dict[str, Any],
        regions: RegionInputs | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
    ) -> None:
        """Check before the vision tower runs that visuals and regions fit the host; by default, nothing is checked.

        The arguments are those of `encode_visuals`, the ids, and the regions.
        """

    def has_pixels(self, inputs: dict[str, Any]) -> bool:
        """Whether keyword arguments of `forward` hold visuals that are still to be encoded."""
        return any(inputs.get(name) is not None for name in ("pixel_values", "pixel_values_videos"))

    def visual_rows(
        self, kind: str, output: BaseModelOutputWithPooling, inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """How many rows of features each visual has, and how many positions of the prompt it fills.

        By default every visual has equally many rows.

        Args:
            kind (`str`): `"video"` or `"image"`.
            output (`BaseModelOutputWithPooling`): what `encode_visuals` returned for that kind.
            inputs (`dict`): the other keyword arguments of `forward`.

        Returns:
            `tuple[torch.LongTensor, torch.LongTensor]`: both of shape `(num_visuals,)`, in prompt order.
        """
        tokens = token_counts(output.pooler_output)
        rows = torch.full_like(tokens, len(output.last_hidden_state) // max(len(tokens), 1))
        return rows, tokens

    def get_region_features(
        self,
        input_ids: Tensor,
        regions: RegionInputs,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any],
    ) -> tuple[Tensor, FlatRegions]:
        """Features of the frames that masks lie on.

        Args:
            input_ids, regions, encoded, inputs: see [`RegionMixin.get_object_tokens`]; `regions` have a row for
                each sample.

        Returns:
            `tuple[torch.Tensor, FlatRegions]`: features of shape `(num_frames, grid_height, grid_width, D)`, and the
            regions with rows of these features as `frames`.
        """
        raise NotImplementedError

    def place_rows(
        self,
        input_ids: Tensor,
        flat: FlatRegions,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any],
    ) -> tuple[Tensor, int]:
        """Find the rows that masks lie on among the features of the whole batch: all videos', then all images'.

        Returns:
            `tuple[torch.LongTensor, int]`: for each mask its row, which means nothing where it lies on a frame of
            `region_pixel_values`; and how many rows there are.

        Raises:
            TensorError: a mask lies beyond the frames of its sample.
        """
        place = flat.frames - 1
        row, known, shown = torch.zeros_like(place), 0, torch.zeros_like(place)
        for kind in ("video", "image"):
            output = encoded.get(kind)
            if output is None or output.last_hidden_state is None:
                continue
            rows, tokens = self.visual_rows(kind, output, inputs)
            positions = (input_ids == self.placeholder_id(kind)).sum(dim=1)
            first, count = (each.to(place.device)[flat.samples] for each in rows_by_sample(positions, tokens, rows))
            inside = (place >= shown) & (place < shown + count)
            row = torch.where(inside, known + first + place - shown, row)
            shown = shown + count
            known += int(rows.sum())
        if not torch.compiler.is_compiling() and bool((place >= shown).any()):
            mask = int((place >= shown).nonzero()[0])
            raise TensorError(
                f"region_frames name frame {int(flat.frames[mask])} of sample {int(flat.samples[mask])}, but the "
                f"visuals of that sample have {int(shown[mask])} row(s) of features. Pass all outputs of one call of "
                "the processor on."
            )
        return row, known

    def placeholder_id(self, kind: str) -> int:
        """Id that stands for the tokens of a video or image."""
        return getattr(self.config, f"{kind}_token_id")

    # ------------------------------------------------------------------ regions -> object tokens

    def get_object_tokens(
        self,
        input_ids: Tensor,
        regions: RegionInputs,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Turn the regions of a batch into object tokens, padded to the sample with the most of them.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with `<region>` placeholders.
            regions ([`RegionInputs`]): the regions.
            encoded (`dict`): outputs of the vision tower for the batch's images and videos.
            inputs (`dict`, *optional*): the other keyword arguments, which a host may need to lay `encoded` out.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: tokens of shape `(batch, max_tokens, hidden_size)`, and the
            number of tokens of each sample, of shape `(batch,)`.

        Raises:
            TensorError: shapes do not fit together.
        """
        regions = regions.for_samples((input_ids == self.region_token_id).sum(dim=1))
        return self.encode_regions(input_ids, *self.get_region_features(input_ids, regions, encoded, inputs or {}))

    def encode_regions(self, input_ids: Tensor, features: Tensor, regions: FlatRegions) -> tuple[Tensor, Tensor]:
        """Run the object encoder; `regions.frames` are rows of `features`. See [`RegionMixin.get_object_tokens`]."""
        return self.tokens_by_sample(input_ids, self._run_object_encoder(features, regions).tokens)

    def _run_object_encoder(self, features: Tensor, regions: FlatRegions) -> ObjectEncoderOutput:
        device = self.object_encoder.device
        return self.object_encoder(
            *(value.to(device) for value in (features, regions.masks, regions.frames, regions.lengths)),
            values=False,  # pixels and masks were searched before the tower ran
        )

    @torch.no_grad()
    def get_region_tokens(self, input_ids: Tensor, **inputs: Any) -> list[list[Tensor]]:
        """Object tokens of single regions, for whoever puts them in their places elsewhere.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with `<region>` placeholders.
            inputs: the other outputs of the processor.

        Returns:
            `list[list[torch.Tensor]]`: for each sample, tokens of shape `(num_tokens, hidden_size)` of each region.

        Raises:
            TensorError: region tensors are incomplete or do not fit.
            PromptError: the numbers of `<region>` positions and regions differ.
        """
        regions = RegionInputs.collect(inputs, self._regions_with_pixels)
        self.check_regions(input_ids, regions)
        if regions is None:
            return [[] for _ in input_ids]
        encoded = inputs.pop("mm_encoder_outputs", None)
        self.check_visuals(input_ids, inputs, regions, encoded)
        encoded = self.encode_visuals(inputs, encoded)
        regions = regions.for_samples((input_ids == self.region_token_id).sum(dim=1))
        output = self._run_object_encoder(*self.get_region_features(input_ids, regions, encoded, inputs))
        tokens = iter(output.split())
        width = regions.lengths.shape[1]
        by_sample = [[next(tokens) for _ in range(width)] for _ in input_ids]
        return [[each for each in own if len(each)] for own in by_sample]

    def tokens_by_sample(self, input_ids: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Lay the object tokens of a batch out by sample, as `forward` takes them.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with a `<region>` for every object token.
            tokens (`torch.Tensor` of shape `(num_tokens, hidden_size)`): object tokens, in prompt order.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: see [`RegionMixin.get_object_tokens`].
        """
        counts = (input_ids == self.region_token_id).sum(dim=1)
        places = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]
        padded = tokens.new_zeros((*places.shape, tokens.shape[-1]))
        return padded.masked_scatter(places.to(tokens.device).unsqueeze(-1), tokens), counts

    def check_regions(self, input_ids: Tensor | None, regions: RegionInputs | None) -> None:
        """Check before anything is computed that every `<region>` has its region.

        Raises:
            PromptError: the numbers of `<region>` positions and object tokens differ; the first sample is named.
        """
        if input_ids is None:
            if regions is not None:
                raise PromptError(
                    "Regions need input_ids, since <region> cannot be found in inputs_embeds. Pass input_ids."
                )
        elif not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
            raise TensorError(
                "input_ids must be a tensor of shape (batch, length), but have "
                f"{f'shape {tuple(input_ids.shape)}' if isinstance(input_ids, Tensor) else type(input_ids).__name__}. "
                "Call the processor with return_tensors='pt'."
            )
        elif not torch.compiler.is_compiling():
            lengths = [] if regions is None else regions.lengths.tolist()
            tokens = [[self.object_encoder.config.num_tokens(length) for length in own] for own in lengths]
            check_placeholders((input_ids == self.region_token_id).sum(dim=1).tolist(), tokens)

    def check_object_tokens(
        self, input_ids: Tensor | None, tokens: Tensor, counts: Tensor | None, regions: RegionInputs | None
    ) -> None:
        """Check object tokens that were computed before.

        Raises:
            PromptError: they have no `<region>` positions or counts, or there are region tensors as well.
            TensorError: their shapes do not fit.
        """
        if regions is not None:
            raise PromptError("Regions come both as region_... tensors and as object_tokens. Leave one out.")
        if input_ids is None or counts is None:
            raise PromptError(
                "object_tokens need input_ids and object_token_counts, the number of object tokens of each sample; "
                f"{'input_ids are' if input_ids is None else 'object_token_counts is'} missing."
            )
        for name, value in (("object_tokens", tokens), ("object_token_counts", counts)):
            if not isinstance(value, Tensor):
                raise TensorError(f"{name} must be a tensor, but is a {type(value).__name__}.")
        batch, width = input_ids.shape[0], self.object_encoder.config.hidden_size
        if tokens.ndim != 3 or (tokens.shape[0], tokens.shape[2]) != (batch, width):
            raise TensorError(
                f"object_tokens must have shape ({batch}, max_tokens, {width}), but has shape {tuple(tokens.shape)}."
            )
        if counts.shape != (batch,) or counts.is_floating_point() or counts.dtype == torch.bool:
            raise TensorError(
                f"object_token_counts must hold one integer for each of the {batch} sample(s), but has shape "
                f"{tuple(counts.shape)} and dtype {counts.dtype}."
            )
        if torch.compiler.is_compiling():
            return
        positions = (input_ids == self.region_token_id).sum(dim=1).tolist()
        for sample, (count, found) in enumerate(zip(counts.tolist(), positions, strict=True)):
            # There may be more positions: a model may write the same id into its answer.
            if not 0 <= count <= min(found, tokens.shape[1]):
                raise PromptError(
                    f"Sample {sample} of the batch has {count} object token(s) by object_token_counts, but "
                    f"{found} <region> position(s), and object_tokens hold at most {tokens.shape[1]}. Every token "
                    "needs its position."
                )

    # ------------------------------------------------------------------ forward and generate

    def forward(
        self,
        input_ids: Tensor | None = None,
        object_tokens: Tensor | None = None,
        object_token_counts: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the host with object tokens in the places of `<region>`.

        Takes the tensors of [`RegionInputs`] under the names `region_masks`, `region_frames`, `region_lengths` and
        `region_pixel_values`, or object tokens computed before.
        """
        regions = RegionInputs.collect(kwargs, self._regions_with_pixels)
        if object_tokens is not None:
            decoding = isinstance(object_tokens, Tensor) and object_tokens.shape[1] == 0
            if regions is not None or not decoding:
                self.check_object_tokens(input_ids, object_tokens, object_token_counts, regions)
        else:
            self.check_regions(input_ids, regions)
            if regions is not None and input_ids is not None:
                self.check_visuals(input_ids, kwargs, regions, mm_encoder_outputs)
                mm_encoder_outputs = self.encode_visuals(kwargs, mm_encoder_outputs)
                object_tokens, object_token_counts = self.get_object_tokens(
                    input_ids, regions, mm_encoder_outputs, kwargs
                )
            elif self.training and input_ids is not None:
                object_tokens, object_token_counts = self._no_object_tokens(input_ids)
        if (
            object_tokens is not None
            and (self.training or object_tokens.shape[1])
            and input_ids is not None
            and object_token_counts is not None
        ):
            places = self._region_places(input_ids, object_token_counts)
            if regions is None and self.has_pixels(kwargs):
                self.check_visuals(input_ids, kwargs, None, mm_encoder_outputs)
            # Encoded here, because some hosts pass every argument on to their vision tower, and that one is not its.
            mm_encoder_outputs = self.encode_visuals(kwargs, mm_encoder_outputs) or None
            kwargs[_SCATTER] = (places, object_tokens)
            if labels is not None:
                labels = labels.masked_fill(places.to(labels.device), -100)
            input_ids = self.hide_region_ids(input_ids, places)
        return super().forward(input_ids=input_ids, mm_encoder_outputs=mm_encoder_outputs, labels=labels, **kwargs)

    def hide_region_ids(self, input_ids: Tensor, places: Tensor) -> Tensor:
        """Replace `<region>` ids by one that every embedding table has, since the id may lie beyond it."""
        return input_ids.masked_fill(places.to(input_ids.device), 0)

    def _no_object_tokens(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        # A training batch without regions still runs the projector over nothing, so that every process of a
        # distributed run has (zero) gradients for the same parameters.
        encoder = self.object_encoder
        width = encoder.config.vision_hidden_size
        empty = encoder.projector(torch.zeros((0, width), dtype=encoder.dtype, device=encoder.device))
        counts = torch.zeros(len(input_ids), dtype=torch.long, device=input_ids.device)
        return empty.unsqueeze(0).expand(len(input_ids), -1, -1), counts

    def _region_places(self, input_ids: Tensor, counts: Tensor) -> Tensor:
        """Positions of the prompt's `<region>`s; a model may write the same id into its answer, which is text."""
        places = input_ids == self.region_token_id
        return places & (places.cumsum(dim=1) <= counts.to(places.device)[:, None])

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as every transformers model does; also takes the region tensors of [`RegionMixin.forward`].

        `<region>` is never generated, unless `suppress_tokens` is given (`suppress_tokens=[]` lifts the ban).

        Raises:
            TensorError: region tensors are incomplete or do not fit.
            PromptError: the numbers of `<region>` positions and regions differ.
        """
        regions = RegionInputs.collect(kwargs, self._regions_with_pixels)
        input_ids = inputs if inputs is not None else kwargs.get("input_ids")
        object_tokens = kwargs.get("object_tokens")
        if object_tokens is not None:
            self.check_object_tokens(input_ids, object_tokens, kwargs.get("object_token_counts"), regions)
        else:
            self.check_regions(input_ids, regions)
            if regions is not None and input_ids is not None:
                encoded = kwargs.pop("mm_encoder_outputs", None)
                self.check_visuals(input_ids, kwargs, regions, encoded)
                with torch.no_grad():
                    encoded = self.encode_visuals(kwargs, encoded)
                    tokens, counts = self.get_object_tokens(input_ids, regions, encoded, kwargs)
                kwargs.update(mm_encoder_outputs=encoded, object_tokens=tokens, object_token_counts=counts)
        generation_config = kwargs.get("generation_config") or self.generation_config
        unset = "suppress_tokens" not in kwargs and generation_config.suppress_tokens is None
        if unset and self._bans_region_token(kwargs):
            kwargs["suppress_tokens"] = [self.region_token_id]
        return super().generate(inputs, **kwargs)

    def _bans_region_token(self, inputs: dict[str, Any]) -> bool:
        return True

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        object_tokens: Tensor | None = None,
        object_token_counts: Tensor | None = None,
        is_first_iteration: bool | None = False,
        use_cache: bool | None = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Leave object tokens out once they are in the cache."""
        model_inputs = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, use_cache=use_cache, **kwargs
        )
        if is_first_iteration or not use_cache:
            model_inputs["object_tokens"] = object_tokens
            model_inputs["object_token_counts"] = object_token_counts
        else:
            # Generated ids are text: no check of placeholders, no object tokens.
            batch, device = input_ids.shape[0], input_ids.device
            model_inputs["object_tokens"] = torch.zeros((batch, 0, 1), device=device)
            model_inputs["object_token_counts"] = torch.zeros(batch, dtype=torch.long, device=device)
        return model_inputs


def token_counts(tokens: Any) -> Tensor:
    """Number of tokens of each visual, from what a host calls `pooler_output`: a tensor, or one for each visual."""
    if isinstance(tokens, Tensor):
        return torch.full((len(tokens),), tokens.shape[1], dtype=torch.long, device=tokens.device)
    return torch.tensor([len(each) for each in tokens], dtype=torch.long)


def scatter_object_tokens(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Forward pre-hook of a decoder: write object tokens over the embeddings of `<region>`."""
    scatter = kwargs.pop(_SCATTER, None)
    if scatter is None:
        return None
    places, tokens = scatter
    embeds = kwargs["inputs_embeds"]
    kept = places.sum(dim=1, keepdim=True)
    real = torch.arange(tokens.shape[1], device=tokens.device) < kept.to(tokens.device)
    source = tokens[real].to(embeds.device, embeds.dtype)
    kwargs["inputs_embeds"] = embeds.masked_scatter(places.to(embeds.device).unsqueeze(-1), source)
    return args, kwargs
