"""Mixtures of several files: how often the records of each file come in an epoch."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videorefer_plugin._kinds import PATH, Kind, check_kind, lists
from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError

__all__ = ["MOST_WEIGHT", "DataSource", "Share", "check_positive", "data_sources", "epoch_rows"]

MOST_WEIGHT = 1000
"""The largest weight of a file."""


_MOST_ROWS = 100_000_000  # rows of an epoch, of 24 bytes each


@dataclass(frozen=True)
class DataSource:
    """One file of a data set.

    Attributes:
        path (`str` or `os.PathLike`): JSON list, JSON lines or Parquet.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative media paths start from; the file's own
            by default.
        limit (`int`, *optional*): largest number of records to use, chosen at random by the seed and the same in every
            epoch; all by default.
        weight (`float`, *optional*, defaults to 1): how often each record comes in an epoch. With 2.5, every record
            comes twice, and a random half of them, chosen again in every epoch, a third time; with 0.5, a random half
            of them comes. All epochs have the same number of records.
    """

    path: str | os.PathLike
    media_root: str | os.PathLike | None = None
    limit: int | None = None
    weight: float = 1.0

    @classmethod
    def of(cls, entry: Any) -> "DataSource":
        """Return the source of an entry of a recipe's `data.files`: a name, or a [`DataFile`]."""
        if isinstance(entry, str):
            return cls(entry)
        return cls(entry.file, entry.media_root, entry.limit, entry.weight)


@dataclass(frozen=True)
class Share:
    """The records of a file that come in an epoch. They are the same in every process and in resumed runs.

    Attributes:
        file (`int`): index of the file.
        records (`np.ndarray` of shape `(n,)`): the records that are used, in the file's order.
        copies (`int`): how often all of these records come.
        drawn (`int`): number of records, chosen again in every epoch, that come once more.
        seed (`int`): seed of the choice.
    """

    file: int
    records: np.ndarray
    copies: int
    drawn: int
    seed: int

    @classmethod
    def of(
        cls, file: int, path: str | os.PathLike, total: int, limit: int | None, weight: float, seed: int
    ) -> "Share":
        """Return the share of a file with a number of usable records.

        Raises:
            ConfigurationError: the weight leaves no record.
        """
        chosen: Sequence[int] = range(total)
        if limit is not None and limit < total:
            chosen = sorted(random.Random(f"{seed}/source {file}").sample(chosen, limit))
        copies = int(weight)
        drawn = round((weight - copies) * len(chosen))
        if len(chosen) and not copies and not drawn:
            raise ConfigurationError(
                f"The weight {weight:g} of {os.fspath(path)} leaves none of its {len(chosen)} record(s) in an epoch. "
                f"Give at least {1 / len(chosen):.2g}, or leave the file out."
            )
        return cls(file, np.array(chosen, dtype=np.int64), copies, drawn, seed)

    def __len__(self) -> int:
        return self.copies * len(self.records) + self.drawn

    @property
    def is_drawn(self) -> bool:
        """Whether epochs differ in their records."""
        return 0 < self.drawn < len(self.records)

    @property
    def most(self) -> int:
        """Number of all rows that may come in any epoch."""
        return (self.copies + (self.drawn > 0)) * len(self.records)

    def number(self, record: int, copied: int) -> int:
        """Return the number of a record's copy among all rows that may come in any epoch."""
        return copied * len(self.records) + int(np.searchsorted(self.records, record))

    def whole(self) -> "Share":
        """Return a share with all rows that may come in any epoch."""
        return replace(self, drawn=len(self.records) if self.drawn else 0)

    def rows(self, epoch: int) -> np.ndarray:
        """Return file, record and copy of the rows of an epoch; int64 (len(self), 3)."""
        extra = self.records
        if self.is_drawn:
            chance = random.Random(f"{self.seed}/source {self.file}/epoch {epoch}")
            extra = self.records[sorted(chance.sample(range(len(self.records)), self.drawn))]
        chosen = [self.records] * self.copies + [extra] * bool(self.drawn)
        rows = np.empty((len(self), 3), dtype=np.int64)
        rows[:, 0] = self.file
        if chosen:
            rows[:, 1] = np.concatenate(chosen)
            rows[:, 2] = np.repeat(np.arange(len(chosen)), [len(one) for one in chosen])
        return rows


def epoch_rows(shares: Sequence[Share], epoch: int) -> np.ndarray:
    """Return file, record and copy of every row of an epoch, file by file.

    Raises:
        ConfigurationError: there are too many rows for the memory.
    """
    if (total := sum(map(len, shares))) > _MOST_ROWS:
        raise ConfigurationError(
            f"An epoch would have {total:,} records with these weights in data.files, more than {_MOST_ROWS:,}. "
            "Give smaller weights, and train for more train.epochs."
        )
    return np.concatenate([share.rows(epoch) for share in shares])


_FILES = lists(
    Kind("", lambda one: isinstance(one, DataSource) or PATH.fits(one)), "files or DataSources, or one of these"
)


def data_sources(data: Any, media_root: Any = None) -> list[DataSource]:
    """Return the files of a data set, after checking them and the media folder.

    Raises:
        ConfigurationError: there are no files, or a limit, a weight or a folder is invalid.
    """
    given = [data] if isinstance(data, (str, os.PathLike, DataSource)) else data
    check_kind(ConfigurationError, _FILES, data=given)
    check_kind(ConfigurationError, PATH, optional=True, media_root=media_root)
    sources = [one if isinstance(one, DataSource) else DataSource(one) for one in given]
    if not sources:
        raise ConfigurationError("data is empty; expected at least one file of records.")
    for source in sources:
        check_kind(ConfigurationError, PATH, optional=True, media_root=source.media_root)
        check_positive("limit", source.limit)
        right = isinstance(source.weight, (int, float)) and not isinstance(source.weight, bool)
        if not right or not 0 < source.weight <= MOST_WEIGHT:
            raise ConfigurationError(
                f"weight is {short(source.weight)}; expected a number above 0 and at most {MOST_WEIGHT}, such as 0.5."
            )
    return sources


def check_positive(name: str, value: Any) -> None:
    """Check that a number, if it is given, is a whole number of at least 1.

    Raises:
        ConfigurationError: the number is something else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"{name} is {value!r}; expected a whole number of at least 1.")
