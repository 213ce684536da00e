"""Recipes: all settings of a training run, read from YAML."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from videorefer_plugin._kinds import LIST, check_kind
from videorefer_plugin._text import listed, short
from videorefer_plugin._yaml import apply_overrides, read_recipe, shipped_recipes
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.object_encoder import MASK_POLICIES
from videorefer_plugin.training import choices
from videorefer_plugin.training.extra import check_extra
from videorefer_plugin.training.parts import PARTS
from videorefer_plugin.training.ranges import check_numbers
from videorefer_plugin.training.secrets import without_secrets
from videorefer_plugin.training.settings import (
    DataFile,
    DataSettings,
    LoraSettings,
    ModelSettings,
    OutputSettings,
    PretrainSettings,
    TrainSettings,
)
from videorefer_plugin.training.structured import plain, references, structured

__all__ = [
    "DataFile",
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
class Recipe:
    """All settings of a training run.

    Attributes:
        name (`str`): name of the recipe in logs and cards.
        description (`str`): description of the training.
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

    def environment(self) -> dict[tuple[str | int, ...], str]:
        """Return references by the path of their setting, if the recipe refers to the environment."""
        return {path: text for path, (text, _) in self._references.items()}

    _references: ClassVar[dict[tuple[str | int, ...], tuple[str, Any]]] = {}

    def to_dict(self, *, references: bool = False) -> dict[str, Any]:
        """Return the recipe as plain values, in which all references are resolved.

        Args:
            references (`bool`, *optional*, defaults to `False`):
                Whether a recipe that refers to the environment keeps its references (`${oc.env:NAME}`) instead of
                their values, which may be secret and must not be published.
        """
        values = plain(self)
        for path, (text, made) in self._references.items() if references else ():
            if (there := _at(values, path)) != made:
                continue
            if isinstance(there, dict):  # a section stays one
                _hide_texts(there, text)
            else:
                _at(values, path[:-1])[path[-1]] = text
        return values

    def accumulation_steps(self, processes: int) -> int:
        """Return the number of batches that each process accumulates for an optimizer step.

        Args:
            processes (`int`): number of training processes.

        Raises:
            ConfigurationError: the global batch size is not a multiple of the records of all processes at once.
        """
        at_once = self.train.batch_size * processes
        if self.train.global_batch_size % at_once:
            raise ConfigurationError(
                f"train.global_batch_size={self.train.global_batch_size} is not a multiple of train.batch_size="
                f"{self.train.batch_size} times {processes} process(es), which is {at_once}. Change one of them."
            )
        return self.train.global_batch_size // at_once

    def check(self) -> "Recipe":
        """Check values and their combinations.

        Raises:
            ConfigurationError: a value is unknown or out of its range, or something is missing or contradicts
                something else.
        """
        check_numbers(self)
        _one_of("trainer", self.trainer, ("transformers", "videollama2"))
        _one_of("data.mode", self.data.mode, ("single", "multi", "mixed"))
        _one_of("data.template", self.data.template, ("chat", "plain"))
        _one_of("data.on_bad_sample", self.data.on_bad_sample, ("error", "skip"))
        _one_of("output.save", self.output.save, ("full", "object_encoder", "adapter"))
        _one_of("train.group_by", self.train.group_by, (None, "modality_length"))
        _one_of("data.mask_policy", self.data.mask_policy, (None, *MASK_POLICIES))
        _one_of("model.dtype", self.model.dtype, choices.DTYPES)
        _one_of("train.optimizer", self.train.optimizer, choices.optimizers())
        choices.check_optimizer(self.train.optimizer)
        _one_of("train.scheduler", self.train.scheduler, choices.schedulers())
        choices.check_attention(self.model.attn_implementation)
        self._check_parts()
        choices.check_reports(self.train.report_to)
        extra = choices.extra_arguments(self.train.extra)
        check_extra(extra, workers=self.data.workers, evaluates=bool(self.data.eval_files))
        self._check_files()
        if not self.output.folder.strip():
            raise ConfigurationError("output.folder is empty. Name the folder that checkpoints and the result go to.")
        if self.lora is not None:
            choices.check_targets(self.lora.targets)
        if self.pretrain is not None:
            _one_of("pretrain.part", self.pretrain.part, ("language_model", "vision_tower", "connector"))
            choices.check_sizes(self.pretrain)
            if self.train.parts != [self.pretrain.part]:
                raise ConfigurationError(
                    f"A recipe that makes a {self.pretrain.part} has train.parts: [{self.pretrain.part}]."
                )
            self._check_exercise(self.pretrain)
            named = (self.model.checkpoint, self.model.language_model, self.model.vision_tower) != (None, None, None)
            if named != (self.pretrain.part == "connector" or self.pretrain.exercise is not None):
                raise ConfigurationError(
                    "A recipe with a pretrain section starts from scratch, so leave out the model section; but a "
                    "connector lies between two parts, and an exercise needs a language model, which model.checkpoint "
                    "has to name."
                )
        elif (self.model.checkpoint is None) == (self.model.language_model is None):
            raise ConfigurationError(
                "A recipe starts either from model.checkpoint, or from model.language_model and model.vision_tower."
            )
        self._check_computed_once()
        if self.data.features is not None and self.data.clip and not self.data.keep_features:
            raise ConfigurationError(
                f"data.features is {self.data.features}, but no features are kept; set data.keep_features: true or "
                "data.clip: false, or leave it out."
            )
        if self.model.language_model is not None and self.model.vision_tower is None:
            raise ConfigurationError("model.language_model needs model.vision_tower as well.")
        if (self.output.save == "adapter") != (self.lora is not None):
            raise ConfigurationError("output.save: adapter goes with a lora section, and only with one.")
        if self.output.save == "object_encoder" and self.train.parts != ["object_encoder"]:
            raise ConfigurationError("output.save: object_encoder loses the other parts of train.parts; use full.")
        if self.lora is not None and "language_model" in self.train.parts:
            raise ConfigurationError(
                "With a lora section the language model is adapted, not trained; take it out of train.parts."
            )
        return self

    def _check_computed_once(self) -> None:
        """Features that are computed once need frozen parts, and the same prompts in all epochs."""
        if self.data.clip and not self.data.keep_features:
            return
        setting = "data.keep_features: true" if self.data.clip else "data.clip: false"
        frozen = {"vision_tower"} if self.data.clip else {"vision_tower", "connector"}
        wanted = [
            f"data.{name}: {value} (it is {getattr(self.data, name)})"
            for name, value in (("mode", "multi"), ("template", "chat"))
            if getattr(self.data, name) != value
        ]
        wanted += [f"train.parts without {part}" for part in self.train.parts if part in frozen]
        if wanted:
            raise ConfigurationError(f"{setting} needs {listed(wanted)}. Change that, or leave {setting} out.")

    def _check_files(self) -> None:
        for name in ("files", "eval_files"):
            for index, entry in enumerate(getattr(self.data, name)):
                where = f"data.{name}[{index}]"
                if not isinstance(entry, (str, DataFile)):
                    raise ConfigurationError(f"{where} must be a file's name or a DataFile, but is {short(entry)}.")
                if not (entry if isinstance(entry, str) else entry.file).strip():
                    raise ConfigurationError(f"{where} is empty. Name a file of records.")
        if (self.train.eval_every is None) != (not self.data.eval_files):
            given, lacking = ("data.eval_files", "train.eval_every, the steps between two evaluations")
            if self.train.eval_every is not None:
                given, lacking = "train.eval_every", "data.eval_files, the files that the loss is computed on"
            raise ConfigurationError(f"{given} needs {lacking}. Give both, or leave both out.")
        if self.pretrain is not None and self.data.eval_files:
            raise ConfigurationError(
                "A recipe with a pretrain section makes a part, of which nothing is evaluated. Leave data.eval_files "
                "and train.eval_every out."
            )

    def _check_exercise(self, settings: PretrainSettings) -> None:
        _one_of("pretrain.exercise", settings.exercise, (None, "colors", "words", "options"))
        if settings.exercise is None:
            return
        if settings.part != "language_model" or settings.sizes:
            raise ConfigurationError(
                "pretrain.exercise is for a language model that model.checkpoint names: set pretrain.part to "
                "language_model, and leave pretrain.sizes out."
            )
        if self.train.max_steps in (None, -1) or self.train.group_by is not None:
            raise ConfigurationError(
                "pretrain.exercise generates records without end: set train.max_steps, the largest number of steps, "
                "and train.group_by to null."
            )

    def _check_parts(self) -> None:
        for name, parts in (("train.parts", self.train.parts), ("train.learning_rates", self.train.learning_rates)):
            for part in parts:
                _one_of(name, part, PARTS)
        _each_once("train.parts", self.train.parts)
        if not self.train.parts and self.lora is None:
            raise ConfigurationError(
                f"train.parts is empty, so nothing would be trained. Name some of {', '.join(PARTS)}, or give a lora "
                "section."
            )
        trained = [*self.train.parts, *(["language_model"] if self.lora is not None else [])]  # of the adapter
        for part in self.train.learning_rates:
            if part not in trained:
                raise ConfigurationError(
                    f"train.learning_rates has a rate for {part}, which is not trained. Take it out, or name {part} "
                    "in train.parts."
                )


