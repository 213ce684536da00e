"""Recipes of the data engine: all settings of a run, read from YAML."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin._kinds import MAPPING, check_kind, instances
from videorefer_plugin._text import listed, short
from videorefer_plugin._yaml import apply_overrides, read_recipe, shipped_recipes
from videorefer_plugin.data_engine.agent import STAGES
from videorefer_plugin.data_engine.registry import agents
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.ranges import COUNT, LARGEST, Range, check_numbers, number
from videorefer_plugin.training.structured import plain, structured

__all__ = [
    "PRODUCTS",
    "RECIPE",
    "EngineRecipe",
    "ExecutorSettings",
    "OutputSettings",
    "SourceSettings",
    "StageSettings",
    "list_engine_recipes",
    "load_engine_recipe",
    "recipe_of",
]

PRODUCTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "short": (("analyzer", "segmentor"), ()),
    "detailed": (STAGES,),
    "qa": (("annotator", "refiner"),),
}
"""Product of a run -> the stages that it needs. Without stages, only the objects of the sources are used."""

EXECUTORS = ("local", "ray")

_FROM_ZERO = Range(0, LARGEST)


@dataclass
class SourceSettings:
    """The settings of the sources of videos, captions and objects.

    Attributes:
        layout (`str`): name of a registered layout, such as `"table"`, `"folder"` or `"panda-70m"`; see `sources`.
        files (`list[str]`): files or folders of that layout.
        media_root (`str`, *optional*): folder that paths of videos are relative to. Default: the file's folder.
        columns (`dict[str, str]`): for tables: value (`video`, `caption`, `id`, `license`, `address`, `language`) ->
            name of its column.
        license, address (`str`, *optional*): license and origin of all sources that do not name them.
        language (`str`, *optional*): code of the required language of captions, such as `"en"`; others are counted.
            `None` takes all.
        min_score (`float`, *optional*): required matching score of a caption, for layouts with scores such as
            `"panda-70m"`.
        deduplicate (`bool`): whether to leave out repeated videos and captions.
        exclude (`list[str]`): benchmark files whose videos are left out.
    """

    layout: str = "table"
    files: list[str] = field(default_factory=list)
    media_root: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    license: str | None = None
    address: str | None = None
    language: str | None = "en"
    min_score: float | None = None
    deduplicate: bool = True
    exclude: list[str] = field(default_factory=list)


@dataclass
class StageSettings:
    """The settings of a stage.

    Attributes:
        backend (`str`): name of the agent.
        settings (`dict[str, Any]`): arguments of its class.
        batch_size (`int`): number of videos in a batch.
        workers (`int`): number of concurrent batches, in threads, processes or actors.
        cpus, gpus (`float`): CPUs and GPUs of each worker, for Ray; parts of a GPU are possible.
    """

    backend: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    batch_size: int = number(1, COUNT)
    workers: int = number(1, COUNT)
    cpus: float = number(1.0, _FROM_ZERO)
    gpus: float = number(0.0, _FROM_ZERO)

    @property
    def is_unpriced(self) -> bool:
        """Whether the stage uses an endpoint without known prices."""
        asks = self.backend == "endpoint" or bool(self.settings.get("endpoint"))
        return asks and not self.settings.get("prices")


@dataclass
class ExecutorSettings:
    """The settings of the executor.

    Attributes:
        kind (`str`): `"local"`, or `"ray"` (extra `ray`).
        address (`str`, *optional*): address of a Ray cluster. By default, one is started on this machine.
    """

    kind: str = "local"
    address: str | None = None


@dataclass
class OutputSettings:
    """The settings of the output.

    Attributes:
        folder (`str`): folder of the run.
        format (`str`): format of records, `"json"` or `"parquet"`.
        pictures (`int`): number of objects to draw at the end.
        frames (`int`): most frames of an object in a record, evenly spread over those in which it is seen.
    """

    folder: str = "output/engine"
    format: str = "json"
    pictures: int = number(0, _FROM_ZERO)
    frames: int = number(32, COUNT)


@dataclass
class EngineRecipe:
    """The settings of a run of the data engine.

    Attributes:
        name, description (`str`): name and description in cards.
        product (`str`): `"short"`, `"detailed"` or `"qa"` (paper, section 3.1.2).
        seed (`int`): seed of random choices.
        analyzer, segmentor, annotator, captioner, reviewer, refiner ([`StageSettings`], *optional*): stages that the
            product needs.
    """

    name: str = "recipe"
    description: str = ""
    product: str = "detailed"
    seed: int = number(0, _FROM_ZERO)
    source: SourceSettings = field(default_factory=SourceSettings)
    analyzer: StageSettings | None = None
    segmentor: StageSettings | None = None
    annotator: StageSettings | None = None
    captioner: StageSettings | None = None
    reviewer: StageSettings | None = None
    refiner: StageSettings | None = None
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, which [`recipe_of`] reads without resolving references."""
        return plain(self)

    def stages(self) -> dict[str, StageSettings]:
        """Return the stages of the run, in their order."""
        found = {stage: getattr(self, stage) for stage in STAGES}
        return {stage: settings for stage, settings in found.items() if settings is not None}

    def check(self) -> EngineRecipe:
        """Check values and their combinations. Agents check their own settings in their constructors.

        Raises:
            ConfigurationError: a value is unknown or out of range, or a stage is missing or not used by the product.
        """
        check_numbers(self)
        _one_of("product", self.product, PRODUCTS)
        _one_of("executor.kind", self.executor.kind, EXECUTORS)
        if self.executor.kind == "local" and self.executor.address is not None:
            raise ConfigurationError(
                f"executor.address is {short(self.executor.address)}, but executor.kind is 'local'. Set executor.kind "
                "to 'ray', or leave the address out."
            )
        _one_of("output.format", self.output.format, ("json", "parquet"))
        if not self.output.folder.strip():
            raise ConfigurationError("output.folder is empty. Name the folder of the run.")
        for name in ("files", "exclude"):
            for index, path in enumerate(getattr(self.source, name)):
                if not path.strip():
                    raise ConfigurationError(f"source.{name}[{index}] is empty. Name a file or a folder.")
        self._check_stages()
        return self

    def _check_stages(self) -> None:
        stages, known = self.stages(), agents()
        allowed = PRODUCTS[self.product]
        if tuple(stages) not in allowed:
            wanted = " or ".join(listed(names, len(STAGES)) or "none" for names in allowed)
            missing = [stage for stage in allowed[0] if stage not in stages]
            more = [stage for stage in stages if stage not in allowed[0]]
            fault = [f"{listed(missing)} missing"] * bool(missing) + [f"{listed(more)} not used"] * bool(more)
            raise ConfigurationError(
                f"The product {self.product!r} needs these stages: {wanted}; in this recipe, {' and '.join(fault)}. "
                "Give each that it needs a backend, and set others to null."
            )
        for stage, settings in stages.items():
            name = settings.backend
            if name.count(":") != 1 and name not in known[stage]:
                raise ConfigurationError(
                    f"{stage}.backend is {short(name)}; expected one of {listed(known[stage], 20)}, or "
                    "'package.module:Class' of your own."
                )


