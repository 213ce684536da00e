"""The base class of agents."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from videorefer_plugin.data_engine.items import Failure, Made, Spent, VideoItem
from videorefer_plugin.errors import EngineError

__all__ = ["STAGES", "Agent", "BatchInterrupted", "BatchResult", "BatchStoppedError"]

STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
"""The stages in their order. The captioner is the first half of the Reviewer; it sees the mask and not the words.

In the paper, the Annotator comes before the Segmentor. Neither uses the other's output, so the order changes no
result. In this order, the Video LLM is not asked about objects that are not found, and may see the object of the
question.
"""

BatchResult = Made | Failure | Spent | None
"""The state of an item when its batch is stopped: a result, the cost without a result, or nothing."""


class BatchStoppedError(EngineError):
    """An error that concerns all items, raised within a batch. The results so far are not lost.

    Attributes:
        results (`Sequence[BatchResult]`): result of each item of the batch.
    """

    def __init__(self, message: str, results: Sequence[BatchResult] = ()):
        super().__init__(message)
        self.results = results


class BatchInterrupted(KeyboardInterrupt):
    """An interruption by the user within a batch. The results so far are not lost.

    Attributes:
        results (`Sequence[BatchResult]`): result of each item of the batch.
    """

    def __init__(self, results: Sequence[BatchResult] = ()):
        super().__init__()
        self.results = results


class Agent(abc.ABC):
    """The base class of agents: one stage, with one of its backends.

    The constructor is cheap and checks the settings. The first `run` loads weights and imports the packages that only
    the work needs. The result for a video depends on the [`VideoItem`] and on [`identity`] alone.

    Attributes:
        stage (`str`): one of [`STAGES`].
        threads (`bool`): whether several threads may use it at once, which suits agents that wait for an endpoint.
    """

    stage: ClassVar[str]
    threads: ClassVar[bool] = False

    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return everything that results depend on, in the form of JSON: settings, prompts, models and revisions.

        It contains no keys, no paths of this machine except those of checkpoints, and nothing random.
        """

    @abc.abstractmethod
    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Work on a batch of videos.

        Returns:
            For each item its result, or the reason why there is none.

        Raises:
            VideoReferError: an item makes the batch fail. The items are then run one by one, and the error of a single
                item becomes its [`Failure`].
            EngineError: the error concerns all items, such as a wrong key. The run stops, and can be continued later.
                If other items have results, it is a `BatchStoppedError`, so that these are kept.
        """

    def close(self) -> None:  # noqa: B027 - most agents hold no resources
        """Release models and connections. The next `run` loads them again."""
