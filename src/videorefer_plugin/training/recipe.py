"""Recipes: everything that decides a training run, read from YAML."""

import difflib
import os
import types
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.parts import PARTS

__all__ = [
    "DataSettings",
    "LoraSettings",
    "ModelSettings",
    "OutputSettings",
    "PretrainSettings",
    "Recipe",
    "TrainSettings",
    "list_recipes",
    "load_recipe",
]


@dataclass
class ModelSettings:
    """What is trained.

    Attributes:
        checkpoint (`str`, *optional*):
            Folder or Hub id of the model to start from. One of the supported hosts gets an object encoder attached.
        language_model, vision_tower (`str`, *optional*):
            Instead of a checkpoint: a language model and a vision tower to build a new model from.
        processor (`str`, *optional*): where the processor is, if not with the checkpoint.
        dtype (`str`): dtype that the weights are loaded in.
        attn_implementation (`str`, *optional*): attention backend.
        max_tokens_per_region (`int`, *optional*): unions u of the object encoder; the checkpoint's by default.
        object_encoder (`str`, *optional*): folder or Hub id of an object encoder to load on top.
        vision_feature_layer (`int`, *optional*): hidden state of the tower that a new model uses; -2 by default.
    """

    checkpoint: str | None = None
    language_model: str | None = None
    vision_tower: str | None = None
    processor: str | None = None
    dtype: str = "bfloat16"
    attn_implementation: str | None = None
    max_tokens_per_region: int | None = None
    object_encoder: str | None = None
    vision_feature_layer: int | None = None


@dataclass
class DataSettings:
    """What it is trained on.

    Attributes:
        files (`list[str]`): files in the VideoRefer-700K format (JSON, JSONL or Parquet).
        media_root (`str`, *optional*): folder that media paths are relative to; each file's own by default.
        mode (`str`): `"single"`, `"multi"` or `"mixed"` frames of regions (paper, appendix B.1).
        template (`str`): `"chat"`, or `"plain"` for the first stage.
        clip (`bool`): whether conversations show their clips or images. Without them, objects are seen alone, and what
            the frozen vision tower makes of them is computed once.
        keep_features (`bool`): whether what the frozen vision tower makes of objects, clips and images is computed
            once, and kept in memory and in the output folder until the run ends, instead of in every step.
        features (`str`, *optional*): folder in which such features stay, for other runs with the same tower; what it
            holds is not computed again.
        on_bad_sample (`str`): `"error"`, or `"skip"` to count and log bad records.
        num_frames (`int`, *optional*): frames sampled from each video; the processor's by default.
        max_frames_per_region (`int`, *optional*): most frames used of a region.
        max_length (`int`, *optional*): longest conversation in tokens; longer ones lose their last turns.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`; the processor's by default.
        workers (`int`): processes that decode videos, for each training process.
    """

    files: list[str] = field(default_factory=list)
    media_root: str | None = None
    mode: str = "mixed"
    template: str = "chat"
    clip: bool = True
    keep_features: bool = False
    features: str | None = None
    on_bad_sample: str = "error"
    num_frames: int | None = None
    max_frames_per_region: int | None = None
    max_length: int | None = None
    mask_policy: str | None = None
    workers: int = 4


@dataclass
class TrainSettings:
    """How it is trained.

    Attributes:
        parts (`list[str]`): parts that are trained, out of vision_tower, connector, object_encoder, language_model.
        learning_rate (`float`): learning rate of all of them.
        learning_rates (`dict[str, float]`): learning rates of single parts that differ.
        global_batch_size (`int`): records an optimiser step, over all processes and accumulation.
        batch_size (`int`): records a process sees at once; accumulation follows.
        epochs (`float`), max_steps (`int`, *optional*): length of the run; `max_steps` wins.
        scheduler (`str`), warmup (`float`): schedule of the learning rate; warm-up in steps, or a share below 1.
        optimizer (`str`), weight_decay (`float`), max_grad_norm (`float`): as in `TrainingArguments`.
        gradient_checkpointing (`bool`): whether to trade time for memory.
        group_by (`str`, *optional*): `"modality_length"` makes batches of one modality and similar length.
        log_every, save_every (`int`): optimiser steps between logs and checkpoints.
        keep_checkpoints (`int`): how many checkpoints to keep, at least 1.
        seed (`int`): seed of everything.
    """

    parts: list[str] = field(default_factory=lambda: ["object_encoder"])
    learning_rate: float = 1e-3
    learning_rates: dict[str, float] = field(default_factory=dict)
    global_batch_size: int = 256
    batch_size: int = 8
    epochs: float = 1.0
    max_steps: int | None = None
    scheduler: str = "cosine"
    warmup: float = 0.03
    optimizer: str = "adamw_torch"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    group_by: str | None = "modality_length"
    log_every: int = 1
    save_every: int = 500
    keep_checkpoints: int = 2
    seed: int = 42


