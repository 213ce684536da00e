"""Checks of a cluster's resources, since Ray would wait without a message for missing ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from videorefer_plugin._text import listed
from videorefer_plugin.data_engine.recipe import StageSettings
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.errors import EngineError

__all__ = ["READING", "check_cluster", "cpus_for_one_of_each"]

READING = 1.0
"""CPUs that are needed besides the workers, for reading the inputs."""


def cpus_for_one_of_each(specs: Sequence[StageSpec], settings: Mapping[str, StageSettings]) -> float:
    """Return the number of CPUs for a run with a single worker of each stage."""
    return READING + sum(settings[spec.stage].cpus for spec in specs)


def check_cluster(
    specs: Sequence[StageSpec],
    settings: Mapping[str, StageSettings],
    nodes: Sequence[Mapping[str, float]],
    free: Mapping[str, float],
) -> None:
    """Check that all workers, and reading, fit on the cluster at the same time.

    Args:
        specs, settings: the stages, and the resources of a worker of each.
        nodes (`Sequence[Mapping[str, float]]`): "CPU" and "GPU" of each node.
        free (`Mapping[str, float]`): resources that are free now. A warning is shown if they are too few.

    Raises:
        EngineError: the cluster has too few resources, or no node has those of a single worker.
    """
    wanted = {spec.stage: settings[spec.stage] for spec in specs}
    for unit, name, reading, hint in (
        ("CPU", "cpus", READING, "an agent that waits for an endpoint does with cpus: 0.1"),
        ("GPU", "gpus", 0.0, "several workers share a GPU with gpus: 0.5 or less"),
    ):
        taken = sum(one.workers * getattr(one, name) for one in wanted.values())
        there = sum(node.get(unit, 0.0) for node in nodes)
        parts = " + ".join(
            f"{stage} {one.workers} x {getattr(one, name):g}" for stage, one in wanted.items() if getattr(one, name)
        )
        said = f"The workers of all stages take {taken:g} {unit}s ({parts})"
        said += f", and reading takes {reading:g} more" if reading else ""
        lower = f"Lower workers or {name} of a stage ({hint}), or start more nodes."
        if taken + reading > there + 1e-6:
            raise EngineError(f"{said}; the Ray cluster has {there:g} {unit}s. {lower}")
        if taken + reading > free.get(unit, 0.0) + 1e-6:
            warnings.warn(
                f"{said}; of the {there:g} {unit}s of the Ray cluster, {free.get(unit, 0.0):g} are free now. The run "
                "waits until others are done.",
                stacklevel=2,
            )
    _check_packing(wanted, nodes)


def _check_packing(wanted: Mapping[str, StageSettings], nodes: Sequence[Mapping[str, float]]) -> None:
    """Put the workers on the nodes, the largest first. The resources of a worker have to be free on one node."""
    left = [[node.get("GPU", 0.0), node.get("CPU", 0.0)] for node in nodes]
    workers = [
        (one.gpus, one.cpus, f"a worker of the {stage}") for stage, one in wanted.items() for _ in range(one.workers)
    ]
    for gpus, cpus, name in [*sorted(workers, reverse=True), (0.0, READING, "reading")]:
        # The node with the least resources left, so that large workers find room.
        room = [node for node in left if node[0] >= gpus - 1e-6 and node[1] >= cpus - 1e-6]
        if not room:
            nodes_have = listed((f"{node.get('CPU', 0.0):g} and {node.get('GPU', 0.0):g}" for node in nodes), 8, "; ")
            raise EngineError(
                f"No node of the Ray cluster has room for {name}, which takes {cpus:g} CPUs and {gpus:g} GPUs at "
                f"once, beside the others (CPUs and GPUs of the nodes: {nodes_have}). Lower workers, cpus or "
                "gpus of a stage."
            )
        best = min(room)
        best[0] -= gpus
        best[1] -= cpus
