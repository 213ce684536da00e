"""Attaching an object encoder to a loaded model, and detaching it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation import LogitsProcessorList

from videorefer_plugin.errors import ConfigurationError, PromptError, TensorError
from videorefer_plugin.hosts.binding import add_region_token, check_processor
from videorefer_plugin.hosts.choosing import encoder_config
from videorefer_plugin.hosts.configuration import AttachmentConfig
from videorefer_plugin.hosts.grids import FrameGrids
from videorefer_plugin.hosts.registry import Host, host_of
from videorefer_plugin.hosts.saving import save_object_encoder
from videorefer_plugin.hosts.stacked import StackedHost, UnpaddedVisualsMixin
from videorefer_plugin.models.placing import Prompt
from videorefer_plugin.models.quantized import check_savable
from videorefer_plugin.models.videorefer.generation import rows_beyond
from videorefer_plugin.models.videorefer.region_inputs import FlatRegions
from videorefer_plugin.models.videorefer.regions import RegionInputs, RegionMixin
from videorefer_plugin.models.videorefer.signature import region_forward

__all__ = ["AttachedRegionMixin", "attach_object_encoder", "detach_object_encoder"]


def attach_object_encoder(model: Any, config: Any = None, *, processor: Any = None, encoder: str | None = None) -> Any:
    """Give a loaded model an object encoder, in place.

    The model keeps its weights, and gives the same outputs as before if no regions are given. It gains
    `object_encoder`, takes the region tensors of a [`RegionProcessor`] in `forward` and `generate`, and has
    `save_object_encoder`. The new weights are random: train them, or load trained ones with [`load_object_encoder`].
        With PEFT, attach first, wrap the
    model then, and list `"object_encoder"` in `modules_to_save`.

    Args:
        model (`PreTrainedModel`): a model of one of the [`supported_hosts`], with its language-modeling head.
        config ([`ObjectEncoderConfig`] or [`CropEncoderConfig`], *optional*):
            Sizes; by default those that fit the host, with 4 unions, or with 10 tokens per mask.
        processor (`ProcessorMixin`, *optional*):
            The host's processor. `<region>` is added to its tokenizer, and the model stores the token's id. Without
            it, the model stores the id when a [`RegionProcessor`] is made for it.
        encoder (`str`, *optional*):
            `"pooled"` (the default) averages features of the frames that the host sees anyway; `"crop"` shows the
            crop of every mask to the tower, which costs one pass of the tower for each, and needs a host whose tower
            takes single pictures of any size. Without it, `config` decides.

    Returns:
        `PreTrainedModel`: the same object.

    Raises:
        ConfigurationError: the host is not supported, has an object encoder already, is wrapped, or the widths or the
            processor do not fit.
    """
    host = _check_model(model)
    widths = {
        "vision_hidden_size": host.vision_width(model.config),
        "hidden_size": host.language_width(model.config),
    }
    config = encoder_config(host, model, config, encoder, widths)
    for name, width in widths.items():
        if getattr(config, name) != width:
            raise ConfigurationError(
                f"config.{name} is {getattr(config, name)}, but the {host.model_type} host's "
                f"{'features are' if name == 'vision_hidden_size' else 'language model is'} {width} wide. "
                f"Set {type(config).__name__}({name}={width})."
            )
    attachment = AttachmentConfig(
        host_model_type=host.model_type,
        object_encoder=config,
        patch_size=host.patch_size(model),
        vision_feature_layer=host.feature_layer(model.config),
        base_model_name_or_path=model.config._name_or_path or None,
    )
    if processor is not None:
        check_processor(processor, host, model.config)
        attachment.region_token_id = add_region_token(processor, attachment.region_token)
    with _outside_hooks(model):
        model.__class__ = region_class(type(model))
        model.object_encoder_attachment = attachment
        model._object_encoder_hooks = model.add_object_encoder(config)
    weight = model.get_input_embeddings().weight
    device = next((each.device for each in (weight, *model.parameters()) if each.device.type != "meta"), "cpu")
    dtype = weight.dtype if weight.is_floating_point() else model.dtype  # quantized embeddings are integers
    model.object_encoder.to(device=device, dtype=dtype).train(model.training)
    return model


def detach_object_encoder(model: Any) -> Any:
    """Detach the object encoder, and restore the class and the behavior of the model.

    Args:
        model (`PreTrainedModel`): a model with an attached object encoder.

    Returns:
        `PreTrainedModel`: the same object.

    Raises:
        ConfigurationError: the model has no attached object encoder.
    """
    if not isinstance(model, AttachedRegionMixin):
        raise ConfigurationError(f"This {type(model).__name__} has no attached object encoder to take off.")
    with _outside_hooks(model):
        for hook in model._object_encoder_hooks:
            hook.remove()
        del model._object_encoder_hooks, model.object_encoder, model.object_encoder_attachment
        model.__class__ = model.host_class
    return model


class AttachedRegionMixin(UnpaddedVisualsMixin):
    """The methods that [`attach_object_encoder`] adds in front of a host's class."""

    host_class: type[PreTrainedModel]
    object_encoder_attachment: AttachmentConfig
    blank_visuals: dict[str, dict[str, Tensor]] | None = None
    """For each kind of visual, the arguments that show a black one; see [`RegionMixin.run_in_step`]."""
    _object_encoder_hooks: Any
    _regions_with_pixels = False
    _region_fields = ("masks", "frames", "lengths", "pixel_values", "grids", "mask_grids", "initial_cells")
    _counts_visuals = False

    @property
    def region_host(self) -> Host:
        """The host's description."""
        return host_of(self.object_encoder_attachment.host_model_type)

    def get_vision_tower(self) -> nn.Module:
        """See [`RegionMixin.get_vision_tower`]."""
        return self.region_host.tower(self)

    @property
    def region_token_id(self) -> int:
        """Id of object tokens in `input_ids`; -1 before a processor was bound."""
        known = self.object_encoder_attachment.region_token_id
        return -1 if known is None else known

    # ------------------------------------------------------------------ regions -> object tokens

    def check_regions(self, input_ids: Tensor | None, regions: RegionInputs | None) -> None:
        """See [`RegionMixin.check_regions`]."""
        if regions is not None and self.region_token_id < 0:
            raise PromptError(
                "The model does not know which id stands for <region>. Attach with processor=, or make the inputs "
                "with RegionProcessor(processor, model)."
            )
        super().check_regions(input_ids, regions)

    def has_pixels(self, inputs: dict[str, Any]) -> bool:
        """See [`RegionMixin.has_pixels`]."""
        return any(inputs.get(name) is not None for name, _ in self.region_host.encoders.values())

    def visual_arguments(self) -> dict[str, str]:
        """See [`RegionMixin.visual_arguments`]."""
        return {kind: name for kind, (name, _) in self.region_host.encoders.items()}

    def blank_visual(self, kind: str, device: torch.device) -> dict[str, Tensor]:
        """See [`RegionMixin.blank_visual`]."""
        if self.blank_visuals is None:
            return super().blank_visual(kind, device)
        return {name: value.to(device) for name, value in self.blank_visuals[kind].items()}

    def check_visuals(
        self,
        input_ids: Tensor | None,
        inputs: dict[str, Any],
        regions: RegionInputs | None,
        mm_encoder_outputs: dict[str, Any] | None,
    ) -> None:
        """See [`RegionMixin.check_visuals`]. The host checks sizes. Visuals that are only padding are removed.

        Raises:
            TensorError: `mm_encoder_outputs` is not a dict, or see [`Host.check_pixels`].
        """
        if not isinstance(mm_encoder_outputs, (dict, type(None))):
            raise TensorError(f"mm_encoder_outputs must be a dict, but is a {type(mm_encoder_outputs).__name__}.")
        if isinstance(self.region_host, StackedHost):
            self.region_host.take_padding_out(self, input_ids, inputs)
        for kind, (name, _) in self.region_host.encoders.items():
            if inputs.get(name) is not None:
                self.region_host.check_pixels(kind, inputs[name], inputs)

    def encode_visuals(self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, Any] | None) -> dict[str, Any]:
        """See [`RegionMixin.encode_visuals`]."""
        return self.region_host.encode(self, inputs, mm_encoder_outputs)

    def visual_rows(self, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`RegionMixin.visual_rows`]."""
        return self.region_host.visual_rows(self, kind, output, inputs)

    def placeholder_id(self, kind: str) -> int:
        """See [`RegionMixin.placeholder_id`]."""
        return self.region_host.placeholder_id(self.config, kind)

    def get_region_features(
        self, input_ids: Tensor, regions: RegionInputs, encoded: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[Tensor, FlatRegions]:
        """See [`RegionMixin.get_region_features`]."""
        grids, flat = self.get_frame_grids(encoded, inputs), regions.flatten()
        rows, known = self.place_rows(input_ids, flat, encoded, inputs)
        if known != len(grids.sizes):
            raise TensorError(
                f"By visual_rows of {type(self.region_host).__name__}, the visuals of this batch have {known} row(s) "
                f"of features, but its lay_out makes {len(grids.sizes)}. Let the two agree."
            )
        features, frames = grids.gather(flat.masks, rows)
        return features, flat._replace(frames=frames)

    def get_crop_features(self, pixel_values: Tensor, grids: Tensor) -> Tensor:
        """See [`CropRegions.get_crop_features`]."""
        host: Any = self.region_host
        return host.encode_crops(self, pixel_values, grids)

    def get_frame_grids(self, encoded: dict[str, Any], inputs: dict[str, Any]) -> FrameGrids:
        """Return the features of all frames of the batch, videos first.

        Raises:
            PromptError: there is no video or image.
        """
        grids = [
            self.region_host.lay_out(self, kind, encoded[kind], inputs)
            for kind in ("video", "image")
            if encoded.get(kind) is not None and encoded[kind].last_hidden_state is not None
        ]
        if not grids:
            raise PromptError("There are regions, but no video or image that they lie on. Pass its pixels on.")
        return FrameGrids.join(grids)

    def hide_region_ids(self, input_ids: Tensor, places: Tensor) -> Tensor:
        """See [`RegionMixin.hide_region_ids`]. The host must not mistake the id for one of its own placeholders."""
        own = [value for name, value in vars(self.config).items() if name.endswith(("_token_id", "_token_index"))]
        safe = next(number for number in range(len(own) + 1) if number not in own)
        return input_ids.masked_fill(places.to(input_ids.device), safe)

    # ------------------------------------------------------------------ generation

    def _bans_region_token(self, input_ids: Tensor | None, inputs: dict[str, Any]) -> bool:
        # Without regions, here or in the cache, the model must answer exactly as the bare host.
        return input_ids is not None and bool((input_ids == self.region_token_id).any())

    def fit_visuals(self, prompt: Prompt, encoded: dict[str, Any]) -> Tensor:
        """See [`RegionGeneration.fit_visuals`]."""
        placeholders = self._visual_placeholders()

        def check(input_ids: Tensor) -> None:
            for kind, output in encoded.items():
                tokens = sum(len(visual) for visual in output.pooler_output)
                if tokens != int((input_ids == placeholders.get(kind, -1)).sum()):
                    raise PromptError(f"The {kind}s are not those of these placeholders.")

        try:
            return prompt.seen_by(check, self.hide_region_ids, list(placeholders.values()))
        except PromptError:  # the host counts them itself, some in other ways
            return prompt.input_ids

    def visuals_beyond(self, input_ids: Tensor, encoded: dict[str, Any], cached: int) -> dict[str, Any]:
        """See `RegionGeneration.visuals_beyond`."""
        if hasattr(self, "visual_token_ids"):  # the host finds them itself
            return encoded
        return rows_beyond(input_ids, encoded, cached, self._visual_placeholders())

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        processors = super()._get_logits_processor(*args, **kwargs)
        token_id = self.region_token_id
        if token_id < self.config.get_text_config().vocab_size:
            return processors
        # Some look scores up by the ids of the prompt, where <region> lies beyond the vocabulary.
        return _WithoutRegionIds(processors, token_id)

    # ------------------------------------------------------------------ saving and copying

    def save_object_encoder(self, folder: str | os.PathLike) -> None:
        """Save the object encoder alone, a few MB, for [`load_object_encoder`].

        Args:
            folder (`str` or `os.PathLike`): created if it does not exist; it receives `object_encoder.safetensors` and
                `object_encoder_config.json`.
        """
        save_object_encoder(self, folder)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save the host in its own format, with the object encoder's files beside it.

        The folder loads without this library, as the bare host.

        Raises:
            CheckpointError: the weights are packed and cannot be saved, or the folder cannot be written.
        """
        state, own = kwargs.get("state_dict"), "object_encoder."
        check_savable(self, state)
        if state is not None:
            kwargs["state_dict"] = {k: v for k, v in state.items() if not k.startswith(own)}
            state = {k.removeprefix(own): v for k, v in state.items() if k.startswith(own)}
        publish, repo_id = kwargs.pop("push_to_hub", False), kwargs.pop("repo_id", None)
        with self._as_host():
            self.save_pretrained(save_directory, *args, **kwargs)  # the class is now the host's
        if kwargs.get("is_main_process", True):
            save_object_encoder(self, save_directory, state or None)
        if publish:
            self.push_to_hub(repo_id or os.path.basename(os.path.normpath(save_directory)), token=kwargs.get("token"))

    @contextlib.contextmanager
    def _as_host(self) -> Iterator[None]:
        attached, encoder = type(self), self._modules.pop("object_encoder")
        self.__class__ = self.host_class
        try:
            yield
        finally:
            self.__class__ = attached
            self._modules["object_encoder"] = encoder

    def __reduce_ex__(self, protocol: Any) -> Any:
        # By the host's class: the process that unpickles need not have attached anything before.
        _, _, *rest = super().__reduce_ex__(max(int(protocol), 2))
        return _new_instance, (self.host_class,), *rest


