"""The keys of features of frames: the content of the frame, and how the feature was computed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from videorefer_plugin.errors import ConfigurationError

__all__ = ["FeatureKey", "adapters_in_use", "preprocessing_digest", "text_digest", "tower_revision"]

# What a configuration says of where it comes from; a tower's dtype is that of its weights.
_ASIDE = ("_name_or_path", "transformers_version", "architectures", "dtype")
_OF_PLACE = ("_processor_class", "processor_class", "auto_map")  # the same of an image processor
_Signature = tuple[tuple[Any, ...], ...]
_weights: "WeakKeyDictionary[nn.Module, tuple[_Signature, str]]" = WeakKeyDictionary()


class FeatureKey(NamedTuple):
    """The key that identifies a feature.

    Attributes:
        content (`str`): digest of the visual's content ([`Video.digest`]), or of pixels that are preprocessed already.
        frame (`int`): frame, in the numbering of the source; 0 for rows of packed pixels.
        preprocessing (`str`): digest of how frames are preprocessed ([`preprocessing_digest`]); empty for digests of
            pixels.
        tower (`str`): revision of the vision tower ([`tower_revision`]), followed by the form of the features if they
            are not the tower's own, such as `"/pooled"`.
    """

    content: str
    frame: int
    preprocessing: str
    tower: str


def tower_revision(tower: nn.Module, *ways: Any) -> str:
    """Return the digest of a vision tower, which changes with its weights and its configuration.

    Towers that are equal have the same, whichever object they are. Digesting the weights takes a second for 1 GB, so
    that is kept until a weight is changed or replaced. Changes through `.data`, which torch does not count, are only
    noticed if they reach the middle of a weight.

    Args:
        tower (`nn.Module`): the tower; its `config` counts too, if it has one.
        ways: what else features depend on, such as the layer that they are taken from; anything JSON can hold.

    Raises:
        ConfigurationError: weights of the tower are not in memory.
    """
    state = dict(sorted(tower.state_dict().items()))
    absent = next((name for name, value in state.items() if value.is_meta), None)
    if absent is not None:
        raise ConfigurationError(
            f"{absent} of the vision tower is not in memory (it lies on the meta device), so that its features cannot "
            "be told from those of other towers. Load the tower's weights, or do not offload them."
        )
    signature = _signature(state)
    known = _weights.get(tower)
    if known is None or known[0] != signature:
        known = signature, _weights_digest(state)
        _weights[tower] = known
    config: Any = getattr(tower, "config", None)
    says = config.to_dict() if hasattr(config, "to_dict") else {}
    says = {key: value for key, value in says.items() if key not in _ASIDE}
    return text_digest(_as_json([known[1], says, adapters_in_use(tower), *ways]))


def adapters_in_use(module: nn.Module) -> list[tuple[str, bool, list[str]]]:
    """The PEFT adapters that the layers of a module use, which can change without any change of a weight.

    Returns:
        `list[tuple[str, bool, list[str]]]`: name of each layer with adapters, whether they are disabled, and which are
        active.
    """
    return [
        (name, bool(layer.disable_adapters), [str(adapter) for adapter in layer.active_adapters])
        for name, layer in module.named_modules()
        if hasattr(layer, "active_adapters") and hasattr(layer, "disable_adapters") and hasattr(layer, "base_layer")
    ]


def preprocessing_digest(processor: Any, *ways: Any, **settings: Any) -> str:
    """Return the digest of the preprocessing of frames.

    Args:
        processor: an image processor of transformers, or a processor that has one and an `image_aspect_ratio`.
        ways: what else pixels depend on; anything JSON can hold.
        settings: of the call, instead of the processor's own, such as `image_aspect_ratio` or `do_rescale`. Those that
            are `None` say nothing.
    """
    image_processor = getattr(processor, "image_processor", processor)
    says = {name: value for name, value in image_processor.to_dict().items() if name not in _OF_PLACE}
    says["image_aspect_ratio"] = getattr(processor, "image_aspect_ratio", None)
    says |= {name: value for name, value in settings.items() if value is not None}
    return text_digest(_as_json([type(image_processor).__name__, says, *ways]))


@torch.no_grad()
def _signature(state: Mapping[str, Tensor]) -> _Signature:
    """What changes if a weight does, and takes no time to see."""
    counted = [(name, each.data_ptr(), -1 if each.is_inference() else each._version) for name, each in state.items()]
    middles: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for value in state.values():
        if value.numel():
            middle = value[tuple(size // 2 for size in value.shape)]
            if value.element_size() == 1 and value.is_floating_point():  # float8, which is not stacked everywhere
                middle = middle.float()
            middles.setdefault((middle.device, middle.dtype), []).append(middle)
    probes = [torch.stack(own).tolist() for own in middles.values()]
    return tuple(counted), tuple(map(tuple, probes)), tuple(value.dtype for value in state.values())


def _weights_digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in state.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def text_digest(text: str, size: int = 16) -> str:
    """Hexadecimal digest of a text, of so many bytes."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
