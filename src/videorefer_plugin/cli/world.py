"""`videorefer world`: write a data set of the shapes world."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.errors import VideoReferError

__all__ = ["world"]

_INTERRUPTED = 130  # what a shell reports for a command that was interrupted


def world(
    out: Annotated[Path, typer.Option(help="Folder to write, or to go on with.")],
    clips: Annotated[int, typer.Option(min=0, help="Training clips.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
    heldout: Annotated[int, typer.Option(min=0, help="Clips of the held-out benchmark, two questions each.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the frames in pixels.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames of a clip, at 8 a second.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Render clips of moving shapes with exact masks, write training records of every stage and a benchmark.

    An interrupted run goes on where it was when it is started again.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from videorefer_plugin.world.dataset import write_dataset

    errors, console = Console(stderr=True, markup=False, emoji=False), Console(markup=False, emoji=False)
    columns = (TextColumn("clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=errors, transient=True) as bar:
            task = bar.add_task("clips", total=None)
            written = write_dataset(
                out,
                clips,
                seed,
                heldout,
                size,
                frames,
                workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except VideoReferError as error:
        errors.print(str(error), style="red", highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        errors.print("Interrupted. The same command goes on from here.", style="yellow")
        raise typer.Exit(_INTERRUPTED) from None
    table = Table(title=str(out))
    table.add_column("file")
    table.add_column("records", justify="right")
    for name, count in written.items():
        table.add_row(name, str(count))
    console.print(table)
