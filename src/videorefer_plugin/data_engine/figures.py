"""Pictures of data: records (paper, Fig. 9), training data of stages (Fig. 8), and benchmarks (Fig. 5)."""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._places import check_folder_place
from videorefer_plugin._text import cut, listed, short
from videorefer_plugin.bench.items import QUESTION_TYPES
from videorefer_plugin.data_engine.figure_counts import (
    OBJECT_TYPES,
    BenchCounts,
    RecordFigures,
    bench_counts,
    is_bench,
    record_counts,
)
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["draw_figures"]

_MEDIA = (
    "video, with objects",
    "video, without objects",
    "image, with objects",
    "image, without objects",
    "text, without objects",
)
# Colors that color-blind people can tell apart (M. Okabe and K. Ito).
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_MOST_NOUNS = 20
_BARS = 24
_FEW = 4
_LABELED = 0.05  # a share from which on a piece of the ring has a number


def draw_figures(
    files: Sequence[str | os.PathLike], out: str | os.PathLike, media_root: Path | None = None, seed: int = 0
) -> list[Path]:
    """Draw statistics of files of records or of benchmarks.

    `data_types.png` shows the types of turns, the lengths of answers, the frames of objects, their nouns and the
    durations of videos, as far as they are known, of all records together. `stages.png` shows the media of each stage.
    `bench_NAME.png` shows the types of questions, lengths and objects of a benchmark file.

    Args:
        files: record or benchmark files. `STAGE=FILE` names the stage of training records; several files may belong to
            the same stage. Without it, each file is a separate stage.
        out: folder for the pictures, which is created.
        media_root (`Path`, *optional*): folder that paths of videos are relative to. Default: each file's folder.
        seed (`int`): seed of the choice of videos that are opened for their duration.

    Returns:
        The written pictures.

    Raises:
        ConfigurationError: there are no files, or the folder cannot be written.
        EngineError: matplotlib is not installed, or a file has no contents that can be shown.
        RecordError, BenchError: a file cannot be read.
    """
    figure = _figure_class()
    check_folder_place(out, ConfigurationError)
    stages: dict[str, list[Path]] = {}
    benches: list[Path] = []
    for given in files:
        name, path = _named(os.fspath(given))
        if is_bench(path):
            benches.append(path)
        else:
            stages.setdefault(name, []).append(path)
    if not stages and not benches:
        raise ConfigurationError("There is nothing to draw; name files of training records, or of a benchmark.")
    counts = [record_counts(name, paths, media_root, seed) for name, paths in stages.items()]
    drawn: dict[str, Any] = {}
    if counts:
        drawn["data_types.png"] = _draw_types(figure, _together(counts))
        drawn["stages.png"] = _draw_stages(figure, counts)
    for path in benches:
        drawn[_free_name(path, drawn)] = _draw_bench(figure, bench_counts(path))
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn.items():
            write_whole(folder / name, functools.partial(picture.savefig, dpi=120, format="png"))
    except OSError as error:
        raise ConfigurationError(
            f"{short(str(folder))} cannot be written ({error}); choose another folder."
        ) from error
    return [folder / name for name in drawn]


def _free_name(path: Path, taken: Container[str]) -> str:
    """Return the picture's path for a benchmark file: the file's name, if necessary with its folder or a number."""
    beside = f"{path.absolute().parent.name}_{path.stem}"
    numbered = (f"{beside}_{number}" for number in itertools.count(2))
    return next(
        f"bench_{name}.png"
        for name in itertools.chain([path.stem, beside], numbered)
        if f"bench_{name}.png" not in taken
    )


def _figure_class() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineError("Pictures of data need matplotlib: pip install 'videorefer-plugin[engine]'.") from error

    def make(columns: int, rows: int) -> Any:
        figure = Figure(figsize=(6 * columns, 4.5 * rows), layout="constrained")
        FigureCanvasAgg(figure)  # needs no display, and does not change matplotlib's global settings
        return figure

    return make


