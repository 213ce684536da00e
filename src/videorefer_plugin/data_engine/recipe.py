"""Recipes of the data engine: everything that decides a run, read from YAML."""

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
"""What a run can make -> the stages that it needs; with none, the objects that sources give are all there is."""

EXECUTORS = ("local", "ray")

_FROM_ZERO = Range(0, LARGEST)


@dataclass
class SourceSettings:
    """Where videos, captions and objects come from.

    Attributes:
        layout (`str`): a registered layout, such as `"table"`, `"folder"` or `"panda-70m"`; see `sources`.
        files (`list[str]`): files or folders of that layout.
        media_root (`str`, *optional*): folder that relative paths of videos start from; that of the file by default.
        columns (`dict[str, str]`): for tables: what is wanted (`video`, `caption`, `id`, `license`, `address`,
            `language`) -> the column's name there.
        license, address (`str`, *optional*): of all sources that do not say it themselves.
        language (`str`, *optional*): code of the language that captions have to be in, such as `"en"`; others are
            counted. `None` takes all.
        min_score (`float`, *optional*): the least matching score of a caption, where the layout has scores, as
            `"panda-70m"` does.
        deduplicate (`bool`): leave out videos and captions that were there before.
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
    """Who does a stage, and with what.

    Attributes:
        backend (`str`): name of the agent.
        settings (`dict[str, Any]`): arguments of its class.
        batch_size (`int`): videos worked on together.
        workers (`int`): batches worked on at the same time: by threads, processes or actors.
        cpus, gpus (`float`): that each worker takes; used by Ray, which may give parts of a GPU.
    """

    backend: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    batch_size: int = number(1, COUNT)
    workers: int = number(1, COUNT)
    cpus: float = number(1.0, _FROM_ZERO)
    gpus: float = number(0.0, _FROM_ZERO)

    @property
    def is_unpriced(self) -> bool:
        """Whether an endpoint is asked whose prices are not known."""
        asks = self.backend == "endpoint" or bool(self.settings.get("endpoint"))
        return asks and not self.settings.get("prices")


@dataclass
class ExecutorSettings:
    """Where agents run.

    Attributes:
        kind (`str`): `"local"`, or `"ray"` (extra `ray`).
        address (`str`, *optional*): of a Ray cluster; one is started on this machine by default.
    """

    kind: str = "local"
    address: str | None = None


@dataclass
class OutputSettings:
    """What is written.

    Attributes:
        folder (`str`): of the run.
        format (`str`): of records, `"json"` or `"parquet"`.
        pictures (`int`): of how many objects to draw pictures at the end.
        frames (`int`): in which an object is given in a record at most, evenly spread over those in which it is seen.
    """

    folder: str = "output/engine"
    format: str = "json"
    pictures: int = number(0, _FROM_ZERO)
    frames: int = number(32, COUNT)


@dataclass
class EngineRecipe:
    """Everything that decides a run of the data engine.

    Attributes:
        name, description (`str`): what it is called in cards, and what it makes.
        product (`str`): `"short"`, `"detailed"` or `"qa"` (paper, section 3.1.2).
        seed (`int`): of what is left to chance.
        analyzer, segmentor, annotator, captioner, reviewer, refiner ([`StageSettings`], *optional*): those that the
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
        """Return the recipe as plain values; [`recipe_of`] reads them, and takes no text of theirs for a reference."""
        return plain(self)

    def stages(self) -> dict[str, StageSettings]:
        """The stages of the run, in their order."""
        found = {stage: getattr(self, stage) for stage in STAGES}
        return {stage: settings for stage, settings in found.items() if settings is not None}

    def check(self) -> EngineRecipe:
        """Check values and how they go together. Agents check their own settings when they are made.

        Raises:
            ConfigurationError: a value is unknown or out of its range, or a stage is missing or of no use.
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
            fault = [f"{listed(missing)} missing"] * bool(missing) + [f"{listed(more)} of no use"] * bool(more)
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
    """Names of the recipes of the data engine that come with the package, such as `"engine/detailed"`."""
    return shipped_recipes(engine=True)


def load_engine_recipe(source: str | os.PathLike, overrides: Iterable[str] = ()) -> EngineRecipe:
    """Read a recipe of the data engine and change single settings.

    Values may refer to others, such as `${output.folder}/clips`, and to the environment, `${oc.env:HOME}`.

    Args:
        source (`str` or `os.PathLike`): path of a YAML file, or name of a recipe that comes with the package.
        overrides (`Iterable[str]`): settings such as `"annotator.batch_size=4"`; values are YAML.

    Raises:
        ConfigurationError: there is no such recipe, a setting is unknown (the nearest name is given) or of the wrong
            type, a number is out of its range, or stages are missing or of no use for the product.
    """
    values = read_recipe(source, list_engine_recipes(), shipped_recipes())
    apply_overrides(values, overrides)
    return recipe_of(values)


def recipe_of(values: Mapping[str, Any]) -> EngineRecipe:
    """The recipe of plain values, with what they refer to.

    Raises:
        ConfigurationError: as [`load_engine_recipe`].
    """
    check_kind(ConfigurationError, MAPPING, values=values)
    return structured(EngineRecipe, values, "engine").check()


RECIPE = instances(EngineRecipe, hint="load_engine_recipe reads one.")


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    if value not in tuple(allowed):
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {short(value)}.")
