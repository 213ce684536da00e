"""The agents, with one file for each of their backends."""

import sys
from types import ModuleType
from typing import Any


class _Agents(ModuleType):
    """Makes this package callable, because it replaces the function `data_engine.agents` once a module is imported."""

    @property
    def __wrapped__(self) -> Any:
        """The function, for `inspect` and `help`."""
        from videorefer_plugin.data_engine.registry import agents

        return agents

    def __call__(self) -> Any:
        return self.__wrapped__()


sys.modules[__name__].__class__ = _Agents