class _WithoutRegionIds(LogitsProcessorList):
    """Logits processors that see another id of the sequence instead of the ids of `<region>`."""

    def __init__(self, processors: LogitsProcessorList, token_id: int):
        super().__init__(processors)
        self.token_id = token_id

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Any:
        if not input_ids.shape[1]:  # nothing was generated yet after a prompt of embeddings
            return super().__call__(input_ids, scores, **kwargs)
        is_region = input_ids == self.token_id
        other = input_ids.masked_fill(is_region, 0).amax(dim=1, keepdim=True)
        return super().__call__(torch.where(is_region, other, input_ids), scores, **kwargs)


def region_class(host_class: Any) -> Any:
    """Return the class of a host with an object encoder; always the same one for a host."""
    module = sys.modules[__name__]
    name = f"Region{host_class.__name__}"
    known = getattr(module, name, None)
    if known is not None and known.host_class is not host_class:  # a class of the same name from elsewhere
        name = f"{name}_{host_class.__module__.replace('.', '_')}"
        known = getattr(module, name, None)
    if known is not None and known.host_class is host_class:
        return known
    forward = region_forward(AttachedRegionMixin, host_class)
    space = {"forward": forward, "host_class": host_class, "__module__": __name__, "__doc__": host_class.__doc__}
    created = type(name, (AttachedRegionMixin, host_class), space)
    setattr(module, name, created)  # where pickle looks for it
    return created


