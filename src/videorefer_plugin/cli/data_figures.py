"""`videorefer data figures`: draw what files of records or of benchmarks hold."""

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
        Path | None, typer.Option(help="Folder that paths of videos start from; each file's own by default.")
    ] = None,
) -> None:
    """Draw data types, lengths, nouns and durations of records, the media of each stage, and benchmarks.

    After Fig. 9, 8 and 5 of the paper. Videos need not be there; without them, durations are not shown.
    """
    from videorefer_plugin.data_engine.figures import draw_figures

    with telling():
        for path in draw_figures(files, out, media_root):
            typer.echo(path)
