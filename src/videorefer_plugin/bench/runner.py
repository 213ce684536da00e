"""Working through the items of a benchmark: in batches, shared by processes, and only what is not done yet."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from videorefer_plugin.bench.items import Item
from videorefer_plugin.bench.store import Store
from videorefer_plugin.errors import BenchError, PromptError, RegionError, VideoError

__all__ = ["WHOLE", "ItemError", "Outcome", "Shard", "run"]

_GIVE_UP = 8  # failures in a row, after which the fault is not with the items

ItemT = TypeVar("ItemT", bound=Item)
Work = Callable[[Sequence[ItemT]], Sequence["Mapping[str, Any] | ItemError"]]


class ItemError(BenchError):
    """One item could not be worked on; others may."""


@dataclass(frozen=True)
class Shard:
    """The part of the items that belongs to this process: every `size`-th, from `rank` on."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.rank < self.size:
            raise BenchError(f"shard {self.rank} of {self.size}: expected a rank from 0 to the number of shards - 1")

    @classmethod
    def from_environment(cls) -> "Shard":
        """As `accelerate launch` and `torchrun` say it; the only one without them."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


WHOLE = Shard()


@dataclass
class Outcome(Generic[ItemT]):
    """What a run did.

    Attributes:
        rows (`dict`): id -> line, of all items that are done now, by whichever process.
        fresh (`int`): how many of them this run did.
        failed (`dict[str, str]`): id -> why; the next run tries them again.
        open (`list[str]`): ids of items that are not done, for other processes to do or failed.
    """

    rows: dict[str, dict[str, Any]]
    fresh: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)


def run(
    items: Sequence[ItemT],
    work: Work,
    store: Store,
    *,
    batch_size: int = 1,
    workers: int = 1,
    shard: Shard = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Work on the items of this shard that are not in the store yet, and store each batch as soon as it is done.

    Batches are cut before items that are done are left out. So an item meets the same others whether or not a run was
    interrupted, and its answer cannot depend on that.

    Args:
        items: all items of the benchmark.
        work: from a batch to a line, or an error, for each of its items.
        store: where lines go.
        batch_size: items worked on together.
        workers: batches worked on at the same time.
        shard: the part of the items to work on.
        progress: told how many items of the shard are done, and of how many.

    Raises:
        BenchError: many items failed in a row, or the fault is not with an item (a wrong key, say).
    """
    if batch_size < 1 or workers < 1:
        raise BenchError(f"batch_size is {batch_size} and workers {workers}: expected whole numbers from 1 up")
    mine = list(items)[shard.rank :: shard.size]
    done = set(store.done())
    count = sum(item.id in done for item in mine)
    outcome: Outcome = Outcome({})
    report = progress or (lambda done, total: None)
    report(count, len(mine))
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    batches = [batch for batch in batches if any(item.id not in done for item in batch)]
    in_a_row = 0
    for batch, results in _results(batches, work, workers):
        rows = []
        for item, result in zip(batch, results, strict=True):
            if item.id in done:
                continue
            problem = "" if isinstance(result, ItemError) else store.problem({"id": item.id, **result})
            if problem:
                result = ItemError(f"item {item.id!r}: what was said cannot be kept: {problem}")
            if isinstance(result, ItemError):
                outcome.failed[item.id] = str(result)
                in_a_row += 1
            else:
                rows.append({"id": item.id, **result})
                in_a_row = 0
        store.append(rows)
        outcome.fresh += len(rows)
        count += len(rows)
        report(count, len(mine))
        if in_a_row >= _GIVE_UP:
            raise BenchError(
                f"{in_a_row} items failed in a row, the last with: {outcome.failed[batch[-1].id]}\n"
                "What was done is kept; start again when the cause is gone."
            )
    outcome.rows = store.done()
    outcome.open = [item.id for item in items if item.id not in outcome.rows]
    return outcome


def _results(batches: Sequence[Sequence[ItemT]], work: Work, workers: int) -> Iterator[tuple[Sequence[ItemT], Any]]:
    """Batches with their results, in order, with no more under way than there are workers."""
    if workers == 1:
        for batch in batches:
            yield batch, work_apart(batch, work)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[Sequence[ItemT], Future]] = deque()
    try:
        for batch in batches:
            if len(waiting) == workers:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((batch, pool.submit(work_apart, batch, work)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def work_apart(batch: Sequence[ItemT], work: Work) -> Sequence[Mapping[str, Any] | ItemError]:
    """Work on a batch; where an item spoils it, on its items one by one, so that the others are not lost."""
    try:
        return work(batch)
    except (ItemError, VideoError, RegionError, PromptError) as error:
        if len(batch) == 1:
            return [error if isinstance(error, ItemError) else ItemError(f"item {batch[0].id!r}: {error}")]
        return [work_apart([item], work)[0] for item in batch]
