"""The runner of benchmarks: it works on the unfinished items in batches, which processes can share."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from videorefer_plugin._kinds import INTEGER, check_kind
from videorefer_plugin._text import short
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.store import Store
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import BenchError, PromptError, RegionError, VideoError

__all__ = ["OF_ONE", "WHOLE", "ItemError", "Outcome", "Shard", "failure_of", "run"]

_OF_ITEMS = (VideoError, RegionError, PromptError)
_GIVE_UP = 8  # failures in a row after which the items are not the cause

ItemT = TypeVar("ItemT", bound=Item)
Work = Callable[[Sequence[ItemT]], Sequence["Mapping[str, Any] | ItemError"]]


class ItemError(BenchError):
    """One item failed; others may succeed."""


OF_ONE = (ItemError, ReplyError, *_OF_ITEMS)  # errors that concern one item and not all


@dataclass(frozen=True)
class Shard:
    """The share of the items that belongs to this process: every `size`-th, from `rank` on."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        check_kind(BenchError, INTEGER, rank=self.rank, size=self.size)
        if self.size < 1 or not 0 <= self.rank < self.size:
            raise BenchError(
                f"shard {short(self.rank)} of {short(self.size)}: expected a rank from 0 to the number of shards - 1"
            )

    @classmethod
    def from_environment(cls) -> "Shard":
        """Return the shard that `accelerate launch` or `torchrun` set; without them, all items.

        Raises:
            BenchError: their variables are not numbers, or no valid shard.
        """
        try:
            return cls(_number("RANK", "0"), _number("WORLD_SIZE", "1"))
        except BenchError as error:
            raise BenchError(
                f"The environment says RANK={short(os.environ.get('RANK'))} and "
                f"WORLD_SIZE={short(os.environ.get('WORLD_SIZE'))}, {error}. Launchers set both; unset them for a "
                "single process, or give --rank and --world-size."
            ) from error


def _number(variable: str, default: str) -> int:
    said = os.environ.get(variable) or default
    if not re.fullmatch("-?[0-9]{1,9}", said):
        raise BenchError(f"of which {variable} is not a whole number")
    return int(said)


WHOLE = Shard()


@dataclass
class Outcome(Generic[ItemT]):
    """The outcome of a run.

    Attributes:
        rows (`dict`): id -> line, of all items that are done, by any process.
        fresh (`int`): number of items that this run did.
        failed (`dict[str, str]`): id -> reason; the next run tries these items again.
        open (`list[str]`): ids of items that are not done: those of other processes, and failed ones.
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

    A batch is about one video if the video has enough items, so that the answerer can encode it once (see
    `cut_batches`). Batches are cut before finished items are left out. So an item is always with the same others, and
    its answer does not depend on interruptions.

    Args:
        items: all items of the benchmark.
        work: function from a batch to a line, or an error, for each of its items.
        store: store of the lines.
        batch_size: number of items in a batch.
        workers: number of concurrent batches.
        shard: share of the items to work on.
        progress: called with the number of finished items of the shard, and their total.

    Raises:
        BenchError: many items failed in a row, or an error does not concern an item (such as a wrong key).
    """
    if batch_size < 1 or workers < 1:
        raise BenchError(f"batch_size is {batch_size} and workers {workers}: expected whole numbers from 1 up")
    mine = list(items)[shard.rank :: shard.size]
    done = set(store.done())
    count = sum(item.id in done for item in mine)
    outcome: Outcome = Outcome({})
    report = progress or (lambda done, total: None)
    report(count, len(mine))
    batches = [batch for batch in cut_batches(mine, batch_size) if any(item.id not in done for item in batch)]
    in_a_row = _InARow()
    for batch, results in _results(batches, work, workers):
        rows = []
        for item, result in zip(batch, results, strict=True):
            if item.id in done:
                continue
            problem = "" if isinstance(result, ItemError) else store.problem({"id": item.id, **result})
            if problem:
                result = ItemError(f"item {item.id!r}: the answer cannot be stored: {problem}")
            if isinstance(result, ItemError):
                outcome.failed[item.id] = str(result)
                in_a_row.add(item, result)
            else:
                rows.append({"id": item.id, **result})
                in_a_row = _InARow()
        store.append(rows)
        outcome.fresh += len(rows)
        count += len(rows)
        report(count, len(mine))
        if in_a_row.faults >= _GIVE_UP:
            raise BenchError(
                f"{in_a_row.items} items failed in a row, the last with: {in_a_row.last}\n"
                "The finished items are kept. Remove the cause and start again."
            )
    outcome.rows = store.done()
    outcome.failed = {item.id: outcome.failed[item.id] for item in mine if item.id in outcome.failed}
    outcome.open = [item.id for item in items if item.id not in outcome.rows]
    return outcome


def cut_batches(items: Sequence[ItemT], batch_size: int) -> list[list[ItemT]]:
    """Return batches, as far as possible about one video each, in the order in which the videos first appear.

    Items of a video beyond full batches share batches with those of others.
    """
    by_video: dict[Path, list[ItemT]] = {}
    for item in items:
        by_video.setdefault(item.video, []).append(item)
    batches: list[list[ItemT]] = []
    left: list[ItemT] = []
    for own in by_video.values():
        full = len(own) - len(own) % batch_size
        batches += [own[start : start + batch_size] for start in range(0, full, batch_size)]
        left += own[full:]
        if len(left) >= batch_size:
            batches.append(left[:batch_size])
            left = left[batch_size:]
    return [*batches, left] if left else batches


class _InARow:
    """A counter of failures without a success between them.

    Errors of a video, or of regions on it, count once per video, since all items about it follow each other.
    """

    def __init__(self) -> None:
        self.items = 0
        self.last = ""
        self._others = 0
        self._videos: set[Path] = set()

    @property
    def faults(self) -> int:
        return self._others + len(self._videos)

    def add(self, item: Item, error: ItemError) -> None:
        self.items += 1
        self.last = str(error)
        if isinstance(error.__cause__, _OF_ITEMS):
            self._videos.add(item.video)
        else:
            self._others += 1


def _results(batches: Sequence[Sequence[ItemT]], work: Work, workers: int) -> Iterator[tuple[Sequence[ItemT], Any]]:
    """Yield batches with their results, in order, with at most `workers` in progress."""
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
    """Work on a batch; if it fails, on its items one by one, so that the others are not lost."""
    try:
        return work(batch)
    except OF_ONE as error:
        if len(batch) > 1:
            return [work_apart([item], work)[0] for item in batch]
        return [failure_of(batch[0], error)]


def failure_of(item: Item, error: Exception) -> ItemError:
    """Return an error of an item, one of `OF_ONE`, as the outcome of its work."""
    if isinstance(error, ItemError):
        return error
    failure = ItemError(f"item {item.id!r}: {error}")
    failure.__cause__ = error
    return failure
