"""Figures of the paper (arXiv 2501.00599), which reports show beside measured ones."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from videorefer_plugin.inputs.wording import QUESTION_TYPES

__all__ = [
    "ABLATIONS",
    "BENCH_D",
    "BENCH_Q",
    "CAPTIONS",
    "GENERAL",
    "SOURCE",
    "PaperRow",
    "PaperTable",
    "quoted",
]

SOURCE = "arXiv 2501.00599"


class PaperRow(NamedTuple):
    """A row of a table of the paper.

    Attributes:
        name (`str`): the model, or its variant.
        mode (`str`): `"single"` or `"multi"`; empty if the paper does not name it.
        values (`dict[str, float]`): values by column.
    """

    name: str
    mode: str
    values: dict[str, float]


class PaperTable(NamedTuple):
    """A table of the paper.

    Attributes:
        number (`int`): number of the table.
        rows (`tuple[PaperRow, ...]`): rows of the table.
        model (`str`): model of the rows.
    """

    number: int
    rows: tuple[PaperRow, ...]
    model: str = "VideoRefer-7B"


_Q_COLUMNS = (*QUESTION_TYPES, "overall")
_D_COLUMNS = ("SC", "AD", "TD", "HD", "average")
_CAPTION_COLUMNS = ("BLEU@4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")


def _row(name: str, mode: str, columns: tuple[str, ...], *values: float) -> PaperRow:
    return PaperRow(name, mode, dict(zip(columns, values, strict=True)))


# Table 2. The average is over questions. Table 5 has further figures of VideoRefer in multi-frame mode.
BENCH_Q = (
    _row("LongVU-7B", "single", _Q_COLUMNS, 47.2, 61.3, 57.5, 85.3, 65.8, 61.0),
    _row("LongVA-7B", "single", _Q_COLUMNS, 56.2, 62.5, 52.0, 83.9, 65.8, 61.8),
    _row("InternVL2-26B", "single", _Q_COLUMNS, 58.5, 63.5, 53.4, 88.0, 78.9, 65.0),
    _row("GPT-4o-mini", "single", _Q_COLUMNS, 57.6, 67.1, 56.5, 85.9, 75.4, 65.8),
    _row("Qwen2-VL-7B", "single", _Q_COLUMNS, 62.0, 69.6, 54.9, 87.3, 74.6, 66.0),
    _row("LLaVA-OV-7B", "single", _Q_COLUMNS, 58.7, 62.9, 64.7, 87.4, 76.3, 67.4),
    _row("GPT-4o", "single", _Q_COLUMNS, 62.3, 74.5, 66.0, 88.0, 73.7, 71.3),
    _row("Osprey-7B", "single", _Q_COLUMNS, 45.9, 47.1, 30.0, 48.6, 23.7, 39.9),
    _row("Ferret-7B", "single", _Q_COLUMNS, 35.2, 44.7, 41.9, 70.4, 74.6, 48.8),
    _row("VideoRefer-7B", "single", _Q_COLUMNS, 75.4, 68.6, 59.3, 89.4, 78.1, 71.9),
    PaperRow(
        "VideoRefer-7B", "multi", {"Sequential Questions": 70.6, "Relationship Questions": 60.5, "overall": 72.1}
    ),
)

# Table 1.
BENCH_D = (
    _row("LongVU-7B", "single", _D_COLUMNS, 2.02, 1.45, 1.98, 1.12, 1.64),
    _row("LongVA-7B", "single", _D_COLUMNS, 2.63, 1.59, 2.12, 2.10, 2.11),
    _row("LLaVA-OV-7B", "single", _D_COLUMNS, 2.62, 1.58, 2.19, 2.07, 2.12),
    _row("Qwen2-VL-7B", "single", _D_COLUMNS, 2.97, 2.24, 2.03, 2.31, 2.39),
    _row("InternVL2-26B", "single", _D_COLUMNS, 3.55, 2.99, 2.57, 2.25, 2.84),
    _row("GPT-4o-mini", "single", _D_COLUMNS, 3.56, 2.85, 2.87, 2.38, 2.92),
    _row("GPT-4o", "single", _D_COLUMNS, 3.34, 2.96, 3.01, 2.50, 2.95),
    _row("Ferret-7B", "single", _D_COLUMNS, 3.08, 2.01, 1.54, 2.14, 2.19),
    _row("Osprey-7B", "single", _D_COLUMNS, 3.19, 2.16, 1.54, 2.45, 2.34),
    _row("Elysium-7B", "single", _D_COLUMNS, 2.35, 0.30, 0.02, 3.59, 1.57),
    _row("VideoRefer-7B", "single", _D_COLUMNS, 4.41, 3.27, 3.03, 2.97, 3.42),
    _row("LongVU-7B", "multi", _D_COLUMNS, 2.33, 1.80, 2.39, 1.68, 2.05),
    _row("LongVA-7B", "multi", _D_COLUMNS, 3.02, 2.30, 1.92, 2.51, 2.44),
    _row("LLaVA-OV-7B", "multi", _D_COLUMNS, 3.09, 1.94, 2.50, 2.41, 2.48),
    _row("Qwen2-VL-7B", "multi", _D_COLUMNS, 3.30, 2.54, 2.22, 2.12, 2.55),
    _row("InternVL2-26B", "multi", _D_COLUMNS, 4.08, 3.35, 3.08, 2.28, 3.20),
    _row("GPT-4o-mini", "multi", _D_COLUMNS, 3.89, 3.18, 2.62, 2.50, 3.05),
    _row("GPT-4o", "multi", _D_COLUMNS, 4.15, 3.31, 3.11, 2.43, 3.25),
    _row("Ferret-7B", "multi", _D_COLUMNS, 3.20, 2.38, 1.97, 1.38, 2.23),
    _row("Osprey-7B", "multi", _D_COLUMNS, 3.30, 2.66, 2.10, 1.58, 2.41),
    _row("Artemis-7B", "multi", _D_COLUMNS, 3.42, 1.34, 1.39, 2.90, 2.26),
    _row("VideoRefer-7B", "multi", _D_COLUMNS, 4.44, 3.27, 3.10, 3.04, 3.46),
)

# Table 3, on the test set of HC-STVG. The paper does not name the mode.
CAPTIONS = (
    _row("Merlin", "", _CAPTION_COLUMNS, 3.3, 11.3, 26.0, 10.5, 20.1),
    _row("Artemis", "", _CAPTION_COLUMNS, 15.5, 18.0, 40.8, 53.2, 25.4),
    _row("VideoRefer", "", _CAPTION_COLUMNS, 16.5, 18.7, 42.4, 68.6, 28.3),
)

# Table 4. VideoMME without and with subtitles.
_GENERAL_COLUMNS = ("Perception-Test", "MVBench", "VideoMME", "VideoMME (subtitles)")
GENERAL = (
    _row("VideoLLaMA2", "", _GENERAL_COLUMNS, 51.4, 54.6, 47.9, 50.3),
    _row("VideoLLaMA2.1", "", _GENERAL_COLUMNS, 54.9, 57.3, 54.9, 56.4),
    _row("Artemis", "", _GENERAL_COLUMNS, 47.1, 34.1, 28.8, 35.3),
    _row("VideoRefer", "", _GENERAL_COLUMNS, 56.3, 59.6, 55.9, 57.6),
)

# Tables 5 to 7, of VideoRefer-7B: "average" is over the scores of VideoRefer-Bench-D, "overall" over the questions of
# VideoRefer-Bench-Q. In single-frame mode, table 5 has other figures than table 2 (68.3 and 59.1 for 68.6 and 59.3).
_SOME_COLUMNS = ("TD", "HD", "Sequential Questions", "Relationship Questions")
_MODE_COLUMNS = ("TD", "HD", "average", "Sequential Questions", "Relationship Questions", "overall")
_DATA_COLUMNS = ("average", "overall", "MVBench")
ABLATIONS = {
    "modes": PaperTable(
        5,
        (
            _row("Single-frame", "single", _MODE_COLUMNS, 3.03, 2.97, 3.42, 68.3, 59.1, 71.9),
            _row("Multi-frame", "multi", _MODE_COLUMNS, 3.10, 3.04, 3.46, 70.6, 60.5, 72.1),
        ),
    ),
    "data": PaperTable(  # the paper does not name the mode; its last row has the averages of single-frame mode
        6,
        (
            PaperRow("w/o Regional data", "", {"MVBench": 57.9}),
            _row("+ Short description", "", _DATA_COLUMNS, 2.43, 68.3, 58.0),
            _row("+ QA", "", _DATA_COLUMNS, 2.45, 71.7, 58.4),
            _row("+ Detailed description", "", _DATA_COLUMNS, 3.42, 71.9, 59.6),
        ),
    ),
    "unions": PaperTable(
        7,
        (
            _row("u = 32", "multi", _SOME_COLUMNS, 3.17, 3.01, 68.7, 58.1),
            _row("u = 16", "multi", _SOME_COLUMNS, 3.20, 2.99, 69.3, 58.5),
            _row("u = 8", "multi", _SOME_COLUMNS, 3.18, 3.02, 69.6, 57.8),
            _row("u = 4", "multi", _SOME_COLUMNS, 3.10, 3.04, 70.6, 60.5),
            _row("u = 1", "multi", _SOME_COLUMNS, 3.08, 2.98, 68.9, 60.9),
        ),
    ),
}


def quoted(rows: Sequence[PaperRow], modes: Collection[str]) -> list[PaperRow]:
    """Return the rows of the paper's model in some modes, and of GPT-4o, to draw beside measured ones."""
    return [row for row in rows if row.mode in modes and row.name in ("VideoRefer-7B", "GPT-4o")]
