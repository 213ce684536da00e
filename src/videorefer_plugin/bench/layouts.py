"""Where the benchmarks expect their files, and whether these are there. Nothing is downloaded."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import BenchError

__all__ = ["LAYOUTS", "Found", "Layout", "check_layout", "check_names"]


@dataclass(frozen=True)
class Layout:
    """Files of a benchmark.

    Attributes:
        name (`str`): `"q"`, `"d"` or `"captions"`.
        title (`str`): what it is.
        file (`str`): its items, from the benchmark's folder.
        media (`tuple[str, ...]`): folders of videos, from the same folder.
        media_root (`str`): the folder that the items' paths start from.
        source (`str`): where to get it.
    """

    name: str
    title: str
    file: str
    media: tuple[str, ...]
    media_root: str
    source: str

    def describe(self) -> str:
        """Where everything comes from and belongs, in words."""
        paths = "\n".join(f"    {path}" for path in (self.file, *self.media))
        return (
            f"{self.title}\n  from {self.source}\n  expected in one folder:\n{paths}\n"
            f"  then: videorefer bench {self.name} FOLDER/{self.file} --media-root FOLDER"
            f"{'' if self.media_root == '.' else '/' + self.media_root} --model ... --out ...\n"
        )


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "q",
            "VideoRefer-Bench-Q: 1,000 questions about 198 videos",
            "VideoRefer-Bench-Q.json",
            ("DAVIS/JPEGImages/480p", "MeViS/valid_u/JPEGImages"),
            ".",
            "questions: the data set DAMO-NLP-SG/VideoRefer-Bench on the Hugging Face Hub; frames: DAVIS 2017 "
            "(TrainVal, Test-Dev and Test-Challenge, 480p) and MeViS (valid_u), each under its own terms",
        ),
        Layout(
            "d",
            "VideoRefer-Bench-D: 400 objects to describe",
            "VideoRefer-Bench-D.json",
            ("Panda-70M-part",),
            "Panda-70M-part",
            "objects, and Panda-70M-part.zip with the videos: the data set DAMO-NLP-SG/VideoRefer-Bench on the "
            "Hugging Face Hub",
        ),
        Layout(
            "captions",
            "HC-STVG: captions of people",
            "test.json",
            ("videos",),
            "videos",
            "annotations and videos: the HC-STVG data set, from its authors",
        ),
    )
}


@dataclass(frozen=True)
class Found:
    """What there is of a benchmark.

    Attributes:
        layout: what was expected.
        missing (`list[str]`): paths that are not there.
        problem (`str`): why the items cannot be used, otherwise empty.
        items (`int`): how many can, if nothing is wrong.
    """

    layout: Layout
    missing: list[str]
    problem: str
    items: int

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong."""
        return not self.missing and not self.problem

    def describe(self) -> str:
        """What there is, in words."""
        head = f"{self.layout.title}: " + (f"complete, {self.items} items" if self.complete else "not complete")
        lines = [head, *(f"  missing: {path}" for path in self.missing)]
        if self.problem:
            lines.append(f"  {self.problem}")
        return "\n".join(lines)


def check_layout(folder: str | os.PathLike, names: Sequence[str] = tuple(LAYOUTS)) -> list[Found]:
    """Check folders of benchmarks: that everything is there, and that every item can be used.

    Args:
        folder: where the files of one benchmark are.
        names: the benchmarks to look for.

    Raises:
        BenchError: a benchmark is unknown.
    """
    from videorefer_plugin.bench.items import read_captions, read_descriptions, read_questions

    readers: dict[str, Callable[..., Sequence[Any]]] = {
        "q": read_questions,
        "d": read_descriptions,
        "captions": read_captions,
    }
    found = []
    for name in check_names(names):
        layout, root = LAYOUTS[name], Path(folder)
        missing = [path for path in (layout.file, *layout.media) if not (root / path).exists()]
        items, problem = 0, ""
        if layout.file not in missing:
            try:
                items = len(readers[name](root / layout.file, root / layout.media_root, "single"))
            except BenchError as error:
                problem = str(error)
        found.append(Found(layout, missing, problem, items))
    return found


def check_names(names: Sequence[str]) -> Sequence[str]:
    """The same names.

    Raises:
        BenchError: one is not that of a benchmark.
    """
    for name in names:
        if name not in LAYOUTS:
            raise BenchError(f"unknown benchmark {name!r}: expected {', '.join(LAYOUTS)}")
    return names
