"""`videorefer world`: write a data set of the shapes world."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import GOES_ON, bars, printer, telling

__all__ = ["DataVersion", "world"]

DataVersion = Annotated[
    int | None,
    typer.Option(help="Version of the data. 5 trained the embedded model; `train tiny` uses 7."),
]


def world(
    out: Annotated[Path, typer.Option(help="Folder to write. An interrupted run in it is continued.")],
    clips: Annotated[int, typer.Option(min=0, help="Training clips.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
    heldout: Annotated[int, typer.Option(min=0, help="Clips of the held-out benchmark, two questions each.")] = 0,
    size: Annotated[int, typer.Option(help="Side length of the frames in pixels.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames of a clip, at 8 frames per second.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    data_version: DataVersion = None,
) -> None:
    """Render clips of moving shapes with exact masks, and write training records of every stage and a benchmark.

    The same command continues an interrupted run.
    """
    from rich.table import Table

    from videorefer_plugin.world.dataset import write_dataset

    with telling(GOES_ON) as errors, bars(errors) as tell:

        def progress(done: int, total: int) -> None:
            tell("clips", done, total)

        written = write_dataset(out, clips, seed, heldout, size, frames, workers, progress, data_version)
    table = Table(title=str(out))
    table.add_column("file")
    table.add_column("records", justify="right")
    for name, count in written.items():
        table.add_row(name, str(count))
    printer().print(table)
