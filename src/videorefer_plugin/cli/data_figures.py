"""`videorefer data figures`: draw statistics of files of records or benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import telling

__all__ = ["figures"]


def figures(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of training records or of a benchmark. STAGE=FILE names a stage of training."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    media_root: Annotated[
        Path | None, typer.Option(help="Folder that paths of videos are relative to. Default: each file's folder.")
    ] = None,
) -> None:
    """Draw the data types, lengths, nouns and durations of records, the media of each stage, and benchmarks.

    The pictures follow figures 9, 8 and 5 of the paper. Without the videos,
    durations are not shown.
    """
    from videorefer_plugin.data_engine.figures import draw_figures

    with telling():
        for path in draw_figures(files, out, media_root):
            typer.echo(path)
