"""Reports the files that a recipe mixes, and the share of each in an epoch."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._places import check_file_place, writing
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.check import DataReport, check_data
from videorefer_plugin.training.mixture import DataSource, Share
from videorefer_plugin.training.records import KINDS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from videorefer_plugin.training.recipe import Recipe

__all__ = ["MixedFile", "MixtureReport", "check_figure", "check_mixture"]

_MOST_BARS = 40  # files with a bar of their own
_COLORS = {"video": "#3b6ea5", "image": "#e09f3e", "text": "#8a8a8a"}
_SEEN = {"in several frames": "#2a9d8f", "in one frame": "#a3d5c8", "without objects": "#d9d9d9"}


@dataclass
class MixedFile:
    """The share of a file in an epoch.

    Attributes:
        report ([`DataReport`]): contents of the file.
        limit (`int`, *optional*), weight (`float`): the settings of the recipe.
        used (`int`): number of usable records within the limit.
        samples (`int`): number of its records in an epoch.
    """

    report: DataReport
    limit: int | None
    weight: float
    used: int
    samples: int


@dataclass
class MixtureReport:
    """The training data of a recipe.

    Attributes:
        name (`str`): name of the recipe.
        files, eval_files ([`MixedFile`] list): files for training, and for the evaluation loss.
        steps_per_epoch, steps (`int`): optimizer steps in an epoch and in the whole run.
    """

    name: str
    files: list[MixedFile] = field(default_factory=list)
    eval_files: list[MixedFile] = field(default_factory=list)
    steps_per_epoch: int = 0
    steps: int = 0

    @property
    def reports(self) -> list[DataReport]:
        """The reports of all files."""
        return [one.report for one in (*self.files, *self.eval_files)]

    @property
    def samples(self) -> int:
        """Number of records in an epoch."""
        return sum(one.samples for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a `dict` for JSON."""
        plain = {
            name: [{**vars(one), "report": one.report.to_dict()} for one in getattr(self, name)]
            for name in ("files", "eval_files")
        }
        return {**vars(self), **plain, "samples": self.samples}

    def table(self) -> "RenderableType":
        """Return a rich table of the share of each file in an epoch."""
        from rich.box import SIMPLE
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        held = Table(title=Text(f"{self.name}: the samples of an epoch"), box=SIMPLE, padding=(0, 1, 0, 0))
        held.add_column("file", overflow="fold", min_width=14)  # paths are the most important column
        for name in ("records", "%", "limit", "weight", "samples", "%", "objects", "frames\nof each"):
            held.add_column(name, justify="right", no_wrap=True)
        records = sum(one.report.records - len(one.report.bad) for one in self.files)
        for one in self.files:
            held.add_row(*_cells(one, records, self.samples))
        if len(self.files) > 1:
            objects = sum(_times(one) * one.report.objects for one in self.files)
            held.add_row("together", str(records), "100", "", "", str(self.samples), "100", f"{objects:.0f}", "")
        for one in self.eval_files:
            held.add_row(*_cells(one, 0, 0, " (evaluation)"))
        return Group(held, Text(f"{self.steps_per_epoch} optimizer step(s) an epoch, {self.steps} in all"))

    def draw(self, path: str | os.PathLike) -> None:
        """Draw the share of each file in an epoch, as in Fig. 8 of the paper.

        Raises:
            ConfigurationError: matplotlib is not installed, or the picture cannot be written.
        """
        figure = check_figure(path)
        files = sorted(self.files, key=lambda one: -one.samples)
        rows: list[Any] = [(Path(one.report.path).name, one.samples, *_parts(one)) for one in files[:_MOST_BARS]]
        if rest := files[_MOST_BARS:]:
            kinds, seen = zip(*map(_parts, rest), strict=True)
            sums = [[sum(values) for values in zip(*part, strict=True)] for part in (kinds, seen)]
            rows.append((f"{len(rest)} other files", sum(one.samples for one in rest), *sums))
        figure.set_size_inches(12, 1.8 + 0.42 * len(rows))
        axes = figure.subplots(1, 2, sharey=True)
        _bars(axes[0], rows, 2, _COLORS, "records about", self.samples)
        _bars(axes[1], rows, 3, _SEEN, "objects of a record", None)
        figure.suptitle(
            f"{self.name}: {self.samples:,} samples an epoch, {self.steps:,} optimizer steps", parse_math=False
        )
        kind = os.path.splitext(os.fspath(path))[1][1:].lower()
        with writing(path, ConfigurationError):
            write_whole(Path(path), functools.partial(figure.savefig, dpi=120, format=kind))


