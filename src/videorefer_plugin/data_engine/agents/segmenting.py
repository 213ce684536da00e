"""Segmenters in the settings of an agent: registered ones, and the user's own classes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agents.loading import loads
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.fingerprint import fingerprint
from videorefer_plugin.segment import Segmenter, load_segmenter
from videorefer_plugin.segment.base import abilities_of
from videorefer_plugin.segment.registry import class_of, entry_of, loadable

__all__ = ["Choice"]


@dataclass(frozen=True)
class Choice:
    """A segmenter to load. The constructor checks that it exists.

    Attributes:
        name (`str`): name of a registered segmenter, or "package.module:Class" of a subclass of `Segmenter`.
        settings (`dict`): arguments of `load_segmenter`: "checkpoint", "device", "dtype" and the segmenter's own.
        abilities (`tuple[str, ...]`): abilities of the segmenter.

    Raises:
        ConfigurationError: the segmenter is unknown, or a package that it needs is not installed.
    """

    name: str
    settings: Mapping[str, Any]
    abilities: tuple[str, ...] = field(init=False)
    _kind: type[Segmenter] | None = field(init=False, default=None)
    _default: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.settings, Mapping):
            raise ConfigurationError(f"The settings of {self.name!r} are {short(self.settings)}; expected a mapping.")
        if isinstance(self.name, str) and self.name.count(":") == 1:
            kind = _imported(self.name)
            object.__setattr__(self, "_kind", kind)
            object.__setattr__(self, "abilities", abilities_of(kind))
            return
        entry = loadable(self.name, self.settings.get("checkpoint"))
        object.__setattr__(self, "abilities", entry.abilities)
        object.__setattr__(self, "_default", entry.checkpoint)

    def placed(self, device: Any, dtype: Any) -> Choice:
        """Return the choice with this device and data type, if it has weights and its settings do not name them."""
        given = {"device": device, "dtype": dtype}
        where = {name: value for name, value in given.items() if value is not None and name not in self.settings}
        return Choice(self.name, {**where, **self.settings}) if where and self._takes_weights else self

    def load(self, **more: Any) -> Segmenter:
        """Load the segmenter.

        Args:
            more: defaults for settings that are not given.

        Raises:
            EngineError: the segmenter cannot be loaded.
        """
        given = {**more, **self.settings}
        with loads(f"The segmenter {self.name!r}"):
            if self._kind is None:
                return load_segmenter(self.name, **given)
            return self._kind.load(**given)

    def identity(self, apart: Sequence[str] = ()) -> dict[str, Any]:
        """Return its name and settings, with a fingerprint of its weights.

        Args:
            apart: settings that are part of another identity.
        """
        default = {} if self._default is None else {"checkpoint": self._default}
        kind = self._kind or class_of(entry_of(self.name))
        said = {**default, **kind.defaults, **self.settings}
        said = {name: value for name, value in said.items() if name not in ("device", *apart)}
        weights = {
            name: fingerprint(value)
            for name, value in said.items()
            if name.endswith("checkpoint") and isinstance(value, (str, os.PathLike))
        }
        return {"name": self.name, "settings": {name: _plain(one) for name, one in said.items()}, "weights": weights}

    @property
    def _takes_weights(self) -> bool:
        return self._kind is not None or self._default is not None


def _imported(path: str) -> type[Segmenter]:
    module, name = path.split(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of a user may raise anything
        raise ConfigurationError(
            f"The segmenter {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Segmenter)):
        raise ConfigurationError(f"{path} is not a segmenter; expected a subclass of segment.Segmenter.")
    return kind


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)
