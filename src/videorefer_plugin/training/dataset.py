"""The training data set: records that are read one at a time, with their objects in one or several frames."""

import copy
import logging
import os
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from videorefer_plugin._kinds import INTEGER, check_kind
from videorefer_plugin.errors import ConfigurationError, RecordError
from videorefer_plugin.inputs.masks import evenly
from videorefer_plugin.object_encoder import ObjectEncoderConfig
from videorefer_plugin.regions import Region, Shape
from videorefer_plugin.training.mixture import DataSource, Share, check_positive, data_sources, epoch_rows
from videorefer_plugin.training.record_files import RecordFile, open_record_file
from videorefer_plugin.training.record_names import BadRecordError, record_place
from videorefer_plugin.training.records import KINDS, Record, parse_record
from videorefer_plugin.training.scan import digest_of, scan_records

if TYPE_CHECKING:
    from videorefer_plugin.training.recipe import DataFile, Recipe

__all__ = ["BAD_SAMPLE_POLICIES", "MODES", "DataSource", "VideoReferDataset", "recipe_dataset"]

logger = logging.getLogger(__name__)

MODES = ("single", "multi", "mixed")
BAD_SAMPLE_POLICIES = ("error", "skip")
_REASONS_SHOWN = 5


@dataclass(frozen=True)
class _Scanned:
    """The data that is kept about the usable records of one file."""

    file: RecordFile
    media_root: str | os.PathLike | None
    positions: np.ndarray  # (n, 2)
    lines: np.ndarray  # (n,)
    numbers: np.ndarray  # (n,), number of the record in the file, from 1
    kinds: np.ndarray  # (n,), index into KINDS
    tokens: np.ndarray  # (n,), estimate without the visual
    objects: np.ndarray  # (n,), number of objects
    masks: np.ndarray  # (n,), sum of the frames in which they are visible
    has_choice: np.ndarray  # (n,), an object is visible in more than one frame
    keys: np.ndarray  # (n,), digest of the record's id and number


