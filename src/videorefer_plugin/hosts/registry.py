"""The description of a host, and the registry of known hosts."""

import copy
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from videorefer_plugin._plugins import load_plugins
from videorefer_plugin._text import listed
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.hosts.grids import FrameGrids, VisualGrid
from videorefer_plugin.models.gradients import no_grad_if_frozen
from videorefer_plugin.models.videorefer.feature_rows import token_counts
from videorefer_plugin.object_encoder.checks import not_finite

_PROCESSOR_SETTINGS = ("return_mm_token_type_ids", "return_text_replacement_offsets")  # before transformers 5.24

__all__ = ["Host", "Visual", "first_rows", "host_of", "hosts_with_images", "register_host", "supported_hosts"]


class Visual(NamedTuple):
    """A video or image of a batch.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        num_frames (`int`): frames shown to the model; 1 for an image.
        sample (`int`): index of its prompt in the batch.
    """

    kind: str
    num_frames: int
    sample: int = 0


class Host:
    """A family of Video LLMs that an object encoder can be attached to.

    A subclass describes the frame features of the family and their order; the defaults here are those of
    hosts that encode frame by frame on a square grid. An instance of it is registered with [`register_host`].

    Rows of features are counted within a sample: the frames of its videos first, then its images.

    Example: Qwen2-VL orders features as Qwen3-VL does, so two lines describe it.

    ```python
    from videorefer_plugin.hosts import register_host
    from videorefer_plugin.hosts.qwen3_vl import Qwen3VLHost

    class Qwen2VLHost(Qwen3VLHost):
        model_type = "qwen2_vl"
        processor_names = ("Qwen2VLProcessor",)

        def vision_width(self, config):
            return config.vision_config.embed_dim

    register_host(Qwen2VLHost())
    ```

    Attributes:
        model_type (`str`): `config.model_type` of its models.
        processor_names (`tuple[str, ...]`): class names of its processors.
        encoders (`dict[str, tuple[str, str]]`):
            For each kind of visual, the argument of `forward` that holds its pixels and the method of the base model
            that takes them as its first argument.
        tower_name (`str`): attribute of the base model that is its vision tower; see [`Host.tower`].
        equal_frames (`bool`): whether all videos of a batch need equally many frames.
        places_images (`bool`): whether regions can lie on images; otherwise on videos only.
        takes_crops (`bool`): whether its tower takes single crops; it must have `encode_crops` then.
    """

    model_type: str = ""
    processor_names: tuple[str, ...] = ()
    encoders: dict[str, tuple[str, str]] = {  # noqa: RUF012 - read only
        "video": ("pixel_values_videos", "get_video_features"),
        "image": ("pixel_values", "get_image_features"),
    }
    tower_name: str = "vision_tower"
    equal_frames: bool = True
    places_images: bool = False
    takes_crops: bool = False

    def vision_width(self, config: Any) -> int:
        """Width of the features, from the model's configuration."""
        layers = self.feature_layer(config)
        return config.vision_config.hidden_size * (len(layers) if isinstance(layers, (list, tuple)) else 1)

    def language_width(self, config: Any) -> int:
        """Width of the language model, from the model's configuration."""
        return config.get_text_config().hidden_size

    def patch_size(self, model: Any) -> int:
        """Side of a cell of the feature grid, in pixels of what the host's processor returns."""
        size = model.config.vision_config.patch_size
        return size[0] if isinstance(size, (list, tuple)) else size

    def feature_layer(self, config: Any) -> int | list[int] | None:
        """The hidden state of the tower that is used as features; `None` for its output."""
        return getattr(config, "vision_feature_layer", None)

    def tower(self, model: Any) -> nn.Module:
        """Return the vision tower of a model: by default the module of its base model named `tower_name`.

        Raises:
            ConfigurationError: there is no such module.
        """
        tower = getattr(model.base_model, self.tower_name, None)
        if not isinstance(tower, nn.Module):
            children = ", ".join(name for name, _ in model.base_model.named_children())
            raise ConfigurationError(
                f"The {self.model_type} host says that the vision tower of {type(model.base_model).__name__} is its "
                f"{self.tower_name!r}, but that has only {children}. Set tower_name of {type(self).__name__}, or "
                "override its method tower."
            )
        return tower

    def check_pixels(self, kind: str, pixels: Any, inputs: dict[str, Any]) -> None:
        """Check visuals of one kind before the vision tower runs; by default, that they are finite numbers.

        Args:
            kind (`str`): `"video"` or `"image"`.
            pixels (`torch.Tensor` or `list[torch.Tensor]`): the argument named in `encoders`.
            inputs (`dict`): all keyword arguments of `forward`.

        Raises:
            TensorError: not floating-point tensors, another shape, NaN or infinity.
        """
        name = self.encoders[kind][0]
        for part in pixels if isinstance(pixels, (list, tuple)) else [pixels]:
            if not isinstance(part, Tensor) or not part.is_floating_point() or not part.numel():
                given = f"a {type(part).__name__}"
                if isinstance(part, Tensor):
                    given = f"of shape {tuple(part.shape)} and dtype {part.dtype}"
                raise TensorError(
                    f"{name} must be a floating-point tensor of preprocessed frames, but is {given}. Let the "
                    "processor make it, with return_tensors='pt'."
                )
            what, bad = not_finite(part)
            if what:
                raise TensorError(
                    f"{name} holds {what} at index {listed(bad)} of its first dimension; the processor makes none."
                )

    def encode(self, model: Any, inputs: dict[str, Any], encoded: dict[str, Any] | None) -> dict[str, Any]:
        """Run the vision tower once, and take the pixels out of `inputs`.

        Args:
            model (`PreTrainedModel`): the host.
            inputs (`dict`): keyword arguments of its `forward`.
            encoded (`dict`, *optional*): earlier outputs, by kind, which are kept.

        Returns:
            `dict[str, BaseModelOutputWithPooling]`: the host's `mm_encoder_outputs`.

        Raises:
            TensorError: the same kind of visual is given both as pixels and encoded.
        """
        encoded = dict(encoded or {})
        for kind, (pixels, method) in self.encoders.items():
            if inputs.get(pixels) is None:
                continue
            if encoded.get(kind) is not None:
                raise TensorError(f"{pixels} and mm_encoder_outputs[{kind!r}] were both given. Leave one out.")
            encode = getattr(model.base_model, method)
            _, *others = inspect.signature(encode).parameters
            arguments = {name: inputs[name] for name in others if name in inputs}
            values = inputs.pop(pixels)
            # Only values show which visuals are equal, and a model that is being compiled has no values.
            parts = [part for part in (values if isinstance(values, list) else [values]) if isinstance(part, Tensor)]
            once = not torch.compiler.is_compiling() and not any(part.requires_grad for part in parts)
            run = self.encode_distinct if once or isinstance(values, list) else _encode
            with no_grad_if_frozen(_visual_parameters(model), *parts):
                encoded[kind] = run(encode, kind, values, arguments)
        return encoded

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """Run the vision tower on the distinct visuals; by default, on all of them.

        Args:
            encode (`Callable`): the method of the base model.
            kind (`str`): `"video"` or `"image"`.
            pixels (`torch.Tensor`): its first argument.
            arguments (`dict`): its other arguments.

        Returns:
            `BaseModelOutputWithPooling`: the result of `encode` for all visuals.
        """
        return _encode(encode, kind, pixels, arguments)

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return how many rows of features each visual has, and how many positions of the prompt it fills.

        A visual may also be given in parts, such as its frames, as long as rows and positions correspond. By default
        every visual has equally many rows.

        Args:
            model (`PreTrainedModel`): the host.
            kind (`str`): `"video"` or `"image"`.
            output (`BaseModelOutputWithPooling`): the result of `encode` for that kind.
            inputs (`dict`): the other keyword arguments of `forward`.

        Returns:
            `tuple[torch.LongTensor, torch.LongTensor]`: both of shape `(num_visuals,)`, in prompt order.

        Raises:
            TensorError: the rows cannot be shared out evenly.
        """
        tokens = token_counts(output.pooler_output)
        rows = len(output.last_hidden_state)
        if rows % max(len(tokens), 1):
            raise TensorError(
                f"The {rows} row(s) of features of {len(tokens)} {kind}(s) cannot be shared out evenly. Let "
                f"{type(self).__name__} say in a method visual_rows how many belong to each."
            )
        return torch.full_like(tokens, rows // max(len(tokens), 1)), tokens

    def placeholder_id(self, config: Any, kind: str) -> int:
        """Return the id of the placeholder of a kind of visual, from the model's configuration."""
        return getattr(config, f"{kind}_token_id")

    def lay_out(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> FrameGrids:
        """Arrange features on their grids.

        Args:
            model (`PreTrainedModel`): the host.
            kind (`str`): `"video"` or `"image"`.
            output (`BaseModelOutputWithPooling`): the result of `encode` for that kind.
            inputs (`dict`): the other keyword arguments of `forward`.
        """
        return FrameGrids.uniform(self.select_features(model.config, output))

    def select_features(self, config: Any, output: Any) -> Tensor:
        """Return features of shape `(num_rows, height * width, vision_hidden_size)`, without class tokens."""
        return output.last_hidden_state

    def settings(self, processor: Any) -> set[str]:
        """Return the names of the settings that the host's processor takes in a call, besides those of tokenizers."""
        names = {"add_special_tokens", *_PROCESSOR_SETTINGS}
        for group, kinds in typing.get_type_hints(processor.valid_processor_kwargs).items():
            names |= set(getattr(kinds, "__annotations__", (group,)))
        for part in ("image_processor", "video_processor"):
            taken = getattr(getattr(processor, part, None), "valid_kwargs", None)
            names |= set(getattr(taken, "__annotations__", ()))
        return names

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """Call the host's processor on frames that are already chosen.

        Args:
            processor (`ProcessorMixin`): the host's processor.
            text (`list[str]`): prompts.
            visuals (`dict[str, list]`): arrays `(frames, height, width, 3)` as `"video"`, and images as `"image"`.
            metadata (`list[VideoMetadata]`): the indices of these frames, for each video.
            settings (`dict`): settings of the processor's own call.
        """
        if visuals["video"]:
            settings = {**settings, "video_metadata": metadata, "do_sample_frames": False}
        return processor(
            text=text,
            videos=visuals["video"] or None,
            images=visuals["image"] or None,
            **{"return_tensors": "pt", **settings},
        )

    def with_parts(self, processor: Any, wrap: Callable[[Any], Any]) -> Any:
        """Return a copy of the host's processor, with other parts that preprocess visuals.

        Args:
            processor (`ProcessorMixin`): the host's processor.
            wrap (`Callable`): takes an image or video processor, and returns its replacement.
        """
        own = copy.copy(processor)
        for name in ("image_processor", "video_processor"):
            if getattr(processor, name, None) is not None:
                setattr(own, name, wrap(getattr(processor, name)))
        return own

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """Return the positions of each visual's features.

        Args:
            processor (`ProcessorMixin`): the host's processor.
            outputs (`dict`): the outputs of the processor.
            visuals (`Sequence[Visual]`): the videos and images of the batch, in order of the prompts.
            patch_size (`int`): the model's [`Host.patch_size`].

        Returns:
            `list[VisualGrid | None]`: one for each visual; `None` if regions cannot be placed on it. Rows are counted
                within the sample: those of its videos, then those of its images.
        """
        grids: list[VisualGrid | None] = []
        for visual, row in zip(visuals, first_rows(visuals, [visual.num_frames for visual in visuals]), strict=True):
            if visual.kind == "video" and row is not None:
                height, width = outputs[self.encoders["video"][0]].shape[-2:]
                grids.append(VisualGrid(row, (height // patch_size, width // patch_size)))
            else:
                grids.append(None)
        return grids


def _encode(encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
    return encode(pixels, **arguments, return_dict=True)


def first_rows(visuals: Sequence[Visual], rows: Sequence[int | None], prompt_order: bool = False) -> list[int | None]:
    """Return the first row of each visual among those of its sample.

    Args:
        visuals (`Sequence[Visual]`): the videos and images of the batch, in order of the prompts.
        rows (`Sequence[int | None]`): number of rows of each; `None` if unknown.
        prompt_order (`bool`, *optional*, defaults to `False`):
            Whether rows follow the prompt, as where videos and images share a tensor; otherwise videos come first.

    Returns:
        `list[int | None]`: `None` after a visual with an unknown number of rows.
    """
    first: list[int | None] = [None] * len(visuals)
    following: dict[int, int | None] = {}
    for kinds in (("video", "image"),) if prompt_order else (("video",), ("image",)):
        for place, (visual, count) in enumerate(zip(visuals, rows, strict=True)):
            if visual.kind in kinds:
                row = first[place] = following.get(visual.sample, 0)
                following[visual.sample] = None if row is None or count is None else row + count
    return first


def _visual_parameters(model: Any) -> Iterator[nn.Parameter]:
    """The parameters of the vision tower and its connector, and no others."""
    decoder = model.get_decoder()
    for module in model.base_model.children():
        if module is not decoder:
            yield from module.parameters()
    yield from (value for _, value in model.base_model.named_parameters(recurse=False))


_HOSTS: dict[str, Host] = {}


def register_host(host: Host) -> Host:
    """Register a host for [`attach_object_encoder`], [`load_object_encoder`] and [`RegionProcessor`].

    An installed package calls it from an entry point of the group `videorefer_plugin.plugins`.

    Args:
        host ([`Host`]): an instance of the host's class; see there for an example.

    Returns:
        [`Host`]: the same.

    Raises:
        ConfigurationError: it is not a host, lacks a model type or processors, or its model type is registered.
    """
    if not isinstance(host, Host):
        raise ConfigurationError(f"register_host takes an instance of a Host subclass, but got {host!r}.")
    missing = [name for name in ("model_type", "processor_names", "encoders") if not getattr(host, name)]
    if missing:
        raise ConfigurationError(f"{type(host).__name__} lacks {', '.join(missing)}; set it in the class.")
    known = _HOSTS.get(host.model_type)
    if known is not None:
        raise ConfigurationError(
            f"A host for model type {host.model_type!r} is registered already, {type(known).__qualname__} of "
            f"{type(known).__module__}. Give {type(host).__qualname__} a model_type of its own."
        )
    _HOSTS[host.model_type] = host
    return host


def supported_hosts() -> tuple[str, ...]:
    """Return the model types that an object encoder can be attached to, in alphabetical order."""
    load_plugins()
    return tuple(sorted(_HOSTS))


def hosts_with_images() -> tuple[str, ...]:
    """Return the model types of hosts with regions on images, in alphabetical order."""
    return tuple(name for name in supported_hosts() if _HOSTS[name].places_images)


def host_of(model_type: Any) -> Host:
    """Find a host by `config.model_type`.

    Raises:
        ConfigurationError: the host is unknown; the message lists the known ones and how to add one.
    """
    if isinstance(model_type, str) and model_type not in _HOSTS:
        load_plugins()
    host = _HOSTS.get(model_type) if isinstance(model_type, str) else None
    if host is None:
        raise ConfigurationError(
            f"No host is known for model type {model_type!r}; supported are {', '.join(supported_hosts())}. Describe "
            "it in a subclass of videorefer_plugin.hosts.Host and pass that to register_host; Host shows an example."
        )
    return host
