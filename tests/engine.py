"""Cheap agents of the data engine, which write down what they are asked to do, and tables of sources for them."""

import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.media import write_video
from tests.training_data import box_mask
from videorefer_plugin import Region
from videorefer_plugin.data_engine.agent import STAGES, Agent
from videorefer_plugin.data_engine.items import (
    Description,
    Drop,
    Failure,
    Found,
    GivenObject,
    Made,
    Noun,
    Refined,
    RegionCaption,
    Source,
    Spent,
    Verdict,
    seed_of,
)
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate
from videorefer_plugin.errors import EngineError

HEIGHT, WIDTH = 48, 64


class CountingAgent(Agent):
    """Makes plain values of every item, and appends `<stage> <id>` to a file for each.

    Args:
        log: of the calls.
        version: part of its identity, and of what it makes.
        cost: of each item.
        bad: how the items whose ids are named here fail: "failure", "error" (a RuntimeError), "kill" (the process),
            "interrupt", "terminate" (by SIGTERM), "fatal" (an EngineError), "few" (too few results), "half made" and
            "half failed" (words with half a character), or "full" (as if the disk were, from then on).
        fixed: a file; once it is there, nothing is bad.
        seconds: that an item takes.
        kill_at: the number of lines in the log at which the run is killed: this process, and the one that `RUN_PID`
            in the environment names.
        silent: ids of the items of which nobody says how many tokens they took.
    """

    made: Any = None

    def __init__(
        self,
        log: str,
        *,
        version: int = 1,
        cost: float = 0.0,
        bad: dict[str, str] | None = None,
        fixed: str | None = None,
        seconds: float = 0.0,
        prices: Any = None,
        kill_at: int | None = None,
        silent: Sequence[str] = (),
    ):
        self.log, self.version, self.cost, self.bad = log, version, cost, dict(bad or {})
        self.fixed, self.seconds, self.kill_at, self.silent = fixed, seconds, kill_at, silent

    def identity(self):
        return {"agent": type(self).__name__, "version": self.version}

    def run(self, items):
        results = []
        for item in items:
            with open(self.log, "ab", buffering=0) as stream:
                stream.write(f"{self.stage} {item.source.id}\n".encode())
            if self.kill_at is not None and len(Path(self.log).read_bytes().splitlines()) >= self.kill_at:
                with suppress(ProcessLookupError):  # another worker was there first
                    os.kill(int(os.environ.get("RUN_PID", os.getpid())), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)
            results.append(self._one(item))
        return results[: len(results) - ("few" in [self._how(item) for item in items])]

    def _how(self, item):
        return None if self.fixed and Path(self.fixed).exists() else self.bad.get(item.source.id)

    def _one(self, item):
        how = self._how(item)
        if how == "failure":
            return Failure("endpoint", "The endpoint is down.", Spent(1, 10, 0, self.cost))
        if how == "error":
            raise RuntimeError("out of luck")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)  # until the main thread has taken it
        if how == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if how == "fatal":
            raise EngineError("The endpoint refuses the key.")
        if how == "half failed":
            return Failure("reply", "It says \ud83d.", Spent(1, 10, 0, self.cost))
        if how == "half made":
            return Made((Drop("odd", "It is \ud83d."),) * len(item.objects), Spent(1, 10, 0, self.cost))
        spent = Spent(1, 0, 0, self.cost, 1) if item.source.id in self.silent else Spent(1, 100, 10, self.cost)
        return Made(self.objects(item), spent)

    def objects(self, item):
        return tuple(self.value(item, one) for one in item.objects)

    def value(self, item, one):
        raise NotImplementedError


class CountingAnalyzer(CountingAgent):
    stage = "analyzer"

    def objects(self, item):
        words = [word.strip(".,") for word in item.source.caption.split() if word.strip(".,").endswith("s")]
        return tuple(Noun(word, f"the {word}") for word in words)