def list_engine_recipes() -> list[str]:
    """Return the names of the packaged recipes of the data engine, such as `"engine/detailed"`."""
    return shipped_recipes(engine=True)


def load_engine_recipe(source: str | os.PathLike, overrides: Iterable[str] = ()) -> EngineRecipe:
    """Read a recipe of the data engine, and change single settings.

    Values may refer to other values, such as `${output.folder}/clips`, and to the environment, `${oc.env:HOME}`.

    Args:
        source (`str` or `os.PathLike`): path of a YAML file, or name of a packaged recipe.
        overrides (`Iterable[str]`): settings such as `"annotator.batch_size=4"`; values are YAML.

    Raises:
        ConfigurationError: the recipe is unknown, a setting is unknown (the message suggests the nearest name) or has
            the wrong type, a number is out of range, or stages are missing or not used by the product.
    """
    values = read_recipe(source, list_engine_recipes(), shipped_recipes())
    apply_overrides(values, overrides)
    return recipe_of(values)


def recipe_of(values: Mapping[str, Any]) -> EngineRecipe:
    """Return the recipe of plain values, with references resolved.

    Raises:
        ConfigurationError: see [`load_engine_recipe`].
    """
    check_kind(ConfigurationError, MAPPING, values=values)
    return structured(EngineRecipe, values, "engine").check()


RECIPE = instances(EngineRecipe, hint="load_engine_recipe reads one.")


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    if value not in tuple(allowed):
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {short(value)}.")
