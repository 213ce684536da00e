"""What benchmarks of the data engine share: items that agents made of clips of the shapes world, and their truth."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin._files import write_whole
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.demo import is_right, masklet_overlap, render_clips
from videorefer_plugin.data_engine.faults import Planted
from videorefer_plugin.data_engine.items import Drop, Made, ObjectItem, Source, VideoItem, seed_of
from videorefer_plugin.data_engine.recipe import StageSettings, load_engine_recipe
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.judge import description_facts

RECIPE = "engine/shapes"


def agent_of(stage: str, **changes: Any) -> Agent:
    """The agent of a stage of the recipe of the shapes world, with some settings changed."""
    settings: StageSettings = load_engine_recipe(RECIPE).stages()[stage]
    return make_agent(stage, settings.backend, {**settings.settings, **changes})


def sources(folder: Path, clips: int, seed: int) -> tuple[list[VideoItem], dict[str, Clip]]:
    """Items of rendered clips, to which no agent has done anything, and the clips."""
    made = render_clips(folder, seed, clips)
    rows = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    read = [Source(row["id"], str(folder / row["video"]), row["caption"]) for row in rows]
    return [VideoItem(source, seed_of(seed, source.id)) for source in read], made


def worked(agent: Agent, items: Sequence[VideoItem]) -> list[VideoItem]:
    """The items with what an agent made of them, without objects that it dropped; one that failed is an error."""
    done = []
    for item in items:
        if agent.stage != "analyzer" and not item.objects:
            done.append(item)
            continue
        (made,) = agent.run([item])
        assert isinstance(made, Made), made
        objects = item.objects or tuple(ObjectItem(number, noun) for number, noun in enumerate(made.objects))
        kept = [
            one.having(value) for one, value in zip(objects, made.objects, strict=True) if not isinstance(value, Drop)
        ]
        done.append(replace(item, objects=tuple(kept)))
    return done


def annotated(folder: Path, clips: int, seed: int, annotator: str) -> tuple[list[VideoItem], dict[str, Clip]]:
    """Items that Analyzer, Segmentor and Annotator have worked on, and the clips; the folder keeps what is done."""
    items, made = sources(folder, clips, seed)
    agents = [agent_of("analyzer"), agent_of("segmentor"), agent_of("annotator", checkpoint=annotator)]
    for place, agent in enumerate(agents):
        about = [clips, seed, *(one.identity() for one in agents[: place + 1])]
        kept = folder / f"{agent.stage}-{seed_of(about)}.pickle"
        if kept.exists():
            items = pickle.loads(kept.read_bytes())
        else:
            items = worked(agent, items)
            write_whole(kept, lambda path, made=items: Path(path).write_bytes(pickle.dumps(made)))
        agent.close()
    return items, made


def shown_object(one: ObjectItem, clip: Clip) -> int | None:
    """Which object of a clip a masklet shows; none if it shows the background."""
    assert one.found is not None
    overlaps = [masklet_overlap(one.found.region, clip, index) for index in range(len(clip))]
    best = int(np.argmax(overlaps))
    return best if overlaps[best] >= 0.5 else None


def is_true(one: ObjectItem, clip: Clip, planted: Planted) -> bool:
    """Whether description and masks are of the same object: no fault was planted, and no agent made one."""
    index = shown_object(one, clip)
    if one.number in planted.faults or index is None or one.description is None:
        return False
    said = {"appearance": one.description.appearance, "dynamic": one.description.dynamic}
    return is_right(said, description_facts(clip.facts, index))