def list_recipes() -> list[str]:
    """Return the names of the recipes in the package, such as `"videollama2.1-7b/stage2"`."""
    return shipped_recipes()


def load_recipe(source: str | os.PathLike, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe, and change single settings.

    If an override changes `train.parts`, learning rates in the file for removed parts are dropped.

    Args:
        source (`str` or `os.PathLike`): path of a YAML file, or name of a recipe in the package.
        overrides (`Iterable[str]`): settings such as `"train.learning_rate=1e-4"`; values are YAML.

    Raises:
        ConfigurationError: there is no such recipe, a setting is unknown (the nearest name is given) or of the wrong
            type, a number is out of its range, or settings contradict each other.
    """
    check_kind(ConfigurationError, LIST, overrides=overrides)
    values = read_recipe(source, list_recipes(), shipped_recipes(engine=True))
    overrides = list(overrides)
    apply_overrides(values, overrides)
    _rename_old(values)
    _take_rates_along(values, {override.partition("=")[0].strip() for override in overrides})
    found = references(values)
    with without_secrets(found.values()):
        recipe = structured(Recipe, values, "train").check()
    if any("oc.env" in text for text in found.values()):
        made = plain(recipe)
        recipe._references = {path: (text, _at(made, path)) for path, text in found.items()}  # type: ignore[misc]
    return recipe


def _rename_old(values: dict[str, Any]) -> None:
    """Read settings of older recipes, which spell `output.license` with c."""
    output = values.get("output")
    if isinstance(output, dict) and "licence" in output and "license" not in output:
        output["license"] = output.pop("licence")


def _at(values: Any, path: tuple[str | int, ...]) -> Any:
    """Return the value at a path of plain values; a text that became a list of one stands for that list."""
    try:
        for part in path:
            values = values[part]
    except (IndexError, KeyError, TypeError):
        return None
    return values


def _hide_texts(values: Any, text: str) -> None:
    """Replace the texts of a section by the reference from which it came."""
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (dict, list)):
            _hide_texts(value, text)
        elif isinstance(value, str):
            values[name] = text


def _take_rates_along(values: dict[str, Any], changed: set[str]) -> None:
    """Drop the rates of parts that an override has removed, unless rates were given as well."""
    train = values.get("train")
    given_rates = any(name.startswith("train.learning_rates") for name in changed)
    if "train.parts" not in changed or given_rates or not isinstance(train, dict):
        return
    rates, parts = train.get("learning_rates"), train.get("parts")
    parts = [parts] if isinstance(parts, str) else parts
    if isinstance(rates, dict) and isinstance(parts, list):
        adapted = ["language_model"] if values.get("lora") is not None else []
        train["learning_rates"] = {part: rate for part, rate in rates.items() if part in [*parts, *adapted]}


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    if value not in tuple(allowed):
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {short(value)}.")


def _each_once(name: str, values: list[str]) -> None:
    double = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if double is not None:
        raise ConfigurationError(f"{name} names {short(double)} twice. Name everything once.")
