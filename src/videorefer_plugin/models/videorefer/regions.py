"""`RegionMixin`: regions for any host with a vision tower and a decoder."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.call_checks import check_call, check_ids, check_labels, whole_ids
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.placing import Prompt, cached_length, given_cache, insert, written_step
from videorefer_plugin.models.videorefer.backbone_regions import SCATTER, BackboneRegions
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer.crop_regions import CropRegions
from videorefer_plugin.models.videorefer.feature_rows import FeatureRows
from videorefer_plugin.models.videorefer.generation import RegionGeneration
from videorefer_plugin.models.videorefer.in_step import RunsInStep
from videorefer_plugin.models.videorefer.region_inputs import (
    FlatRegions,
    RegionInputs,
    check_placeholders,
)
from videorefer_plugin.object_encoder import ObjectEncoderOutput, build_encoder
from videorefer_plugin.object_encoder.checks import whole_numbers

__all__ = ["RegionInputs", "RegionMixin"]


class RegionMixin(FeatureRows, CropRegions, RegionGeneration, RunsInStep):
    """Give a host's `...ForConditionalGeneration` class regions; a mixin to be listed in front of it.

    The mixin owns `object_encoder`, turns regions into object tokens before the host runs, and has a hook on the
    host's decoder that writes them over the embeddings of `<region>`, after the host has inserted its own visual
    tokens. Nothing is kept on the model between calls.

    A host implements [`RegionMixin.get_vision_tower`], [`RegionMixin.get_region_features`] and
    [`RegionMixin.encode_visuals`].
    """

    object_encoder: Any

    def add_object_encoder(self, config: Any) -> list[RemovableHandle]:
        """Create the object encoder, and hook decoder and backbone. Called once, when the model is built.

        Args:
            config ([`ObjectEncoderConfig`] or [`CropEncoderConfig`]): the configuration of the object encoder.

        Returns:
            The handles that remove the hooks.
        """
        self.object_encoder = build_encoder(config)
        handles = [self.get_decoder().register_forward_pre_hook(scatter_object_tokens, with_kwargs=True)]
        if self.base_model is not self:
            handles.append(self.base_model.register_forward_pre_hook(BackboneRegions(self), with_kwargs=True))
        return handles

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        BackboneRegions.belong_to(self)  # a copy, whose hook was copied without its model

    @property
    def region_token_id(self) -> int:
        """Id of object tokens in `input_ids`."""
        return self.config.region_token_id

    # ------------------------------------------------------------------ implemented by hosts

    def get_vision_tower(self) -> torch.nn.Module:
        """The vision tower, which training treats differently from the connector."""
        raise NotImplementedError

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Run the vision tower over the visual inputs, once, and take their pixel values out of `inputs`.

        Args:
            inputs (`dict`): keyword arguments of `forward`; those that are used up are removed.
            mm_encoder_outputs (`dict`, *optional*): earlier outputs, which are kept.
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
        """Whether keyword arguments of `forward` hold visuals that are not encoded yet."""
        return any(inputs.get(name) is not None for name in ("pixel_values", "pixel_values_videos"))

    def get_region_features(
        self,
        input_ids: Tensor,
        regions: RegionInputs,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any],
    ) -> tuple[Tensor, FlatRegions]:
        """Return features of the frames that masks lie on.

        Args:
            input_ids, regions, encoded, inputs: see [`RegionMixin.get_object_tokens`]; `regions` have a row for
                each sample.

        Returns:
            `tuple[torch.Tensor, FlatRegions]`: features of shape `(num_frames, grid_height, grid_width, D)`, and the
            regions with rows of these features as `frames`.
        """
        raise NotImplementedError

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
            inputs (`dict`, *optional*): the other keyword arguments, which a host may need to arrange `encoded`.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: tokens of shape `(batch, max_tokens, hidden_size)`, and the
            number of tokens of each sample, of shape `(batch,)`.

        Raises:
            TensorError: shapes do not fit together.
        """
        regions = regions.for_samples((input_ids == self.region_token_id).sum(dim=1))
        if isinstance(regions, CropInputs):
            return self.lay_out_tokens(input_ids, self.encode_crops(input_ids, regions))
        return self.encode_regions(input_ids, *self.get_region_features(input_ids, regions, encoded, inputs or {}))

    def encode_regions(self, input_ids: Tensor, features: Tensor, regions: FlatRegions) -> tuple[Tensor, Tensor]:
        """Run the object encoder; `regions.frames` are rows of `features`. See [`RegionMixin.get_object_tokens`]."""
        return self.lay_out_tokens(input_ids, self.run_object_encoder(features, regions))

    def lay_out_tokens(self, input_ids: Tensor, output: ObjectEncoderOutput) -> tuple[Tensor, Tensor]:
        """Arrange object tokens by sample. See [`RegionMixin.get_object_tokens`]."""
        if len(output.counts) % len(input_ids) or not torch.compiler.is_compiling():
            return self.tokens_by_sample(input_ids, output.tokens)
        # As many positions per sample as it has masks, since no shape may depend on values; padding is a last region.
        each = output.counts.unflatten(0, (len(input_ids), -1)).sum(dim=1)
        places = torch.arange(len(output.tokens) // len(input_ids), device=each.device)
        places = (each.cumsum(0) - each)[:, None] + places
        counts = (input_ids == self.region_token_id).sum(dim=1)
        return output.tokens[places.clamp(max=len(output.tokens) - 1)], counts

    def run_object_encoder(self, features: Tensor, regions: FlatRegions) -> ObjectEncoderOutput:
        """Run the object encoder; `regions.frames` are rows of `features`."""
        device = device_of(self.object_encoder)
        return self.object_encoder(
            *(value.to(device) for value in (features, regions.masks, regions.frames, regions.lengths)),
            values=False,  # pixels and masks were searched before the tower ran
            static=torch.compiler.is_compiling(),
        )

    @torch.no_grad()
    def get_region_tokens(self, input_ids: Tensor, **inputs: Any) -> list[list[Tensor]]:
        """Return the object tokens of single regions, for callers that insert them themselves.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with `<region>` placeholders.
            inputs: the other outputs of the processor.

        Returns:
            `list[list[torch.Tensor]]`: for each sample, tokens of shape `(num_tokens, hidden_size)` of each region.

        Raises:
            TensorError: region tensors are incomplete or do not fit.
            PromptError: the numbers of `<region>` positions and regions differ.
        """
        check_call(self, input_ids, inputs)
        regions = self.collect_regions(inputs)
        self.check_regions(input_ids, regions)
        if regions is None:
            return [[] for _ in input_ids]
        encoded = inputs.pop("mm_encoder_outputs", None)
        self.check_visuals(input_ids, inputs, regions, encoded)
        encoded = self.encode_visuals(inputs, encoded)
        regions = regions.for_samples((input_ids == self.region_token_id).sum(dim=1))
        if isinstance(regions, CropInputs):
            output = self.encode_crops(input_ids, regions)
        else:
            output = self.run_object_encoder(*self.get_region_features(input_ids, regions, encoded, inputs))
        tokens = iter(output.split())
        width = regions.lengths.shape[1]
        by_sample = [[next(tokens) for _ in range(width)] for _ in input_ids]
        return [[each for each in own if len(each)] for own in by_sample]

    def tokens_by_sample(self, input_ids: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Arrange the object tokens of a batch by sample, as `forward` takes them.

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
        """Check before the forward pass that every `<region>` has its region.

        Raises:
            PromptError: the numbers of `<region>` positions and object tokens differ; the message names the first
                sample.
            TensorError: `input_ids` is not a tensor of shape `(batch, length)`.
        """
        if input_ids is None:
            if regions is not None:
                raise PromptError(
                    "Regions need input_ids, since <region> cannot be found in inputs_embeds. Pass input_ids."
                )
            return
        check_ids(input_ids)
        if not torch.compiler.is_compiling():
            tokens = [] if regions is None else regions.count_tokens(self.object_encoder.config)
            check_placeholders((input_ids == self.region_token_id).sum(dim=1).tolist(), tokens)

    def check_object_tokens(
        self, input_ids: Tensor | None, tokens: Tensor, counts: Tensor | None, regions: RegionInputs | None
    ) -> None:
        """Check precomputed object tokens.

        Raises:
            PromptError: they have no `<region>` positions or counts, or region tensors are given as well.
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
        if counts.shape != (batch,) or not whole_numbers(counts):
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

    def forward(self, **kwargs: Any) -> Any:
        """Run the host with object tokens at the positions of `<region>`.

        After a `cache`, only the `<region>`s of these `input_ids` need regions, and visuals whose placeholders are in
        the cache may be passed for them. Single ids after a cache are treated as generated text.

        Takes the tensors of [`RegionInputs`] under the names `region_masks`, `region_frames`, `region_lengths` and
        `region_pixel_values`, or precomputed object tokens.
        """
        self.place_regions(kwargs)
        return super().forward(**kwargs)

    def place_regions(self, inputs: dict[str, Any]) -> None:
        """Turn the arguments of [`RegionMixin.forward`] into those of the host's own `forward`, in place.

        Args:
            inputs (`dict`): keyword arguments; regions become object tokens, visuals below them are encoded.
        """
        input_ids, labels = inputs.get("input_ids"), inputs.get("labels")
        object_tokens, counts = inputs.pop("object_tokens", None), inputs.pop("object_token_counts", None)
        placed = inputs.pop("placed_objects", None)
        known = inputs.pop("mm_encoder_outputs", None)
        checked = {name: value for name, value in inputs.items() if name not in ("input_ids", "labels")}
        if placed is None:  # otherwise `generate` has checked its arguments
            check_call(self, input_ids, checked)
        check_labels(self, labels, inputs.get("inputs_embeds") if input_ids is None else input_ids)
        for name in ("input_ids", "labels"):
            if inputs.get(name) is not None:
                inputs[name] = whole_ids(inputs[name])
        input_ids, labels = inputs.get("input_ids"), inputs.get("labels")
        regions = self.collect_regions(inputs)
        inputs["mm_encoder_outputs"] = known
        nothing = None
        if placed is None:
            if input_ids is not None:
                nothing = self.run_in_step(input_ids, regions, inputs, known)
            placed = self._place(input_ids, regions, object_tokens, counts, inputs)
        if placed is None or input_ids is None:
            return
        tokens, places = placed
        if nothing is not None:  # the only gradients of tower and connector in this batch
            tokens = tokens + nothing.to(tokens)
            placed = tokens, places
        if len(tokens) or self.training or nothing is not None:
            if regions is None and self.has_pixels(inputs):
                self.check_visuals(input_ids, inputs, None, inputs["mm_encoder_outputs"])
            # Encoded here, because some hosts pass every argument on to their vision tower, which does not take this
            # one.
            encoded = self.encode_visuals(inputs, inputs["mm_encoder_outputs"])
            inputs["mm_encoder_outputs"] = encoded or (None if nothing is None else {})
            inputs[SCATTER] = placed
        if labels is not None:
            inputs["labels"] = labels.masked_fill((places >= 0).to(labels.device), -100)
        hidden = places >= 0
        if self.region_token_id >= self.config.get_text_config().vocab_size:
            hidden = hidden | (input_ids == self.region_token_id).to(hidden.device)
        inputs["input_ids"] = self.hide_region_ids(input_ids, hidden)

    def _place(
        self,
        input_ids: Tensor | None,
        regions: RegionInputs | None,
        object_tokens: Tensor | None,
        counts: Tensor | None,
        inputs: dict[str, Any],
    ) -> tuple[Tensor, Tensor] | None:
        """Object tokens of the whole batch, and for each column of the ids its token or -1; see [`insert`]."""
        cache = given_cache(inputs)
        if object_tokens is not None:
            if regions is not None or not isinstance(object_tokens, Tensor) or object_tokens.shape[1]:
                self.check_object_tokens(input_ids, object_tokens, counts, regions)
        elif regions is None and written_step(input_ids, cache):
            assert input_ids is not None
            return input_ids.new_zeros((0, 1)), torch.full_like(input_ids, -1)
        else:
            past = 0 if torch.compiler.is_compiling() else cached_length(cache)
            _, object_tokens, counts = self.object_tokens_of(Prompt(input_ids, origin=past), regions, inputs)
            if object_tokens is None and self.training and input_ids is not None:
                object_tokens, counts = self._no_object_tokens(input_ids)
        if input_ids is None or object_tokens is None or counts is None:
            return None
        return object_tokens.flatten(0, 1), self.object_places(input_ids, counts, object_tokens.shape[1])

    def _no_object_tokens(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        # A training batch without regions still runs the projector over nothing, so that every process of a
        # distributed run has (zero) gradients for the same parameters.
        encoder = self.object_encoder
        width = encoder.config.vision_hidden_size
        empty = encoder.projector(torch.zeros((0, width), dtype=encoder.dtype, device=device_of(encoder)))
        counts = torch.zeros(len(input_ids), dtype=torch.long, device=input_ids.device)
        return empty.unsqueeze(0).expand(len(input_ids), -1, -1), counts


def scatter_object_tokens(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Forward pre-hook of a decoder: write object tokens over the embeddings of `<region>`."""
    scatter = kwargs.pop(SCATTER, None)
    if scatter is None:
        return None
    tokens, places = scatter
    embeds = kwargs["inputs_embeds"]
    if not len(tokens):
        # Nothing to put in, but gradients of the object encoder are zero then, not missing.
        kwargs["inputs_embeds"] = embeds + tokens.sum().to(embeds)
    else:
        kwargs["inputs_embeds"] = insert(embeds, tokens, places)
    return args, kwargs