def _times(one: MixedFile) -> float:
    """Return how often a usable record of a file comes in an epoch, on average."""
    return one.samples / max(one.report.records - len(one.report.bad), 1)


def _parts(one: MixedFile) -> tuple[list[float], list[float]]:
    """Return the samples of a file by their visual, and by the number of frames of their objects."""
    report, times = one.report, _times(one)
    seen = (report.multi_frame, report.single_frame, report.without_regions)
    return [times * report.kinds[kind] for kind in KINDS], [times * count for count in seen]


def _cells(one: MixedFile, records: int, samples: int, note: str = "") -> list[Any]:
    from rich.text import Text

    report = one.report
    usable = report.records - len(report.bad)
    return [
        Text(f"{report.path}{note}"),
        str(usable),
        f"{100 * usable / records:.1f}" if records else "",
        "" if one.limit is None else str(one.limit),
        f"{one.weight:g}",
        str(one.samples),
        f"{100 * one.samples / samples:.1f}" if samples else "",
        f"{_times(one) * report.objects:.0f}",
        f"{report.masks / report.objects:.1f}" if report.objects else "",
    ]


def _bars(axes: Any, rows: Sequence[Any], part: int, colors: dict[str, str], title: str, total: int | None) -> None:
    places = list(range(len(rows)))
    left = [0.0] * len(rows)
    names = KINDS if colors is _COLORS else tuple(colors)
    for number, name in enumerate(names):
        widths = [row[part][number] for row in rows]
        if any(widths):
            axes.barh(places, widths, left=left, color=colors[name], label="nothing" if name == "text" else name)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, [row[0] for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("samples an epoch")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    if total:
        for place, row in zip(places, rows, strict=True):
            said = f"{row[1]:,} ({100 * row[1] / total:.0f} %)"
            axes.annotate(said, (row[1], place), (4, 0), textcoords="offset points", va="center")
        axes.margins(x=0.25)
    axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)


def check_figure(path: str | os.PathLike) -> Any:
    """Return an empty figure, after checking that the file can be written.

    Raises:
        ConfigurationError: matplotlib is not installed or does not write such files, or there is no such folder.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError(
            "The picture of a mixture needs matplotlib: pip install 'videorefer-plugin[bench]'"
        ) from error
    figure, target = Figure(layout="constrained"), Path(path)
    known = FigureCanvasAgg(figure).get_supported_filetypes()  # needs no display
    if target.suffix[1:].lower() not in known:
        raise ConfigurationError(f"{target} is not a name of a picture; expected one that ends in .png, .pdf or .svg.")
    check_file_place(target, ConfigurationError)
    return figure


def check_mixture(
    recipe: "Recipe", deep: bool = False, *, progress: Callable[[int, int], None] | None = None
) -> MixtureReport:
    """Check all files of a recipe, and report the share of each in an epoch.

    Args:
        recipe ([`Recipe`]): the recipe.
        deep (`bool`, *optional*, defaults to `False`): also decode media and draw masks; see [`check_data`].
        progress (*optional*): called after every record with the amount of its file that was read, and the file's
            size.

    Returns:
        [`MixtureReport`]: contents of the files. If the check is interrupted (Ctrl-C), the contents until then.

    Raises:
        ConfigurationError: the recipe names no files, or a weight leaves no record of a file.
        RecordError: a file as a whole cannot be read.
    """
    report = MixtureReport(recipe.name)
    if not recipe.data.files:
        raise ConfigurationError("The recipe names no data. Give data.files, a list of files.")
    for files, entries in ((report.files, recipe.data.files), (report.eval_files, recipe.data.eval_files)):
        for number, source in enumerate(map(DataSource.of, entries)):
            root = source.media_root if source.media_root is not None else recipe.data.media_root
            found = check_data(source.path, root, deep, progress=progress)
            usable = found.records - len(found.bad)
            share = Share.of(number, source.path, usable, source.limit, source.weight, recipe.train.seed)
            files.append(MixedFile(found, source.limit, source.weight, len(share.records), len(share)))
            if found.interrupted:
                return report
    train = recipe.train
    report.steps_per_epoch = math.ceil(report.samples / train.global_batch_size)
    whole = math.ceil(train.epochs * report.steps_per_epoch)
    report.steps = whole if train.max_steps in (None, -1) else train.max_steps
    return report