@dataclass
class LoraSettings:
    """Low-rank adaptation of the language model (needs `peft`).

    Attributes:
        rank (`int`), alpha (`int`), dropout (`float`): as in `LoraConfig`.
        targets (`list[str]`): names of the linear layers that are adapted.
    """

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


@dataclass
class OutputSettings:
    """What becomes of it.

    Attributes:
        folder (`str`): where checkpoints and the result go.
        save (`str`): `"full"` model, `"object_encoder"` alone, or PEFT `"adapter"` with object encoder.
        licence (`str`, *optional*): licence of the weights, for their card.
    """

    folder: str = "output"
    save: str = "full"
    licence: str | None = None


@dataclass
class PretrainSettings:
    """A part that is made from nothing, for models whose parts nobody has trained.

    Attributes:
        part (`str`): `"language_model"` (with its tokenizer), `"vision_tower"`, or `"connector"`, which is trained in
            the model that `model` names.
        sizes (`dict`): settings of the part's configuration, `Qwen2Config` or `SiglipVisionConfig`.
        feature_layer (`int`): hidden state of a vision tower that is trained, and that models are to use.
    """

    part: str
    sizes: dict[str, Any] = field(default_factory=dict)
    feature_layer: int = -2


@dataclass
class Recipe:
    """Everything that decides a training run.

    Attributes:
        name (`str`): what the recipe is called in logs and cards.
        description (`str`): what it trains.
        trainer (`str`): `"transformers"`, or `"videollama2"` for the trainer of the original package.
    """

    name: str = "recipe"
    description: str = ""
    trainer: str = "transformers"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    lora: LoraSettings | None = None
    pretrain: PretrainSettings | None = None
    output: OutputSettings = field(default_factory=OutputSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values."""
        return asdict(self)

    def accumulation_steps(self, processes: int) -> int:
        """Number of batches that each process adds up for an optimiser step.

        Args:
            processes (`int`): number of training processes.

        Raises:
            ConfigurationError: the global batch size is no multiple of what the processes see at once.
        """
        at_once = self.train.batch_size * processes
        if self.train.global_batch_size % at_once:
            raise ConfigurationError(
                f"train.global_batch_size={self.train.global_batch_size} is no multiple of train.batch_size="
                f"{self.train.batch_size} times {processes} process(es), which is {at_once}. Change one of them."
            )
        return self.train.global_batch_size // at_once

    def check(self) -> "Recipe":
        """Check values and how they go together.

        Raises:
            ConfigurationError: something is missing or contradicts something else.
        """
        _one_of("trainer", self.trainer, ("transformers", "videollama2"))
        _one_of("data.mode", self.data.mode, ("single", "multi", "mixed"))
        _one_of("data.template", self.data.template, ("chat", "plain"))
        _one_of("data.on_bad_sample", self.data.on_bad_sample, ("error", "skip"))
        _one_of("output.save", self.output.save, ("full", "object_encoder", "adapter"))
        _one_of("train.group_by", self.train.group_by, (None, "modality_length"))
        for part in [*self.train.parts, *self.train.learning_rates]:
            _one_of("train.parts", part, PARTS)
        if self.pretrain is not None:
            _one_of("pretrain.part", self.pretrain.part, ("language_model", "vision_tower", "connector"))
            if self.train.parts != [self.pretrain.part]:
                raise ConfigurationError(
                    f"A recipe that makes a {self.pretrain.part} has train.parts: [{self.pretrain.part}]."
                )
            named = (self.model.checkpoint, self.model.language_model, self.model.vision_tower) != (None, None, None)
            if named != (self.pretrain.part == "connector"):
                raise ConfigurationError(
                    "A recipe with a pretrain section starts from nothing, so leave out what model names; but a "
                    "connector lies between two parts, which model.checkpoint has to name."
                )
        elif (self.model.checkpoint is None) == (self.model.language_model is None):
            raise ConfigurationError(
                "A recipe starts either from model.checkpoint, or from model.language_model and model.vision_tower."
            )
        same = (self.data.mode, self.data.template) == ("multi", "chat")
        alone = {"vision_tower", "connector"}.isdisjoint(self.train.parts)
        if not self.data.clip and not (alone and same):
            raise ConfigurationError(
                "Without clips (data.clip: false), neither vision_tower nor connector are trained; take them out of "
                "train.parts, and use data.mode: multi and data.template: chat."
            )
        if self.data.keep_features and ("vision_tower" in self.train.parts or not same):
            raise ConfigurationError(
                "With data.keep_features: true, the vision tower sees everything once and is not trained; take "
                "vision_tower out of train.parts, and use data.mode: multi and data.template: chat."
            )
        if self.data.features is not None and self.data.clip and not self.data.keep_features:
            raise ConfigurationError(
                f"data.features is {self.data.features}, but no features are kept; set data.keep_features: true or "
                "data.clip: false, or leave it out."
            )
        if self.model.language_model is not None and self.model.vision_tower is None:
            raise ConfigurationError("model.language_model needs model.vision_tower beside it.")
        if (self.output.save == "adapter") != (self.lora is not None):
            raise ConfigurationError("output.save: adapter goes with a lora section, and only with one.")
        if self.output.save == "object_encoder" and self.train.parts != ["object_encoder"]:
            raise ConfigurationError("output.save: object_encoder loses what else train.parts trains; use full.")
        if self.lora is not None and "language_model" in self.train.parts:
            raise ConfigurationError(
                "With a lora section the language model is adapted, not trained; take it out of train.parts."
            )
        for name in ("global_batch_size", "batch_size", "log_every", "save_every", "keep_checkpoints"):
            if getattr(self.train, name) < 1:
                raise ConfigurationError(f"train.{name} must be at least 1, but is {getattr(self.train, name)}.")
        return self


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package, such as `"videollama2.1-7b/stage2"`."""
    root = resources.files("videorefer_plugin.recipes")
    names = []
    for group in root.iterdir():
        if group.is_dir():
            names += [f"{group.name}/{item.name[:-5]}" for item in group.iterdir() if item.name.endswith(".yaml")]
    return sorted(names)


def load_recipe(source: str | os.PathLike, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and change single settings.

    Args:
        source (`str` or `os.PathLike`): path of a YAML file, or name of a recipe that comes with the package.
        overrides (`Iterable[str]`): settings such as `"train.learning_rate=1e-4"`; values are YAML.

    Raises:
        ConfigurationError: there is no such recipe, a setting is unknown (the nearest name is given) or of the wrong
            type, or settings contradict each other.
    """
    import yaml

    text, name = _read(source)
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{source} must hold settings by name, but holds a {type(values).__name__}.")
    values.setdefault("name", name)
    for override in overrides:
        path, separator, value = override.partition("=")
        if not separator:
            raise ConfigurationError(f"Cannot read the override {override!r}; write name=value.")
        *parents, last = path.strip().split(".")
        place = values
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigurationError(f"Cannot set {path}: {parent} is no section.")
        place[last] = yaml.safe_load(value)
    return _build(Recipe, values, "").check()


def _read(source: str | os.PathLike) -> tuple[str, str]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        try:
            return path.read_text(
                encoding="utf-8"
            ), f"{path.parent.name}/{path.stem}" if path.parent.name else path.stem
        except OSError as error:
            raise ConfigurationError(f"The recipe {path} cannot be read: {error}") from error
    shipped = list_recipes()
    if os.fspath(source) not in shipped:
        close = difflib.get_close_matches(os.fspath(source), shipped, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigurationError(
            f"There is no recipe {os.fspath(source)!r}{hint} Give a .yaml file, or one of {', '.join(shipped)}."
        )
    group, name = os.fspath(source).split("/")
    file = resources.files("videorefer_plugin.recipes") / group / f"{name}.yaml"
    return file.read_text(encoding="utf-8"), os.fspath(source)


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    if value not in tuple(allowed):
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {value!r}.")


def _build(cls: Any, values: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(cls)
    known = {item.name for item in fields(cls)}
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {where}{close[0]}?" if close else f"; known are {', '.join(sorted(known))}."
            raise ConfigurationError(f"Unknown setting {where}{name}{hint}")
    return cls(**{name: _convert(value, hints[name], f"{where}{name}") for name, value in values.items()})


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Check a value against the type of its field; YAML reads 1e-3 as text."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if hint is Any or (value is None and type(None) in options):
        return value
    kind = next(option for option in options if option is not type(None))
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigurationError(f"{where} is a section of settings, but {value!r} was given.")
        return _build(kind, value, f"{where}.")
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif origin is list and isinstance(value, (list, str)):
        items = [value] if isinstance(value, str) else value
        return [_convert(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(items)]
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, origin) and not (isinstance(value, bool) and origin is not bool):
        return value
    raise ConfigurationError(f"{where} must be of type {getattr(kind, '__name__', kind)}, but is {value!r}.")
