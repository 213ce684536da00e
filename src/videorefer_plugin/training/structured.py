"""Makes sections of settings from the values of a YAML file, which may refer to others and to the environment.

OmegaConf resolves references, and makes the dataclasses. This module raises all errors, with the same messages for all
recipes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from videorefer_plugin._text import short, text_fault
from videorefer_plugin._yaml import nearest
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.ranges import ENTRY, RANGE, Range, check_number

__all__ = ["plain", "references", "structured", "typed"]

_Section = TypeVar("_Section")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
_LATER = "${videorefer.later:}"  # placeholder of an unresolved reference, which no setting accepts
_MOST_REFERENCES, _MOST_CHARACTERS = 1_000, 500_000  # in a recipe, and characters of their values
_WEIGHT = 20  # characters that a value of a list or section counts for


def structured(cls: type[_Section], values: Mapping[str, Any], extra: str) -> _Section:
    """Make a recipe from plain values.

    Texts such as `${output.folder}/clips` refer to other values, `${oc.env:HOME}` to the environment; `\\${` is a
    dollar and a brace. Numbers may be texts, since YAML reads 1e-3 as a text. A single text counts as a list of one.

    Args:
        cls (`type`): the dataclass of the recipe.
        values (`Mapping[str, Any]`): the given values; other settings have the defaults of the dataclass.
        extra (`str`): the extra that installs OmegaConf, for messages.

    Raises:
        ConfigurationError: a setting is unknown (the message names the nearest), missing, or of the wrong type, or a
            reference cannot be resolved. For numbers, the message has the allowed range.
    """
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        raise ConfigurationError(f"Recipes need omegaconf: pip install 'videorefer-plugin[{extra}]'") from error
    try:
        found = references(values)
        if any("${" in text for _, text in _texts(values)):
            values = _resolved(_with_defaults(cls, values))
        given = OmegaConf.create(_section(cls, values, "", set(found)))
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), given))
    except RecursionError as error:
        raise ConfigurationError(
            "The recipe cannot be read: a section holds itself, or is nested too deeply."
        ) from error
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        said = str(error.msg or error).splitlines()[0].rstrip(".")
        raise ConfigurationError(f"The recipe cannot be read: {where}{said}.") from error
    assert isinstance(made, cls)
    return made


def plain(section: Any) -> dict[str, Any]:
    """Return the settings of a dataclass as plain values, with resolved references."""
    return _escaped(asdict(section))


def references(values: Any) -> dict[tuple[str | int, ...], str]:
    """Return the texts with references by their path, such as `("data", "files", 0)`."""
    return {path: text for path, text in _texts(values) if _REFERENCE.search(text)}


def _texts(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(values, str):
        yield path, values
    elif isinstance(values, (Mapping, list)):
        for name, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            yield from _texts(value, (*path, name))


def _resolved(values: dict[str, Any]) -> Any:
    """Return the values with resolved references.

    Each text is resolved after all its references, so that its size is known before: a few texts that refer to each
    other several times could make a text that fits in no memory.

    Raises:
        ConfigurationError: resolved references are larger than any recipe needs.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    waiting = references(values)
    if (several := sum(text.count("${") for text in waiting.values())) > _MOST_REFERENCES:
        raise ConfigurationError(
            f"The recipe refers to other values {several:,} times, which is more than {_MOST_REFERENCES:,}. Write "
            "some of them out."
        )
    tree = OmegaConf.create(values)
    for path in waiting:
        _put(tree, path, _LATER)
    room, largest = _MOST_CHARACTERS, max(len(text) for _, text in _texts(values))
    while waiting:
        found = {}
        for path, text in waiting.items():
            if room < 0 or ((several := text.count("${")) > 1 and several * largest > room):
                raise ConfigurationError(
                    f"{_words(path)} is too long with its references resolved: all references together would have "
                    f"more than {_MOST_CHARACTERS:,} characters. Write it in another way."
                )
            try:
                found[path] = _look_up(tree, path, text)
            except OmegaConfBaseException:  # a reference is resolved later, or not at all
                _put(tree, path, _LATER)
                continue
            made = sum(len(one) + _WEIGHT for _, one in _texts(found[path])) + _WEIGHT
            largest, room = max(largest, made), room - made
        for path, value in found.items():
            _put(tree, path, _escaped(value))
            del waiting[path]
        if not found:
            for path, text in waiting.items():
                _put(tree, path, text)
            break
    return OmegaConf.to_container(tree, resolve=True)


def _look_up(tree: Any, path: tuple[str | int, ...], text: str) -> Any:
    from omegaconf import OmegaConf

    _put(tree, path, text)
    *parents, last = path
    for part in parents:
        tree = tree[part]
    value = tree[last]
    value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    _put(tree, (last,), _LATER)
    return value


def _put(tree: Any, path: tuple[str | int, ...], value: Any) -> None:
    *parents, last = path
    for part in parents:
        tree = tree[part]
    tree[last] = value


