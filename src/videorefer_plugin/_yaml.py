"""Reading recipes: YAML without duplicate keys, the recipes that the package ships, and suggestions for names."""

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from videorefer_plugin._json import read_text
from videorefer_plugin._kinds import PATH, TEXT, check_kind
from videorefer_plugin._text import cut, short, text_fault
from videorefer_plugin.errors import ConfigurationError

__all__ = ["apply_overrides", "nearest", "parse_yaml", "read_recipe", "shipped_recipes"]


_MOST_VALUES = 100_000
_DEEPEST = 200
_BRACKETS = re.compile(r"[\[\]{}]")
_LONGEST = 600  # characters of the parser's message
_END = object()


class _KeysOnce(yaml.SafeLoader):
    """Refuses duplicate keys in a section, of which YAML would silently keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {short(key.value)} stands twice in one section: keep one"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node


def parse_yaml(text: str, what: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text (`str`): the YAML.
        what (`str`): its name in the message.

    Raises:
        ConfigurationError: the text is not YAML, or a key occurs twice in a section.
    """
    if _depth(text) > _DEEPEST:  # the parser takes minutes for thousands
        raise ConfigurationError(f"{what} is not YAML that can be read: it is nested too deeply.")
    try:
        value = yaml.load(text, _KeysOnce)
    # A tag whose text does not fit, such as `!!bool maybe` or `!!int 1_000_..._000`, is an error of the constructor's.
    except (yaml.YAMLError, ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        said = cut(str(error) if isinstance(error, (yaml.YAMLError, ValueError)) else repr(error), _LONGEST)
        raise ConfigurationError(f"{what} is not YAML: {said}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{what} is not YAML that can be read: it is nested too deeply.") from error
    _check_values(value, what)
    return value


def _depth(text: str) -> int:
    """Return how many brackets and braces are open at once, at most."""
    deepest = depth = 0
    for mark in _BRACKETS.findall(text):
        depth = depth + 1 if mark in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _check_values(value: Any, what: str) -> None:
    """Refuse values that repeat each other: a few hundred bytes of YAML (`*name`) can fill any memory.

    Texts with half a character are refused too, since they could not be written into the record of a run.
    """
    waiting: list[Iterator[Any]] = [iter((value,))]
    for _ in range(_MOST_VALUES):
        while (one := next(waiting[-1], _END)) is _END:
            waiting.pop()
            if not waiting:
                return
        if isinstance(one, dict):
            waiting.append(itertools.chain(one.keys(), one.values()))
        elif isinstance(one, list):
            waiting.append(iter(one))
        elif isinstance(one, str) and (fault := text_fault(one)):
            raise ConfigurationError(f"{what} has a text that cannot be used: {fault}.")
    raise ConfigurationError(
        f"{what} holds more than {_MOST_VALUES:,} values, once each *name stands for what it repeats. A section may "
        "not hold itself; take repeated lists out."
    )


def shipped_recipes(engine: bool = False) -> list[str]:
    """Return the names of the recipes that the package ships: those of the data engine, or those of training."""
    root = resources.files("videorefer_plugin.recipes")
    names = []
    for group in root.iterdir():
        if group.is_dir() and (group.name == "engine") == engine:
            names += [f"{group.name}/{item.name[:-5]}" for item in group.iterdir() if item.name.endswith(".yaml")]
    return sorted(names)


def read_recipe(source: str | os.PathLike, shipped: Sequence[str], others: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of a recipe. Without a name, a recipe is called like its file.

    Args:
        source (`str` or `os.PathLike`): path of a YAML file, or name of a recipe that the package ships.
        shipped (`Sequence[str]`): the names that are accepted.
        others (`Sequence[str]`, *optional*): names of recipes for another command, which get a message of their own.

    Raises:
        ConfigurationError: the recipe does not exist, or cannot be read.
    """
    check_kind(ConfigurationError, PATH, source=source)
    text, name = _text_of(source, shipped, others)
    values = parse_yaml(text, str(source)) or {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{source} must hold settings by name, but holds a {type(values).__name__}.")
    values.setdefault("name", name)
    return values


def _text_of(source: str | os.PathLike, shipped: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        text = read_text(path, ConfigurationError)
        return text, f"{path.parent.name}/{path.stem}" if path.parent.name else path.stem
    name = os.fspath(source)
    if name in others:
        command = "data run" if name.startswith("engine/") else "train run"
        raise ConfigurationError(
            f"The recipe {name!r} is for `videorefer {command}`. Here, give a .yaml file, or one of "
            f"{', '.join(shipped)}."
        )
    if name not in shipped:
        close = difflib.get_close_matches(name, shipped, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigurationError(
            f"There is no recipe {name!r}{hint} Give a .yaml file, or one of {', '.join(shipped)}."
        )
    group, last = name.split("/")
    return (resources.files("videorefer_plugin.recipes") / group / f"{last}.yaml").read_text(encoding="utf-8"), name


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> None:
    """Change single settings, such as `"train.learning_rate=1e-4"`; their values are YAML.

    Raises:
        ConfigurationError: an override cannot be read, or its parent is not a section.
    """
    for override in overrides:
        check_kind(ConfigurationError, TEXT, override=override)
        path, separator, value = override.partition("=")
        if not separator:
            raise ConfigurationError(f"Cannot read the override {override!r}; write name=value.")
        *parents, last = names = path.strip().split(".")
        if "[" in path or any(not name for name in names):
            raise ConfigurationError(
                f"Cannot set {cut(path.strip(), _LONGEST)!r}: settings are named as section.name. An element of a "
                "list cannot be set alone; give the whole list, such as data.files=[{path: a.json, weight: 2}]."
            )
        place = values
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigurationError(
                    f"Cannot set {path}: {parent} is not a section. Of a list, give the whole, such as {parent}=[...]."
                )
        place[last] = parse_yaml(value, f"The value of {path.strip()}")


def nearest(name: Any, known: Iterable[str], where: str = "") -> str:
    """Return the end of a message about an unknown setting: the nearest known one, or all of them.

    Args:
        name: the unknown name.
        known (`Iterable[str]`): the known names.
        where (`str`, *optional*): the section with its point, such as `"train."`.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {where}{close[0]}?" if close else f"; known are {', '.join(names)}."