class CountingSegmentor(CountingAgent):
    stage = "segmentor"

    def value(self, item, one):
        if "ghost" in one.noun.text:
            return Drop("not_found", "There is no ghost.")
        place = seed_of(item.seed, one.number, "place") % (WIDTH - 16)
        region = Region.from_mask(box_mask(place, 4, HEIGHT, WIDTH, 12), frame=0)
        (shape,) = region.to_annotation(HEIGHT, WIDTH).values()
        return Found({"0": shape}, HEIGHT, WIDTH, 0, (float(place), 4.0, place + 12.0, 16.0), 0.9)


class CountingAnnotator(CountingAgent):
    stage = "annotator"

    def value(self, item, one):
        return Description(f"{one.noun.text} move.", f"{one.noun.text} number {one.number} of {item.source.id}.")


class CountingCaptioner(CountingAgent):
    stage = "captioner"

    def value(self, item, one):
        return RegionCaption(f"some {one.noun.text}", 0)


class CountingReviewer(CountingAgent):
    stage = "reviewer"

    def value(self, item, one):
        same = seed_of(item.seed, one.number, "verdict") % 3 > 0
        return Verdict(same, "It is the same." if same else "It is another one.")


class CountingRefiner(CountingAgent):
    stage = "refiner"

    def value(self, item, one):
        return Refined(f"{one.description.text} Version {self.version}.")


class ThreadedAnnotator(CountingAnnotator):
    threads = True


class ClosedAnnotator(CountingAnnotator):
    def close(self):
        with open(f"{self.log}.closed", "a") as stream:
            stream.write(f"{os.getpid()}\n")


class OnlyHere(CountingAnnotator):
    """Cannot be made in another process, as where a GPU is missing."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        if multiprocessing.parent_process() is not None:
            raise RuntimeError("there is no GPU")


def write_table(folder: Path, count: int, captions: dict[int, str] | None = None) -> Path:
    """A table of videos `v0`, `v1`, ... with a caption each."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "clip.mp4").exists():
        write_video(folder / "clip.mp4", 4)
    rows = []
    for number in range(count):
        video = folder / f"v{number}.mp4"
        if not video.exists():
            os.link(folder / "clip.mp4", video)
        caption = (captions or {}).get(number, f"Here, in {number}, are cats, dogs and ghosts.")
        rows.append({"id": f"v{number}", "video": video.name, "caption": caption})
    (folder / "table.json").write_text(json.dumps(rows))
    return folder / "table.json"


def read_given(settings: SourceSettings) -> Iterator[Candidate]:
    """A layout: a table of [`write_table`], of which rows may have `given`, expressions of objects with a mask."""
    for file in settings.files:
        for row in json.loads(Path(file).read_text()):
            region = Region.from_mask(box_mask(8, 4, HEIGHT, WIDTH, 12), frame=0)
            given = tuple(GivenObject(text, region.to_annotation(HEIGHT, WIDTH)) for text in row.get("given", ()))
            video = str(Path(file).with_name(row["video"]))
            yield Candidate(row["id"], Source(row["id"], video, row["caption"], "video", given, HEIGHT, WIDTH), True)


def recipe_values(folder: Path, table: Path, product: str = "detailed", **stages: dict[str, Any]) -> dict[str, Any]:
    """A recipe with a cheap agent for each stage; `stages` has further settings of single ones."""
    values: dict[str, Any] = {
        "product": product,
        "source": {"files": [str(table)], "deduplicate": False},
        "output": {"folder": str(folder)},
    }
    for stage in STAGES if product == "detailed" else STAGES[:2]:
        given = dict(stages.get(stage, {}))
        settings = {"log": str(folder.parent / "calls.log"), **given.pop("settings", {})}
        values[stage] = {"backend": f"tests.engine:Counting{stage.title()}", "settings": settings, **given}
    return values


def calls(folder: Path) -> list[str]:
    """What the agents of a recipe for this folder were asked to do, in order."""
    log = folder.parent / "calls.log"
    return log.read_text().splitlines() if log.exists() else []
