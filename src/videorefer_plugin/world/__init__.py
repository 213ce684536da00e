"""The shapes world: clips with exact masks and facts, questions, descriptions, and a benchmark that needs no judge.

The world is small: a model that can be packaged learns it with the same recipes as a large model, and the true answer
to every question is known.
"""

from videorefer_plugin.world.bench import bench_clip, bench_d_item, bench_q_items, grounding_clip, grounding_items
from videorefer_plugin.world.clip import Clip, iter_clips, make_clip
from videorefer_plugin.world.dataset import encode_video, is_of_shapes_world, write_dataset
from videorefer_plugin.world.facts import Event, Facts, ObjectFacts, Relation
from videorefer_plugin.world.judge import DIMENSIONS, description_facts, score_description
from videorefer_plugin.world.language import VOCABULARY
from videorefer_plugin.world.motion import Phase
from videorefer_plugin.world.questions import Question, ask, open_questions
from videorefer_plugin.world.stages import stage_records
from videorefer_plugin.world.values import QUESTION_TYPES

__all__ = [
    "DIMENSIONS",
    "QUESTION_TYPES",
    "VOCABULARY",
    "Clip",
    "Event",
    "Facts",
    "ObjectFacts",
    "Phase",
    "Question",
    "Relation",
    "ask",
    "bench_clip",
    "bench_d_item",
    "bench_q_items",
    "description_facts",
    "encode_video",
    "grounding_clip",
    "grounding_items",
    "is_of_shapes_world",
    "iter_clips",
    "make_clip",
    "open_questions",
    "score_description",
    "stage_records",
    "write_dataset",
]
