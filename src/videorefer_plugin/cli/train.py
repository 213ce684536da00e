"""`videorefer train`: check data, and run recipes."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli.tiny import tiny
from videorefer_plugin.errors import VideoReferError

__all__ = ["app"]

app = typer.Typer(help="Train on your own data.", no_args_is_help=True)

_INTERRUPTED = 130  # what a shell reports for a command that was interrupted


@app.callback()
def _main() -> None:
    """Keep the names of commands, also while there is only one."""


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Training records: a JSON list, JSON lines or Parquet.")],
    media_root: Annotated[
        Path | None, typer.Option(help="Folder that relative media paths start from; the file's own by default.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode the media and draw every mask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    show: Annotated[
        int, typer.Option(min=0, help="Write pictures of so many records: bad and doubtful ones first, then others.")
    ] = 0,
    show_dir: Annotated[Path | None, typer.Option(help="Folder for the pictures; DATA.look by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of the other records to show.")] = 0,
) -> None:
    """Say what a file of training records holds, which records are bad, and which ones to look at.

    Warnings are of usable records in which masks and frames do not seem to belong together: masks that jump, vanish in
    single frames, are of several sizes, or seem to be numbered in another way than the frames. With --deep, masks are
    also compared with the number, size, proportions and rate of the frames.

    Exits with 1 if there are bad records, or if the file cannot be read at all; not for warnings.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from videorefer_plugin.training.check import check_data

    errors = Console(stderr=True, markup=False, emoji=False)
    folder, failed, stopped = None, None, False
    try:
        if show:  # needs more than a check does, which is to start quickly
            from videorefer_plugin.training.looks import make_look_folder, show_records

            folder = make_look_folder(data, show_dir)
        with Progress(console=errors, transient=True) as bar:
            task = bar.add_task("checking", total=None)
            report = check_data(
                data,
                media_root,
                deep,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            if folder is not None and not report.interrupted:
                drawing = bar.add_task("drawing", total=show)
                try:
                    show_records(
                        report,
                        show,
                        folder,
                        media_root,
                        seed=seed,
                        progress=lambda done, total: bar.update(drawing, completed=done, total=total),
                    )
                except VideoReferError as error:  # what the check has found is told nevertheless
                    failed = error
                except KeyboardInterrupt:
                    stopped = True
    except VideoReferError as error:
        errors.print(str(error), style="red", highlight=False)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        Console(markup=False, emoji=False).print(report.table())
    if report.shown:
        errors.print(f"{len(report.shown)} picture(s) are in {folder}.", highlight=False)
    if failed is not None:
        errors.print(str(failed), style="red", highlight=False)
        raise typer.Exit(1) from failed
    if report.interrupted:
        errors.print(f"Interrupted after {report.records} record(s).", style="yellow")
        raise typer.Exit(_INTERRUPTED)
    if stopped:
        done, asked = len(report.shown), min(show, report.records)
        errors.print(f"Interrupted after {done} of {asked} picture(s); the check is whole.", style="yellow")
        raise typer.Exit(_INTERRUPTED)
    if report.bad:
        raise typer.Exit(1)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A .yaml file, or the name of a recipe that comes with the package.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, such as train.learning_rate=1e-4.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many optimiser steps.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint in the output folder.")] = True,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe as it would run, and stop.")] = False,
) -> None:
    """Run a training recipe.

    Start it with `accelerate launch -m videorefer_plugin.cli train run ...` to use many GPUs.
    """
    from rich.console import Console

    from videorefer_plugin.training.recipe import load_recipe

    errors = Console(stderr=True, markup=False, emoji=False)
    changes = [*(overrides or []), *([] if max_steps is None else [f"train.max_steps={max_steps}"])]
    try:
        loaded = load_recipe(recipe, changes)
        if show:
            import yaml

            typer.echo(yaml.safe_dump(loaded.to_dict(), sort_keys=False))
            return
        from videorefer_plugin.training.run import train

        accelerator = train(loaded, resume=resume).accelerator
        # A process that leaves while another one still saves may be aborted by its backend's threads.
        accelerator.wait_for_everyone()
        accelerator.end_training()
    except VideoReferError as error:
        errors.print(str(error), style="red", highlight=False)
        raise typer.Exit(1) from error


app.command()(tiny)


@app.command("list")
def list_() -> None:
    """List the recipes that come with the package."""
    from videorefer_plugin.training.recipe import list_recipes

    for name in list_recipes():
        typer.echo(name)
