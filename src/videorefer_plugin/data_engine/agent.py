"""What every agent is."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from videorefer_plugin.data_engine.items import Failure, Made, Spent, VideoItem
from videorefer_plugin.errors import EngineError

__all__ = ["STAGES", "Agent", "BatchInterrupted", "BatchResult", "BatchStoppedError"]

STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
"""What agents do, in this order. The captioner is the Reviewer's first half, which sees the mask and not the words.

The paper has the Annotator before the Segmentor. Neither uses what the other one says, so the order changes no result;
here the Video LLM is not asked about objects that are not found, and may see the object that it is asked about.
"""

BatchResult = Made | Failure | Spent | None
"""What is there of an item when its batch is stopped: a result, what was spent on it in vain, or nothing."""


class BatchStoppedError(EngineError):
    """No item will fare better, in the midst of a batch; what there is of it until then is not lost.

    Attributes:
        results (`Sequence[BatchResult]`): of each item of the batch.
    """

    def __init__(self, message: str, results: Sequence[BatchResult] = ()):
        super().__init__(message)
        self.results = results


class BatchInterrupted(KeyboardInterrupt):
    """The user stopped the work in the midst of a batch; what there is of it until then is not lost.

    Attributes:
        results (`Sequence[BatchResult]`): of each item of the batch.
    """

    def __init__(self, results: Sequence[BatchResult] = ()):
        super().__init__()
        self.results = results


class Agent(abc.ABC):
    """One of the agents, with one of its backends.

    Making one is cheap and checks its settings. Weights are loaded, and packages that only the work needs are
    imported, when it is first asked to work. What it makes of a video depends on the [`VideoItem`] and on [`identity`]
    alone.

    Attributes:
        stage (`str`): of [`STAGES`].
        threads (`bool`): whether several threads may use it at once, as is right for what waits for an endpoint.
    """

    stage: ClassVar[str]
    threads: ClassVar[bool] = False

    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that its results depend on, fit for JSON: settings, version of its prompts, models and their revisions.

        It has no keys, no addresses of this machine's files beyond what names a checkpoint, and nothing random.
        """

    @abc.abstractmethod
    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Work on a batch of videos.

        Returns:
            For each item what was made of it, or why nothing was.

        Raises:
            VideoReferError: one of the items spoils the batch. They are then given one by one, and the error of a
                single item becomes its [`Failure`].
            EngineError: no item will fare better, such as with a wrong key. The run stops, and can go on later. Where
                something was made of other items, it is a `BatchStoppedError`, so that they are not worked on again.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of models and connections; the next `run` loads them again."""