def _named(given: str) -> tuple[str, Path]:
    """Return the stage that is named before a file, or the file's name, and the file."""
    name, separator, path = given.partition("=")
    if separator and name and path and not os.path.exists(given):
        return name, Path(path)
    path_only = Path(given)
    return path_only.parent.name if path_only.stem == "records" else path_only.stem, path_only


def _together(counts: Sequence[RecordFigures]) -> RecordFigures:
    """Return the counts of all records. A video in several files counts in each."""
    whole = RecordFigures(listed(one.name for one in counts))
    for one in counts:
        whole.records, whole.bad, whole.videos = (
            whole.records + one.records,
            whole.bad + one.bad,
            whole.videos + one.videos,
        )
        for name in ("media", "types", "frames", "objects", "nouns"):
            getattr(whole, name).update(getattr(one, name))
        for kind, words in one.words.items():
            whole.words.setdefault(kind, Counter()).update(words)
        whole.seconds += one.seconds
    return whole


# --- the figures -----------------------------------------------------------------------------------------------------


def _draw_types(figure: Any, counts: RecordFigures) -> Any:
    """Draw Fig. 9 of the paper, with further counts of the records."""
    parts = [functools.partial(_ring, title="turns about objects, by type", counts=counts.types, order=OBJECT_TYPES)]
    if counts.types:
        parts.append(functools.partial(_lengths, counts=counts))
        parts.append(
            functools.partial(
                _histogram, title="frames in which an object is given", counts=counts.frames, of="objects"
            )
        )
        parts.append(functools.partial(_histogram, title="objects of a record", counts=counts.objects, of="records"))
    if counts.nouns:
        parts.append(functools.partial(_nouns, counts=counts.nouns))
    if counts.seconds:
        parts.append(functools.partial(_durations, counts=counts))
    made = _panels(figure, parts)
    bad = f", of which {counts.bad:,} cannot be used" if counts.bad else ""
    made.suptitle(f"{_plain(counts.name)}: {counts.records:,} records{bad}, {counts.videos:,} videos")
    return made


def _draw_stages(figure: Any, counts: Sequence[RecordFigures]) -> Any:
    """Draw Fig. 8 of the paper: the training data of each stage."""
    parts = [
        functools.partial(
            _ring, title=f"{one.name}: {one.records - one.bad:,} records", counts=one.media, order=_MEDIA
        )
        for one in counts
    ]
    made = _panels(figure, parts)
    made.suptitle("Records of each stage")
    return made


def _draw_bench(figure: Any, counts: BenchCounts) -> Any:
    """Draw Fig. 5 of the paper."""
    text = "question" if counts.kind == "q" else "description"
    parts = []
    if counts.kind == "q":
        order = [*QUESTION_TYPES, *sorted(counts.types.keys() - set(QUESTION_TYPES))]
        parts.append(functools.partial(_ring, title="questions, by type", counts=counts.types, order=order))
        parts.append(
            functools.partial(_histogram, title="options of a question", counts=counts.options, of="questions")
        )
    parts += [
        functools.partial(_histogram, title=f"words of a {text}", counts=counts.words, of="items"),
        functools.partial(_histogram, title="objects of an item", counts=counts.objects, of="items"),
        functools.partial(_histogram, title="frames in which an object is given", counts=counts.frames, of="objects"),
    ]
    made = _panels(figure, parts)
    made.suptitle(
        f"{_plain(counts.name)} (as VideoRefer-Bench-{counts.kind.upper()}): {counts.items:,} items, "
        f"{counts.videos:,} videos"
    )
    return made


# --- their parts -----------------------------------------------------------------------------------------------------


def _panels(figure: Any, parts: Sequence[Any]) -> Any:
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    made = figure(columns, rows)
    for place, part in enumerate(parts, 1):
        part(made.add_subplot(rows, columns, place))
    return made


