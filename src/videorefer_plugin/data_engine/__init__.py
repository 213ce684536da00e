"""The data engine: five agents that turn videos with captions into object-level data (paper, section 3.1).

A run follows a recipe ([`load_engine_recipe`], [`run_engine`]). Your own agent is a subclass of [`Agent`], which a
recipe names as `backend: package.module:Class`, or by the name given to [`register_agent`].
"""

from typing import TYPE_CHECKING

from videorefer_plugin._names import public_names

# Loaded on first use, so that a command does not wait for packages that it does not use.
if TYPE_CHECKING:
    from videorefer_plugin.data_engine.agent import STAGES as STAGES
    from videorefer_plugin.data_engine.agent import Agent as Agent
    from videorefer_plugin.data_engine.items import Description as Description
    from videorefer_plugin.data_engine.items import Drop as Drop
    from videorefer_plugin.data_engine.items import Failure as Failure
    from videorefer_plugin.data_engine.items import Found as Found
    from videorefer_plugin.data_engine.items import GivenObject as GivenObject
    from videorefer_plugin.data_engine.items import Made as Made
    from videorefer_plugin.data_engine.items import Noun as Noun
    from videorefer_plugin.data_engine.items import ObjectItem as ObjectItem
    from videorefer_plugin.data_engine.items import Question as Question
    from videorefer_plugin.data_engine.items import Refined as Refined
    from videorefer_plugin.data_engine.items import RegionCaption as RegionCaption
    from videorefer_plugin.data_engine.items import Source as Source
    from videorefer_plugin.data_engine.items import Spent as Spent
    from videorefer_plugin.data_engine.items import Verdict as Verdict
    from videorefer_plugin.data_engine.items import VideoItem as VideoItem
    from videorefer_plugin.data_engine.plans import plan_engine as plan_engine
    from videorefer_plugin.data_engine.publishing import publish_data as publish_data
    from videorefer_plugin.data_engine.recipe import EngineRecipe as EngineRecipe
    from videorefer_plugin.data_engine.recipe import load_engine_recipe as load_engine_recipe
    from videorefer_plugin.data_engine.recipe import recipe_of as recipe_of
    from videorefer_plugin.data_engine.registry import agents as agents
    from videorefer_plugin.data_engine.registry import make_agent as make_agent
    from videorefer_plugin.data_engine.registry import register_agent as register_agent
    from videorefer_plugin.data_engine.reports import EngineReport as EngineReport
    from videorefer_plugin.data_engine.runs import run_engine as run_engine
else:
    __all__, __getattr__, __dir__ = public_names(__name__)