def _words(path: tuple[str | int, ...]) -> str:
    """Return a path in the form of messages."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _with_defaults(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values that references may name: the given ones, and the defaults of the dataclass."""
    given = dict(values)
    for item, kind in _fields(cls):
        value = given.get(item.name, {} if item.default_factory is not MISSING else None)
        if is_dataclass(kind) and isinstance(value, Mapping):
            given[item.name] = _with_defaults(kind, value)
        elif item.name not in given and item.default is not MISSING:
            given[item.name] = item.default
        elif item.name not in given and callable(item.default_factory):
            given[item.name] = item.default_factory()
    return given


def _fields(cls: Any) -> Iterator[tuple[Field, Any]]:
    """Return the fields of a dataclass with their types, without null."""
    hints = get_type_hints(cls)
    for item in fields(cls):
        yield item, _kinds(hints[item.name])[0]


def _kinds(hint: Any) -> list[Any]:
    """Return the alternatives of a type, without null."""
    return [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]


def _section(cls: Any, values: Mapping[str, Any], where: str, found: set[tuple[str | int, ...]]) -> dict[str, Any]:
    """Return the values of a section in the form that OmegaConf takes.

    Raises:
        ConfigurationError: a setting is unknown, missing, or of the wrong type.
    """
    hints, items = get_type_hints(cls), {item.name: item for item in fields(cls)}
    for name in values:
        if name not in items:
            raise ConfigurationError(f"Unknown setting {where}{name}{nearest(name, items, where)}")
    for name, item in items.items():
        if name not in values and item.default is item.default_factory is MISSING:
            raise _missing(f"{where}{name}")
    return {
        name: _value(value, hints[name], f"{where}{name}", items[name].metadata, found)
        for name, value in values.items()
    }


def typed(value: Any, hint: Any, where: str) -> Any:
    """Check the type of a plain value, and convert texts of numbers to numbers.

    Raises:
        ConfigurationError: the value is of another type. The message names it with `where`.
    """
    return _value(value, hint, where, {}, set())


def _value(value: Any, hint: Any, where: str, about: Mapping[Any, Any], found: set[tuple[str | int, ...]]) -> Any:
    kind, optional = _kinds(hint)[0], NoneType in get_args(hint)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    for name, text in _texts(value):
        _check_text(_words((where, *name)), text)
    if kind is Any or (value is None and optional):
        return _escaped(value)
    if origin in (int, float):
        number = _number(value, origin, _path(where) in found)
        check_number(where, number, origin, about.get(RANGE, Range()), optional)
        return origin(number)
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{where} is a section of settings, but {short(value)} was given. Leave it out for its default."
            )
        return _section(kind, value, f"{where}.", found)
    if origin is list:
        entry = about.get(ENTRY)
        several = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(several, list):
            raise ConfigurationError(f"{where} must be a list, but is {short(value)}.")
        return [
            entry(**_section(entry, one, f"{where}[{index}].", found))
            if entry is not None and isinstance(one, Mapping)
            else _value(one, str if entry is not None else arguments[0], f"{where}[{index}]", about, found)
            for index, one in enumerate(several)
        ]
    if origin is dict:
        named = {} if value is None else value
        if not isinstance(named, Mapping) or not all(isinstance(name, str) for name in named):
            raise ConfigurationError(f"{where} must be settings by name, but is {short(value)}.")
        return {name: _value(one, arguments[1], f"{where}.{name}", about, found) for name, one in named.items()}
    if value is None:
        raise ConfigurationError(f"{where} cannot be null. Leave it out for its default.")
    return _text_or_switch(value, kind, where, found)


def _text_or_switch(value: Any, kind: type, where: str, found: set[tuple[str | int, ...]]) -> Any:
    if kind is bool and value in ("true", "false") and _path(where) in found:  # from the environment
        return value == "true"
    if kind is str and isinstance(value, (int, float)) and _path(where) in found:
        value = str(value)  # from a setting with a number
    if not isinstance(value, kind):
        wanted = "true or false (bool)" if kind is bool else "text (str), in quotes if it looks like something else"
        raise ConfigurationError(f"{where} must be {wanted}, but is {short(value)}.")
    return _escaped(value)


def _path(where: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[]", where.replace("]", "")))


def _number(value: Any, kind: type, is_found: bool) -> Any:
    """Return the number of a text; other values are returned as they are.

    YAML reads 1e-3 as text, and values of the environment (`is_found`) are texts as well. A whole number in quotes is
    meant as a text.
    """
    try:
        if isinstance(value, str) and kind is int and is_found and _WHOLE_NUMBER.fullmatch(value):
            return int(value)
        if isinstance(value, str) and kind is float and value.isascii() and "_" not in value:
            return float(value)
        if isinstance(value, Integral) and kind is float and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    return value


def _check_text(where: str, value: str) -> None:
    fault = text_fault(value) or "it holds a NUL character" * ("\0" in value)
    if fault:
        raise ConfigurationError(f"{where} is {short(value)}, which is not a usable text: {fault}.")
    if value == "???":  # OmegaConf's mark of a missing value
        raise _missing(where)


def _missing(where: str) -> ConfigurationError:
    way = "" if "[" in where else f", or with {where}=..."  # entries of lists cannot be set by overrides
    return ConfigurationError(f"{where} is still to be given; set it in the recipe{way}.")


def _escaped(value: Any) -> Any:
    """Escape plain values for OmegaConf, so that `${` in texts becomes `\\${` and refers to nothing."""
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
