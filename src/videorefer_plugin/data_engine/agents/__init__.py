"""The agents, with one file for each of their backends."""

import sys
from types import ModuleType
from typing import Any


class _Agents(ModuleType):
    """Python gives the function `data_engine.agents` this package in its place once one of its modules is imported."""

    def __call__(self) -> Any:
        from videorefer_plugin.data_engine.registry import agents

        return agents()


sys.modules[__name__].__class__ = _Agents