def _new_instance(host_class: Any) -> Any:
    created = region_class(host_class)
    return created.__new__(created)


def _check_model(model: Any) -> Host:
    if isinstance(model, RegionMixin):
        raise ConfigurationError(
            f"This {type(model).__name__} has an object encoder already. detach_object_encoder takes an attached one "
            "off; load_object_encoder replaces its weights."
        )
    if not isinstance(model, PreTrainedModel):
        inside = isinstance(model, nn.Module)
        raise ConfigurationError(
            f"attach_object_encoder takes a transformers model, but got a {type(model).__name__}."
            + (" Attach before the model is wrapped (PEFT, torch.compile, DDP)." if inside else "")
        )
    host = host_of(model.config.model_type)
    if not isinstance(model, GenerationMixin):
        raise ConfigurationError(
            f"{type(model).__name__} has no language-modeling head. Attach to the ...ForConditionalGeneration model."
        )
    host.tower(model)  # training needs to know which parameters are the tower's
    return host


@contextlib.contextmanager
def _outside_hooks(model: nn.Module) -> Iterator[None]:
    """Remove accelerate's hook from the model temporarily: it wraps `forward` of the current class."""
    hook = getattr(model, "_hf_hook", None)
    if hook is None:
        yield
        return
    from accelerate.hooks import add_hook_to_module, remove_hook_from_module

    remove_hook_from_module(model)
    vars(model).pop("forward", None)  # the rest is bound to the previous class
    try:
        yield
    finally:
        add_hook_to_module(model, hook)
