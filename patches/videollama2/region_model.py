"""The additions of the region patch to the original model class: an object encoder, and positions for its tokens.

How `<region>` moves: the original replaces the one id of a visual (-200, -201) by its n tokens, so all following ids
are shifted by n - 1 for every visual before them, and it pads samples that end up shorter than the longest on the
right. A `<region>` id occurs once for each object token (as the processor writes it), so it changes no length. The
shift is not computed here but read from the original's own splicing: instead of labels it gets the position of every
id, and its result holds the id at each position, or -100 where a visual or padding is.

That map gives the positions of object tokens, the labels (-100 there) and the attention mask: that of the ids where
an id is, 1 where a visual is, 0 where the original padded.
"""

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videorefer_plugin.errors import CheckpointError, ConfigurationError, PatchError, PromptError
from videorefer_plugin.models.videorefer.regions import RegionInputs, RegionMixin
from videorefer_plugin.object_encoder import ObjectEncoder, ObjectEncoderConfig

from .region_frames import region_features, vision_tower

__all__ = ["region_methods"]

# Names of the weights in a VideoRefer checkpoint, which this library's object encoder reads unchanged.
_KEY_MAPPING = {r"^model\.region_encoder\.feat_linear\.": "object_encoder.projector."}

# This library's port has the same features on the same grid, and object encoders move between the two.
_HOST_TYPE = "videollama2"


class _ObjectTokens(NamedTuple):
    """Object tokens on their way from `forward` or `generate` to the splicing.

    Attributes:
        places (`torch.BoolTensor` of shape `(batch, length)`): positions of `<region>` among the ids.
        tokens (`torch.Tensor` of shape `(num_tokens, hidden_size)`): their tokens, in order.
        pad_left (`bool`): whether padding belongs to the left, as it does for generation.
    """

    places: Tensor
    tokens: Tensor
    pad_left: bool


# Not attributes of the model, which threads may share.
_on_their_way: ContextVar[_ObjectTokens | None] = ContextVar("object_tokens", default=None)
_generating: ContextVar[bool] = ContextVar("generating", default=False)


def region_methods(model_class: Any) -> dict[str, Any]:
    """Return the attributes that give the original class regions; existing ones are wrapped.

    Args:
        model_class (`type`): `Videollama2Qwen2ForCausalLM`.
    """
    return {
        "__init__": _wrap_init(model_class.__init__),
        "from_pretrained": _wrap_from_pretrained(model_class),
        "forward": _wrap_forward(model_class.forward),
        "generate": _wrap_generate(model_class.generate),
        "prepare_inputs_labels_for_multimodal": _wrap_splice(model_class.prepare_inputs_labels_for_multimodal),
        "add_object_encoder": add_object_encoder,
        "save_object_encoder": save_object_encoder,
        "load_object_encoder": load_object_encoder,
        "region_token_id": property(_region_token_id),
    }


# ---------------------------------------------------------------------- the object encoder


def add_object_encoder(
    self: Any, config: ObjectEncoderConfig | None = None, *, region_token_id: int | None = None
) -> Any:
    """Give the model a new object encoder, which is saved and loaded with the model from then on.

    Args:
        config ([`ObjectEncoderConfig`], *optional*): sizes; by default those that fit.
        region_token_id (`int`, *optional*):
            Id of object tokens in `input_ids`, such as `processor.region_token_id`. It may be larger than the
            embedding table, since it is never looked up. It may be left out if the configuration has it.

    Returns:
        The model.

    Raises:
        ConfigurationError: the model has one already, sizes do not fit, or the id is missing.
    """
    if getattr(self, "object_encoder", None) is not None:
        raise ConfigurationError("This model has an object encoder already; load_object_encoder replaces its weights.")
    tower = vision_tower(self)
    widths = {"vision_hidden_size": tower.hidden_size, "hidden_size": self.config.hidden_size}
    config = ObjectEncoderConfig(**widths) if config is None else config
    for name, width in widths.items():
        if getattr(config, name) != width:
            raise ConfigurationError(
                f"config.{name} is {getattr(config, name)}, but must be {width} for this model. "
                f"Set ObjectEncoderConfig({name}={width})."
            )
    if region_token_id is None:
        region_token_id = getattr(self.config, "region_token_id", None)
    if isinstance(region_token_id, bool) or not isinstance(region_token_id, int) or region_token_id < 0:
        raise ConfigurationError(
            f"region_token_id must be the id of <region>, but {region_token_id!r} was given. The processor knows it: "
            "VideoReferProcessor.from_pretrained(checkpoint).region_token_id."
        )
    self.config.object_encoder_config = config.to_dict()
    self.config.region_token_id = region_token_id
    weight = self.get_input_embeddings().weight
    self.object_encoder = ObjectEncoder(config).to(weight.device, weight.dtype).train(self.training)
    return self


