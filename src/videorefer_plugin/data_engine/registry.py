"""The registry of agents."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from videorefer_plugin._kinds import MAPPING, TEXT, check_kind, lists
from videorefer_plugin._plugins import load_plugins
from videorefer_plugin._text import listed
from videorefer_plugin.data_engine.agent import STAGES, Agent
from videorefer_plugin.errors import ConfigurationError, VideoReferError

__all__ = ["agents", "identity_of", "make_agent", "register_agent"]


class _Entry(NamedTuple):
    path: str
    packages: tuple[str, ...]


_ENTRIES: dict[tuple[str, str], _Entry] = {}


def register_agent(stage: str, name: str, path: str, *, packages: Sequence[str] = ()) -> None:
    """Register an agent under a name.

    An installed package calls it from an entry point of the group `videorefer_plugin.plugins`.

    Args:
        stage (`str`): stage of the agent, one of [`STAGES`].
        name (`str`): name of the backend in recipes.
        path (`str`): path of its class, `"package.module:Class"`, a subclass of [`Agent`], which is imported on use.
        packages (`Sequence[str]`, *optional*): packages that it needs besides the extra `engine`.

    Raises:
        ConfigurationError: the stage is unknown, the path has no class, or another agent has the name.
    """
    check_kind(ConfigurationError, TEXT, stage=stage, name=name, path=path)
    check_kind(ConfigurationError, lists(TEXT, "packages"), packages=packages)
    if stage not in STAGES:
        raise ConfigurationError(f"There is no agent {stage!r}; expected one of {', '.join(STAGES)}.")
    if path.count(":") != 1:
        raise ConfigurationError(f"The {stage} {name!r} is at {path!r}; expected 'package.module:Class'.")
    entry = _Entry(path, tuple(packages))
    if _ENTRIES.get((stage, name), entry) != entry:
        raise ConfigurationError(f"There is a {stage} {name!r} already; register this one under another name.")
    _ENTRIES[stage, name] = entry


def agents() -> dict[str, tuple[str, ...]]:
    """Return the backends of all agents: stage -> their names, in alphabetical order."""
    load_plugins()
    return {stage: tuple(sorted(name for of, name in _ENTRIES if of == stage)) for stage in STAGES}


def make_agent(stage: str, name: str, settings: Mapping[str, Any] | None = None) -> Agent:
    """Make an agent, without loading weights.

    Args:
        stage (`str`): one of [`STAGES`].
        name (`str`): name of the backend, or `"package.module:Class"` of one that is not registered.
        settings (`Mapping`, *optional*): arguments of the class.

    Raises:
        ConfigurationError: the agent is unknown or cannot be imported, or a setting is unknown or invalid.
    """
    check_kind(ConfigurationError, TEXT, stage=stage, name=name)
    check_kind(ConfigurationError, MAPPING, optional=True, settings=settings)
    given = dict(settings or {})
    made = _class_of(stage, name)
    parameters = inspect.signature(made).parameters.values()  # of the class, so without self
    known = [item.name for item in parameters if item.kind in _BY_NAME]
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters)
    for setting in given:
        if not isinstance(setting, str) or setting == "self" or (setting not in known and not takes_any):
            close = difflib.get_close_matches(str(setting), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {listed(known, 20)}." if known else "."
            raise ConfigurationError(f"The {stage} {name!r} has no setting {setting!r}{hint}")
    needed = [item.name for item in parameters if item.default is item.empty and item.kind in _BY_NAME]
    missing = [item for item in needed if item not in given]
    if missing:
        raise ConfigurationError(f"The {stage} {name!r} needs {listed(missing)}; give it under {stage}.settings.")
    try:
        return made(**given)
    except VideoReferError:
        raise
    except Exception as error:  # a constructor of a user may raise anything
        raise ConfigurationError(f"The {stage} {name!r} cannot be made with its settings: {_said(error)}") from error


def identity_of(agent: Agent, name: str) -> dict[str, Any]:
    """Return everything that an agent's results depend on, in the form of JSON.

    Args:
        agent ([`Agent`]): the agent.
        name (`str`): name of its backend.

    Raises:
        ConfigurationError: the agent's identity is not in the form of JSON.
    """
    try:
        said = agent.identity()
        if not isinstance(said, dict):
            raise TypeError(f"it gives a {type(said).__name__}, and no dict")
        return json.loads(json.dumps(said))
    except VideoReferError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"The {agent.stage} {name!r} does not return in JSON what its results depend on (identity): {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    """Return a text about an error in a user's code, with the line that raised it."""
    where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
    return f"{type(error).__name__}: {error} ({where})"


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _class_of(stage: str, name: str) -> Any:
    if (stage, name) not in _ENTRIES and ":" not in name:
        load_plugins()
    entry = _ENTRIES.get((stage, name))
    if entry is None and (not isinstance(name, str) or name.count(":") != 1):
        found = agents().get(stage)
        if found is None:
            raise ConfigurationError(f"There is no agent {stage!r}; expected one of {', '.join(STAGES)}.")
        raise ConfigurationError(
            f"There is no {stage} {name!r}; expected one of {', '.join(found)}, or 'package.module:Class' of your own."
        )
    path = entry.path if entry else name
    lacking = [package for package in (entry.packages if entry else ()) if importlib.util.find_spec(package) is None]
    if lacking:
        raise ConfigurationError(f"The {stage} {name!r} needs {listed(lacking)}: pip install {' '.join(lacking)}")
    module, attribute = path.split(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of a user may raise anything
        raise ConfigurationError(
            f"The {stage} {name!r} cannot be imported from {path}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(made, type) and issubclass(made, Agent)) or getattr(made, "stage", None) != stage:
        raise ConfigurationError(
            f"{path} does not fit the stage {stage!r}; expected a subclass of Agent with stage = {stage!r}."
        )
    if inspect.isabstract(made):
        lacking = sorted(made.__abstractmethods__)
        raise ConfigurationError(f"{path} is not finished: it lacks {listed(lacking)}, which every agent has.")
    return made


_AGENTS = "videorefer_plugin.data_engine.agents"

register_agent("analyzer", "chat", f"{_AGENTS}.analyzer_chat:ChatAnalyzer")
register_agent("analyzer", "spacy", f"{_AGENTS}.analyzer_spacy:SpacyAnalyzer", packages=["spacy"])
register_agent("analyzer", "shapes", f"{_AGENTS}.analyzer_shapes:ShapesAnalyzer")
register_agent("segmentor", "masklets", f"{_AGENTS}.segmentor_masklets:MaskletSegmentor")
register_agent("annotator", "model", f"{_AGENTS}.annotator_model:ModelAnnotator")
register_agent("annotator", "endpoint", f"{_AGENTS}.annotator_endpoint:EndpointAnnotator")
register_agent("captioner", "model", f"{_AGENTS}.captioner_model:ModelCaptioner")
register_agent("captioner", "endpoint", f"{_AGENTS}.captioner_endpoint:EndpointCaptioner")
register_agent("reviewer", "chat", f"{_AGENTS}.reviewer_chat:ChatReviewer")
register_agent("reviewer", "embedding", f"{_AGENTS}.reviewer_embedding:EmbeddingReviewer")
register_agent("reviewer", "shapes", f"{_AGENTS}.reviewer_shapes:ShapesReviewer")
register_agent("refiner", "chat", f"{_AGENTS}.refiner_chat:ChatRefiner")
register_agent("refiner", "shapes", f"{_AGENTS}.refiner_shapes:ShapesRefiner")
