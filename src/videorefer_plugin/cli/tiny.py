"""`videorefer train tiny`: make the embedded model."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import GOES_ON, telling
from videorefer_plugin.cli.world import DataVersion

__all__ = ["tiny"]


def tiny(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change in all recipes.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for data, stages and the checkpoint.")] = Path("output/tiny"),
    clips: Annotated[int, typer.Option(min=1, help="Training clips to render.")] = 10_000,
    heldout: Annotated[int, typer.Option(min=0, help="Clips of the benchmark to render.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the clips.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render clips.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes that train together, best one for each core.")] = 1,
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage; several are run in order.")] = None,
    data_version: DataVersion = None,
    start: Annotated[
        str | None,
        typer.Option(help="A checkpoint that goes on, or 'embedded': it learns letters, and keeps the rest."),
    ] = None,
) -> None:
    """Make the embedded model from nothing: render its world, run the recipes tiny/ and pack the checkpoint.

    The same command goes on after an interruption. Longer training is train.epochs=... for one --stage.
    """
    from videorefer_plugin.embedded import tiny_checkpoint
    from videorefer_plugin.tiny.making import make_tiny

    with telling(GOES_ON) as errors:

        def say(text: str) -> None:
            errors.print(text, style="bold", highlight=False)

        made = (out, clips, heldout, seed, workers, stage or None, overrides or [], say, processes, data_version)
        folder = make_tiny(*made, start=tiny_checkpoint() if start == "embedded" else start)
    typer.echo(folder)