def _ring(axes: Any, *, title: str, counts: Mapping[str, int], order: Sequence[str]) -> None:
    axes.set_title(_plain(title))
    names = [name for name in order if counts.get(name)]
    if not names:
        axes.axis("off")
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    values = [counts[name] for name in names]
    total = sum(values)
    colors = [_COLORS[order.index(name) % len(_COLORS)] for name in names]
    wedges, _ = axes.pie(values, colors=colors, startangle=90, counterclock=False, wedgeprops={"width": 0.4})
    for wedge, value in zip(wedges, values, strict=True):
        wedge.set_edgecolor("white")
        if value / total >= _LABELED:
            _label_wedge(axes, wedge, f"{100 * value / total:.0f} %")
    axes.text(0, 0, f"{total:,}", ha="center", va="center", fontsize="x-large")
    labels = [f"{_plain(name)}: {value:,}" for name, value in zip(names, values, strict=True)]
    axes.legend(wedges, labels, loc="upper center", bbox_to_anchor=(0.5, 0.02), fontsize="small", frameon=False)


def _label_wedge(axes: Any, wedge: Any, text: str) -> None:
    import math

    angle = math.radians((wedge.theta1 + wedge.theta2) / 2)
    axes.text(
        0.8 * math.cos(angle), 0.8 * math.sin(angle), text, ha="center", va="center", color="white", weight="bold"
    )


def _histogram(axes: Any, *, title: str, counts: Counter[int], of: str) -> None:
    """Draw bars of single numbers, or of ranges if there are many numbers."""
    axes.set_title(title)
    axes.set_ylabel(of)
    if not counts:
        return
    low, high = min(counts), max(counts)
    step = -(-(high - low + 1) // _BARS)
    bars: Counter[int] = Counter()
    for number, count in counts.items():
        bars[low + (number - low) // step * step] += count
    axes.bar([start + (step - 1) / 2 for start in bars], list(bars.values()), width=0.9 * step, color=_COLORS[0])
    if high - low < _FEW:  # a single bar would be as wide as the picture
        middle = (low + high) / 2
        axes.set_xlim(middle - _FEW / 2 - 0.6, middle + _FEW / 2 + 0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    mean = sum(number * count for number, count in counts.items()) / sum(counts.values())
    axes.set_xlabel(f"mean {mean:.1f}")


def _lengths(axes: Any, *, counts: RecordFigures) -> None:
    """Draw the lengths of answers by type as boxes: quartiles, and the percentiles 5 and 95."""
    axes.set_title("words of an answer")
    kinds = [kind for kind in OBJECT_TYPES if counts.words.get(kind)]
    for place, kind in enumerate(kinds):
        low, first, middle, third, high = (
            _quantile(counts.words[kind], share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)
        )
        color = _COLORS[OBJECT_TYPES.index(kind)]
        axes.plot([low, high], [place, place], color="black", marker="|", zorder=1)
        axes.barh(place, third - first, 0.5, left=first, color=color, edgecolor="black", zorder=2)
        axes.plot([middle, middle], [place - 0.25, place + 0.25], color="black", zorder=3)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("middle half in the box, 5 to 95 % between the whiskers")


def _quantile(counts: Mapping[int, int], share: float) -> int:
    left = share * sum(counts.values())
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return number
    return max(counts)


def _nouns(axes: Any, *, counts: Counter[str]) -> None:
    axes.set_title(f"nouns of objects, {min(_MOST_NOUNS, len(counts))} of {len(counts):,} names")
    found = counts.most_common(_MOST_NOUNS)
    names = [_plain(cut(name, 22)) for name, _ in found]
    axes.barh(range(len(found)), [count for _, count in found], color=_COLORS[2])
    axes.set_yticks(range(len(found)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("objects")


def _durations(axes: Any, *, counts: RecordFigures) -> None:
    axes.set_title("duration of a video")
    axes.hist(counts.seconds, bins=_BARS, color=_COLORS[0], rwidth=0.9)
    axes.set_xlabel(f"seconds, of {len(counts.seconds):,} of {counts.videos:,} videos")
    axes.set_ylabel("videos")


def _plain(text: str) -> str:
    """Return a text escaped for matplotlib's formulas, with the numbers of characters that its font lacks."""
    known = _known_characters()
    shown = "".join(
        letter if ord(letter) in known else letter.encode("ascii", "backslashreplace").decode() for letter in text
    )
    return shown.replace("$", r"\$")


@functools.cache
def _known_characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
