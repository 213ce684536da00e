"""Runs of the data engine that are killed: `python -m tests.engine_kills RECIPE.json KILLS...`.

For each number, a child process starts the run and is killed at that many calls of agents. The children are forked,
so that what they import is imported once.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import tests.engine  # noqa: F401 - the agents, for all children
from videorefer_plugin.data_engine.recipe import recipe_of
from videorefer_plugin.data_engine.runs import run_engine


def run_until(values, kill_at):
    """Start the run, which is killed at a number of lines in the log."""
    os.environ["RUN_PID"] = str(os.getpid())
    for stage in ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner"):
        values[stage]["settings"]["kill_at"] = kill_at
    run_engine(recipe_of(values))


def finished(folder: Path) -> list[str]:
    """`<stage> <id>` of every whole line of the ledger."""
    lines = [line for path in (folder / "stages").glob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
    rows = [json.loads(line) for line in lines]
    return [f"{row['stage']} {row['id']}" for row in rows if "key" in row]


def main(path: str, *kills: str) -> None:
    values, fork = json.loads(Path(path).read_text()), multiprocessing.get_context("fork")
    folder = Path(values["output"]["folder"])
    said = []
    for kill_at in map(int, kills):
        child = fork.Process(target=run_until, args=(values, kill_at))
        child.start()
        child.join()
        said.append({"killed": child.exitcode == -9, "finished": finished(folder)})
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