class VideoReferDataset(Dataset):
    """A data set of the records of one or several files, for a map-style `DataLoader`. It decodes no media.

    Every file is read once when the data set is made, so that bad records are known before training starts. Only the
    position of each record is kept in memory. Shuffling, and sharding over processes, are left to the sampler.

    The result of reading `records.json` is kept in `records.json.scan`, so that the next start is quick. It is used as
    long as the file has the same SHA-256 digest; the existence of media is checked every time. The file can be deleted
    at any time. If it cannot be written, nothing is kept.

    Args:
        data: a file, a [`DataSource`], or a list of these.
        mode (`str`, *optional*, defaults to `"mixed"`):
            The frames in which objects are given. `"single"`: one frame in which the object is visible, chosen again
            in every epoch; the same frame for all objects of a record, if one has all of them. `"multi"`: all
            annotated frames. `"mixed"`: of the records with an object that is visible in more than one frame, exactly
            half are single in every epoch (of an odd number, one more is multi), chosen again in every epoch (paper
            B.1).
        media_root (`str` or `os.PathLike`, *optional*): folder of media, for files without one of their own.
        seed (`int`, *optional*, defaults to 0): seed of all random choices.
        max_frames_per_region (`int`, *optional*): largest number of frames of an object in multi mode, spread evenly
            over those in which it is visible.
        on_bad_sample (`str`, *optional*, defaults to `"error"`):
            `"error"` refuses a file with a bad record. `"skip"` leaves bad records out, and logs their number once; no
            other record replaces them.
        visual_tokens (`int`, *optional*, defaults to 1352): number of tokens of a video or image, for `lengths`; the
            default is that of 16 frames in VideoLLaMA2.1.
        max_tokens_per_region (`int`, *optional*, defaults to 4), object_encoder (*optional*): largest number of tokens
            of an object, or the configuration of an object encoder that determines it, for `lengths`.
        keep_scan (`bool`, *optional*, defaults to `True`):
            Whether scans of files are kept beside them. With `False`, no scan is used or written, and all files are
            read.

    Attributes:
        skipped (`list[str]`): file, line and reason of every record that was left out.

    Raises:
        RecordError: a file cannot be read or has a bad record (the message names file, line and reason), or no record
            is left.
        ConfigurationError: a setting has an invalid value.
    """

    def __init__(
        self,
        data: str | os.PathLike | DataSource | Sequence[str | os.PathLike | DataSource],
        *,
        mode: str = "mixed",
        media_root: str | os.PathLike | None = None,
        seed: int = 0,
        max_frames_per_region: int | None = None,
        on_bad_sample: str = "error",
        visual_tokens: int = 1352,
        max_tokens_per_region: int = 4,
        object_encoder: Any = None,
        keep_scan: bool = True,
    ):
        _check_choice("mode", mode, MODES)
        _check_choice("on_bad_sample", on_bad_sample, BAD_SAMPLE_POLICIES)
        check_positive("max_frames_per_region", max_frames_per_region)
        check_kind(ConfigurationError, INTEGER, seed=seed)
        self.mode, self.seed = mode, seed
        self.max_frames_per_region, self.on_bad_sample = max_frames_per_region, on_bad_sample
        self.keep_scan = keep_scan
        self.visual_tokens = visual_tokens
        self.object_encoder = object_encoder or ObjectEncoderConfig(max_tokens_per_region=max_tokens_per_region)
        self.skipped: list[str] = []
        self._files = [self._scan(source, media_root) for source in data_sources(data, media_root)]
        self._shares = [
            Share.of(number, source.path, len(scanned.lines), source.limit, source.weight, seed)
            for number, (source, scanned) in enumerate(zip(data_sources(data), self._files, strict=True))
        ]
        # Row i of an epoch: its file, its record in the file, and the number of the record's copy.
        self._rows = epoch_rows(self._shares, 0)
        self._rows_of = 0
        if not len(self._rows):
            raise RecordError(
                f"No record is left to train on: {len(self.skipped)} were bad"
                + (f", the first: {self.skipped[0]}." if self.skipped else ".")
            )
        self._say_what_was_skipped()
        # Shared with the workers of a DataLoader, also with persistent ones.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._single: tuple[int, np.ndarray] | None = None
        self.set_epoch(0)

    # ------------------------------------------------------------------ reading files once

    def _scan(self, source: DataSource, media_root: str | os.PathLike | None) -> _Scanned:
        file = open_record_file(source.path)
        root = source.media_root if source.media_root is not None else media_root
        positions, lines, numbers, kinds, tokens, objects, masks, has_choice, keys = ([] for _ in range(9))
        for number, (line, row) in enumerate(scan_records(file, root, self.keep_scan), 1):
            if isinstance(row, RecordError):
                name = row.name if isinstance(row, BadRecordError) else None
                reason = f"{record_place(str(file.path), file.unit, line, number, name)}: {row}"
                if self.on_bad_sample == "error":
                    raise RecordError(
                        f"{reason}. `videorefer train check {file.path}` lists all bad records; leave them out with "
                        "on_bad_sample='skip'."
                    ) from row
                self.skipped.append(reason)
                continue
            positions.append(row.position)
            lines.append(line)
            numbers.append(number)
            kinds.append(row.kind)
            tokens.append(row.text + sum(map(self.object_encoder.num_tokens, row.seen)))
            objects.append(len(row.seen))
            masks.append(sum(row.seen))
            has_choice.append(max(row.seen, default=0) > 1)
            keys.append(row.key)
        return _Scanned(
            file,
            root,
            np.array(positions, dtype=np.int64).reshape(-1, 2),
            np.array(lines, dtype=np.int64),
            np.array(numbers, dtype=np.int64),
            np.array(kinds, dtype=np.int8),
            np.array(tokens, dtype=np.int64),
            np.array(objects, dtype=np.int64),
            np.array(masks, dtype=np.int64),
            np.array(has_choice, dtype=bool),
            np.array(keys, dtype=np.uint64),
        )

    def _say_what_was_skipped(self) -> None:
        if not self.skipped:
            return
        shown = "".join(f"\n  {reason}" for reason in self.skipped[:_REASONS_SHOWN])
        more = f"\n  and {len(self.skipped) - _REASONS_SHOWN} more" if len(self.skipped) > _REASONS_SHOWN else ""
        kept = sum(len(scanned.lines) for scanned in self._files)
        logger.warning("%d bad record(s) were left out, %d are used:%s%s", len(self.skipped), kept, shown, more)

    # ------------------------------------------------------------------ epochs and modes

    @property
    def epoch(self) -> int:
        """The epoch of the current random choices."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make the random choices of another epoch. The Trainer and accelerate call this."""
        self._epoch.fill_(epoch)
        self._draw()

    def whole(self) -> "VideoReferDataset":
        """Return the same data with all copies of records that may come in any epoch."""
        other = copy.copy(self)
        other._shares = [share.whole() for share in self._shares]
        other._rows, other._single = epoch_rows(other._shares, 0), None
        return other

    def _draw(self) -> np.ndarray:
        """Return which rows are in single mode in this epoch; bool (len(self),)."""
        epoch = self.epoch
        if self._rows_of != epoch and any(share.is_drawn for share in self._shares):
            self._rows = epoch_rows(self._shares, epoch)
        self._rows_of = epoch
        if self._single is None or self._single[0] != epoch:
            single = np.full(len(self._rows), self.mode == "single")
            if self.mode == "mixed":
                eligible = np.flatnonzero(self._column("has_choice"))
                drawn = [digest_of(f"mode {self._name(row)}") for row in eligible.tolist()]
                order = np.argsort(np.array(drawn, dtype=np.uint64), kind="stable")
                single[eligible[order[: len(eligible) // 2]]] = True
            self._single = epoch, single
        return self._single[1]

    def _name(self, row: int) -> str:
        """Return the text that seeds a row's choices in this epoch."""
        file, record, copy = self._rows[row].tolist()
        return f"{self.seed}/{self.epoch}/{self._files[file].keys[record]}/{copy}"

    def _column(self, name: str) -> np.ndarray:
        """Return one value for each row."""
        column = np.empty(len(self._rows), dtype=getattr(self._files[0], name).dtype)
        for number, scanned in enumerate(self._files):
            rows = self._rows[:, 0] == number
            column[rows] = getattr(scanned, name)[self._rows[rows, 1]]
        return column

    @property
    def modes(self) -> list[str]:
        """`"single"` or `"multi"` for each record in this epoch; records with one frame or none count as `"multi"`
        unless the whole data set is single.
        """
        return ["single" if single else "multi" for single in self._draw()]

    def _kinds_and_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        self._draw()
        return self._column("kinds"), self._column("tokens")

    @property
    def lengths(self) -> list[int]:
        """Estimated number of tokens of each record, for grouping records of similar length."""
        kinds, tokens = self._kinds_and_tokens()
        return (tokens + np.where(kinds == KINDS.index("text"), 0, self.visual_tokens)).tolist()

    @property
    def masks_per_record(self) -> float:
        """Mean number of masks of a record in this epoch: one for each frame in which an object is visible."""
        return float(np.where(self._draw(), self._column("objects"), self._column("masks")).mean())

    @property
    def modalities(self) -> list[str]:
        """`"video"`, `"image"` or `"text"` for each record, for grouping."""
        return [KINDS[kind] for kind in self._kinds_and_tokens()[0]]

    # ------------------------------------------------------------------ records

    @property
    def records_by_file(self) -> list[int]:
        """Number of different records of each file that are used, without further copies in an epoch."""
        return [len(share.records) for share in self._shares]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one record.

        Returns:
            `dict` with `record` ([`Record`]), `messages` (its turns, the placeholder at the head of its message),
            `visual` (path or `None`), `kind` (`"video"`, `"image"` or `"text"`), `regions` (`list[Region]`, one for
            each `<region>`, in the frames of this epoch's choice), `mode` and `index`, which is the same number for
            the same copy of a record in every epoch.

        Raises:
            IndexError: there is no such record.
            RecordError: the file was changed since the data set was made.
        """
        item = self.without_regions(index)
        record = item["record"]
        try:
            shapes, seen = record.shapes, record.seen
        except ValueError as error:
            raise RecordError(f"{record.place}: {error}") from error
        # Frames are chosen first, so that only one region of each object is made.
        single = item["mode"] == "single"
        chosen = (
            self._one_frame(seen, range(len(self))[index]) if single else list(map(self._many_frames, shapes, seen))
        )
        return {**item, "regions": list(map(_region, shapes, chosen))}

    def without_regions(self, index: int) -> dict[str, Any]:
        """Read one record as `self[index]` does, but without the regions, which take longest to make.

        Raises:
            IndexError: there is no such record.
            RecordError: the file was changed since the data set was made.
        """
        index = range(len(self))[index]
        record = self.record(index)
        return {
            "record": record,
            "messages": record.messages,
            "visual": record.visual,
            "kind": record.kind,
            "mode": "single" if bool(self._draw()[index]) else "multi",
            "index": self._number(index),
        }

    def record(self, index: int) -> Record:
        """Read one record as it is in its file, without making regions of its objects.

        Raises:
            IndexError: there is no such record.
            RecordError: the file was changed since the data set was made.
        """
        self._draw()
        number, place, _ = self._rows[index].tolist()
        scanned = self._files[number]
        start, length = scanned.positions[place].tolist()
        line, which = int(scanned.lines[place]), int(scanned.numbers[place])
        try:
            value = scanned.file.read((start, length))
            return parse_record(value, str(scanned.file.path), line, scanned.media_root, which)
        except ValueError as error:
            where = record_place(str(scanned.file.path), scanned.file.unit, line, which)
            raise RecordError(f"{where}: {error}") from error

    def _number(self, index: int) -> int:
        """Return the number of a row among all rows that may come in any epoch."""
        number, record, copied = self._rows[index].tolist()
        before = sum(share.most for share in self._shares[:number])
        return before + self._shares[number].number(record, copied)

    def _one_frame(self, seen: list[tuple[int, ...]], index: int) -> list[Collection[int]]:
        if not seen:
            return []
        chance = random.Random(f"frame {self._name(index)}")
        shared = sorted(set.intersection(*map(set, seen)))
        if shared:
            return [(chance.choice(shared),)] * len(seen)
        return [(chance.choice(frames),) for frames in seen]

    def _many_frames(self, shapes: Mapping[int, Shape], seen: tuple[int, ...]) -> Collection[int]:
        limit = self.max_frames_per_region
        if limit is None or len(shapes) <= limit:
            return shapes
        return evenly(seen, limit)


def _region(shapes: Mapping[int, Shape], frames: Collection[int]) -> Region:
    """Return one object in some of its frames, in the annotation's order."""
    return Region.from_shapes({frame: shape for frame, shape in shapes.items() if frame in frames})


def recipe_dataset(recipe: "Recipe", files: Sequence["str | DataFile"], **settings: Any) -> VideoReferDataset:
    """Return the data set of a recipe's files, with the settings of the recipe.

    Raises:
        RecordError: see [`VideoReferDataset`].
        ConfigurationError: a weight leaves no record of a file.
    """
    return VideoReferDataset(
        [DataSource.of(entry) for entry in files],
        mode=recipe.data.mode,
        media_root=recipe.data.media_root,
        seed=recipe.train.seed,
        max_frames_per_region=recipe.data.max_frames_per_region,
        on_bad_sample=recipe.data.on_bad_sample,
        keep_scan=recipe.data.keep_scan,
        **settings,
    )


def _check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}.")
