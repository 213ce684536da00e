"""Recipes of the data engine: everything that decides a run, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["EngineRecipe", "ExecutorSettings", "OutputSettings", "SourceSettings", "StageSettings"]


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
        language (`str`): code of the language that captions have to be in, such as `"en"`; others are counted.
        deduplicate (`bool`): leave out videos and captions that were there before.
        exclude (`list[str]`): benchmark files whose videos are left out.
    """

    layout: str = "table"
    files: list[str] = field(default_factory=list)
    media_root: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    license: str | None = None
    address: str | None = None
    language: str = "en"
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
    batch_size: int = 1
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


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
    pictures: int = 0
    frames: int = 32


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
    seed: int = 0
    source: SourceSettings = field(default_factory=SourceSettings)
    analyzer: StageSettings | None = None
    segmentor: StageSettings | None = None
    annotator: StageSettings | None = None
    captioner: StageSettings | None = None
    reviewer: StageSettings | None = None
    refiner: StageSettings | None = None
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