def save_object_encoder(self: Any, folder: str | os.PathLike) -> None:
    """Write the object encoder alone: `object_encoder.safetensors` and `object_encoder_config.json`.

    [`load_object_encoder`] of this library's VideoLLaMA2 port loads them too.
    """
    from safetensors.torch import save_file

    from videorefer_plugin.hosts.configuration import WEIGHTS_NAME, AttachmentConfig

    encoder: Any = _object_encoder(self)
    # PEFT keeps the original beside the trained copy, which is the one to save.
    encoder = encoder.modules_to_save[encoder.active_adapter] if hasattr(encoder, "modules_to_save") else encoder
    tower = vision_tower(self)
    Path(folder).mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, Path(folder) / WEIGHTS_NAME, metadata={"format": "pt"})
    AttachmentConfig(
        host_model_type=_HOST_TYPE,
        object_encoder=encoder.config,
        patch_size=tower.config.patch_size,
        vision_feature_layer=getattr(tower, "select_layer", None),
        base_model_name_or_path=self.config._name_or_path or None,
        region_token_id=self.region_token_id,
    ).save(folder)


def load_object_encoder(self: Any, folder_or_id: str | os.PathLike) -> Any:
    """Load a separately saved object encoder, of this patch or of this library's models; add one if there is none.

    Returns:
        The model.

    Raises:
        CheckpointError: files are missing or damaged, or belong to another host.
        ConfigurationError: sizes do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from videorefer_plugin.hosts.configuration import WEIGHTS_NAME, AttachmentConfig, find_files
    from videorefer_plugin.hosts.saving import same_towers

    saved = AttachmentConfig.load(folder_or_id)
    if not same_towers(saved.host_model_type, _HOST_TYPE):
        raise CheckpointError(
            f"The object encoder in {os.fspath(folder_or_id)!r} was trained for a {saved.host_model_type!r} host, but "
            f"this is VideoLLaMA2. Features of different towers do not mix; train one for this model."
        )
    try:
        state = load_file(find_files(folder_or_id, WEIGHTS_NAME)[0])
        if getattr(self, "object_encoder", None) is None:
            add_object_encoder(self, saved.object_encoder, region_token_id=saved.region_token_id)
        self.object_encoder.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"The object encoder in {os.fspath(folder_or_id)!r} cannot be loaded: {error}"
        ) from error
    return self


def _region_token_id(self: Any) -> int:
    """Id of object tokens in `input_ids`."""
    return self.config.region_token_id


def _object_encoder(model: Any) -> ObjectEncoder:
    encoder = getattr(model, "object_encoder", None)
    if encoder is None:
        raise ConfigurationError(
            f"This {type(model).__name__} has no object encoder. Give it one with "
            "model.add_object_encoder(region_token_id=processor.region_token_id) or model.load_object_encoder(folder)."
        )
    return encoder


def _wrap_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def init_with_object_encoder(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        init(self, config, *args, **kwargs)
        sizes = getattr(config, "object_encoder_config", None)
        if sizes is None and getattr(config, "mm_region_encoder_type", None) == "pooling":
            # A VideoRefer checkpoint. Its table was cut to the tokenizer, whose last token <region> is.
            sizes = ObjectEncoderConfig(config.mm_hidden_size, config.hidden_size).to_dict()
            config.object_encoder_config, config.region_token_id = sizes, config.vocab_size - 1
        if sizes is not None:
            self.object_encoder = ObjectEncoder(ObjectEncoderConfig.from_dict(sizes))
            self.post_init()  # initializes only the new weights

    return init_with_object_encoder


def _wrap_from_pretrained(model_class: Any) -> Any:
    original = model_class.from_pretrained.__func__

    @functools.wraps(original)
    def from_pretrained(cls: Any, *args: Any, key_mapping: dict[str, str] | None = None, **kwargs: Any) -> Any:
        return original(cls, *args, key_mapping={**_KEY_MAPPING, **(key_mapping or {})}, **kwargs)

    return classmethod(from_pretrained)


# ---------------------------------------------------------------------- forward and generate


def _wrap_forward(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _generating.get():  # generated ids are text, even if one happens to be <region>
            return original(self, *args, **kwargs)
        regions = RegionInputs.collect(kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        input_ids = given.get("input_ids")
        if given.get("inputs_embeds") is not None:  # these are not spliced
            if regions is None:
                return original(self, *args, **kwargs)
            input_ids = None
        sent = _on_their_way.set(_encode(self, input_ids, regions, given.get("images"), pad_left=False))
        try:
            return original(self, *args, **kwargs)
        finally:
            _on_their_way.reset(sent)

    # The trainer drops columns of a data set that it does not find here.
    forward.__signature__ = _with_regions(signature)  # type: ignore[attr-defined]
    return forward


def _wrap_generate(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        regions = RegionInputs.collect(kwargs)
        if not args and kwargs.get("inputs") is None and "input_ids" in kwargs:  # as everywhere else
            kwargs["inputs"] = kwargs.pop("input_ids")
        given = signature.bind(self, *args, **kwargs).arguments
        with torch.no_grad():
            tokens = _encode(self, given.get("inputs"), regions, given.get("images"), pad_left=True)
        sent, generating = _on_their_way.set(tokens), _generating.set(True)
        try:
            return original(self, *args, **kwargs)
        finally:
            _on_their_way.reset(sent)
            _generating.reset(generating)

    generate.__signature__ = _with_regions(signature)  # type: ignore[attr-defined]
    return generate


def _with_regions(signature: inspect.Signature) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    new = [
        inspect.Parameter(f"region_{field}", inspect.Parameter.KEYWORD_ONLY, default=None)
        for field in RegionInputs._fields
    ]
    at = next((i for i, each in enumerate(parameters) if each.kind is each.VAR_KEYWORD), len(parameters))
    return signature.replace(parameters=[*parameters[:at], *new, *parameters[at:]])


def _encode(
    model: Any, input_ids: Tensor | None, regions: RegionInputs | None, images: Any, pad_left: bool
) -> _ObjectTokens | None:
    """Turn regions into object tokens, after checking that each has its placeholder."""
    if getattr(model, "object_encoder", None) is None:
        if regions is None:
            return None
        _object_encoder(model)  # the error explains how to get one
    RegionMixin.check_regions(model, input_ids, regions)  # the same check as in other hosts
    encoder = model.object_encoder
    if regions is None or not bool(regions.lengths.any()):
        if not model.training or input_ids is None:
            return None
        # No object in a training batch: run over nothing, so that every process of a distributed run has gradients.
        empty = torch.zeros((0, encoder.config.vision_hidden_size), dtype=encoder.dtype, device=encoder.device)
        return _ObjectTokens(torch.zeros_like(input_ids, dtype=torch.bool), encoder.projector(empty), pad_left)
    if images is None:
        raise PromptError("Regions were given, but no images: there is nothing to point at. Pass images as well.")
    assert input_ids is not None
    places = input_ids == model.region_token_id
    features, flat = region_features(model, input_ids, regions.for_samples(places.sum(dim=1)), images)
    moved = (value.to(encoder.device) for value in (features, flat.masks, flat.frames, flat.lengths))
    return _ObjectTokens(places, encoder(*moved).tokens, pad_left)


# ---------------------------------------------------------------------- splicing


def _wrap_splice(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def prepare_inputs_labels_for_multimodal(
        self: Any, input_ids: Tensor, attention_mask: Any, past_key_values: Any, labels: Any, images: Any
    ) -> Any:
        sent = _on_their_way.get()
        if sent is None:
            return original(self, input_ids, attention_mask, past_key_values, labels, images)
        _on_their_way.set(None)  # used now; generation calls this again for every new token
        places, tokens, pad_left = sent
        if not len(tokens):
            ids, mask, past, embeds, labels = original(
                self, input_ids, attention_mask, past_key_values, labels, images
            )
            if embeds is not None:
                embeds = _scatter(embeds, torch.zeros_like(embeds[..., 0], dtype=torch.bool), tokens)
            return ids, mask, past, embeds, labels

        # <region> may lie beyond the table, so its id is replaced by one that every table has.
        index = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        _, valid, past, embeds, source = original(
            self, input_ids.masked_fill(places, 0), torch.ones_like(input_ids), past_key_values, index, images
        )
        if embeds is None:
            raise PromptError(
                f"Regions were given, but the prompt of {input_ids.shape[1]} id(s) takes no visual. Put <video> or "
                "<image> before the question."
            )
        if source is None or source.shape != embeds.shape[:2] or valid is None or valid.shape != source.shape:
            raise PatchError(
                "prepare_inputs_labels_for_multimodal does not return labels and an attention mask for every "
                "embedding. This version is not one that the patch 'regions' is for; leave it out with skip=."
            )
        kept, at = source >= 0, source.clamp(min=0)
        places = kept & places.gather(1, at)
        embeds = _scatter(embeds, places, tokens)
        mask = valid.bool()
        if attention_mask is not None:
            # Not the original's: its positions begin with a visual, which is wrong if padding is on the left.
            mask = torch.where(kept, attention_mask.bool().gather(1, at), mask)
        if labels is not None:
            labels = torch.where(kept & ~places, labels.gather(1, at), torch.full_like(source, -100))
        if pad_left and not bool(mask.all()):
            # The original leaves padding on the right, where generation would continue after it.
            order = mask.long().argsort(dim=1, stable=True)
            embeds = embeds.gather(1, order.to(embeds.device).unsqueeze(-1).expand_as(embeds))
            mask = mask.gather(1, order)
        if attention_mask is None:
            return None, None if bool(mask.all()) else mask, past, embeds, labels
        return None, mask.to(attention_mask.dtype), past, embeds, labels

    return prepare_inputs_labels_for_multimodal


def _scatter(embeds: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Write tokens over the embeddings at `places`, row by row."""
    return embeds.masked_scatter(places.to(embeds.device).unsqueeze(-1), tokens.to(embeds.device, embeds.dtype))
