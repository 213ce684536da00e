"""The data engine: five agents that turn videos with captions into object-level data (paper, section 3.1).

A run is a recipe ([`load_engine_recipe`], [`run_engine`]). An agent of one's own is a subclass of [`Agent`], which a
recipe names as `backend: package.module:Class`, or by the name under which [`register_agent`] has it.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Loaded when they are first used, so that a command does not wait for what it has no use for.
_EXPORTS = {
    "STAGES": "agent",
    "Agent": "agent",
    "Description": "items",
    "Drop": "items",
    "Failure": "items",
    "Found": "items",
    "GivenObject": "items",
    "Made": "items",
    "Noun": "items",
    "ObjectItem": "items",
    "Question": "items",
    "Refined": "items",
    "RegionCaption": "items",
    "Source": "items",
    "Spent": "items",
    "Verdict": "items",
    "VideoItem": "items",
    "plan_engine": "plans",
    "publish_data": "publishing",
    "EngineRecipe": "recipe",
    "load_engine_recipe": "recipe",
    "recipe_of": "recipe",
    "agents": "registry",
    "make_agent": "registry",
    "register_agent": "registry",
    "EngineReport": "reports",
    "run_engine": "runs",
}

__all__ = [
    "STAGES",
    "Agent",
    "Description",
    "Drop",
    "EngineRecipe",
    "EngineReport",
    "Failure",
    "Found",
    "GivenObject",
    "Made",
    "Noun",
    "ObjectItem",
    "Question",
    "Refined",
    "RegionCaption",
    "Source",
    "Spent",
    "Verdict",
    "VideoItem",
    "agents",
    "load_engine_recipe",
    "make_agent",
    "plan_engine",
    "publish_data",
    "recipe_of",
    "register_agent",
    "run_engine",
]

if TYPE_CHECKING:
    from videorefer_plugin.data_engine.agent import STAGES, Agent
    from videorefer_plugin.data_engine.items import (
        Description,
        Drop,
        Failure,
        Found,
        GivenObject,
        Made,
        Noun,
        ObjectItem,
        Question,
        Refined,
        RegionCaption,
        Source,
        Spent,
        Verdict,
        VideoItem,
    )
    from videorefer_plugin.data_engine.plans import plan_engine
    from videorefer_plugin.data_engine.publishing import publish_data
    from videorefer_plugin.data_engine.recipe import EngineRecipe, load_engine_recipe, recipe_of
    from videorefer_plugin.data_engine.registry import agents, make_agent, register_agent
    from videorefer_plugin.data_engine.reports import EngineReport
    from videorefer_plugin.data_engine.runs import run_engine


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
