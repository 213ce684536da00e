"""`videorefer train`: check data, and run recipes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videorefer_plugin.cli._shell import failed, interrupted, printer, telling
from videorefer_plugin.cli.tiny import tiny
from videorefer_plugin.errors import ConfigurationError, VideoReferError

if TYPE_CHECKING:
    from rich.console import Console

    from videorefer_plugin.training.check import DataReport
    from videorefer_plugin.training.recipe import Recipe

__all__ = ["app"]

app = typer.Typer(help="Train on your own data.", no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Keep the names of commands, also while there is only one."""


@app.command()
def check(
    data: Annotated[
        Path,
        typer.Argument(help="Training records: a JSON list, JSON lines or Parquet. Or a recipe, for all its files."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change in a recipe, such as data.files=a.json.")
    ] = None,
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
    figure: Annotated[
        Path | None, typer.Option(help="Draw what comes in an epoch of each file of a recipe, such as out.png.")
    ] = None,
) -> None:
    """Say what a file of training records holds, which records are bad, and which ones to look at.

    Warnings are of usable records in which masks and frames do not seem to belong together: masks that jump, vanish in
    single frames, are of several sizes, or seem to be numbered in another way than the frames. With --deep, masks are
    also compared with the number, size, proportions and rate of the frames.

    Names of videos may be absolute or lead out of the folder (../): training and this check read what they name, so
    that records which somebody else made may name any file of this machine.

    Of a recipe, all files are checked, and a table says how much of each comes in an epoch.

    Exits with 1 if there are bad records, or if the file cannot be read at all; not for warnings.
    """
    from videorefer_plugin.training.check import check_data

    with telling() as errors:
        recipe = _recipe(data, overrides or [], media_root, show, figure, {"--show-dir": show_dir, "--seed": seed})
        if recipe is not None:
            from videorefer_plugin.training.mixture_report import check_figure, check_mixture

            if figure is not None:
                check_figure(figure)
            with _bar(errors, "checking") as tell:
                mixture = check_mixture(recipe, deep, progress=tell)
            if figure is not None and not any(one.interrupted for one in mixture.reports):
                mixture.draw(figure)
            _say(mixture.to_dict() if as_json else None, *(one.table() for one in mixture.reports), mixture.table())
            _end(errors, mixture.reports)
            return
        folder, said, stopped = None, None, False
        if show:  # needs more than a check does, which is to start quickly
            from videorefer_plugin.training.looks import make_look_folder, show_records

            folder = make_look_folder(data, show_dir)
        with _bar(errors, "checking") as tell:
            report = check_data(data, media_root, deep, progress=tell)
        if folder is not None and not report.interrupted:
            try:
                with _bar(errors, "drawing") as tell:
                    show_records(report, show, folder, media_root, seed=seed, progress=tell)
            except VideoReferError as error:  # what the check has found is told nevertheless
                said = error
            except KeyboardInterrupt:
                stopped = True
        _say(report.to_dict() if as_json else None, report.table())
        if report.shown:
            errors.print(f"{len(report.shown)} picture(s) are in {folder}.", highlight=False)
        if said is not None:
            raise failed(errors, said)
        if stopped:
            done, asked = len(report.shown), min(show, report.records)
            raise interrupted(errors, f"Interrupted after {done} of {asked} picture(s); the check is whole.")
        _end(errors, [report])


def _recipe(
    data: Path,
    overrides: list[str],
    media_root: Path | None,
    shows: int,
    figure: Path | None,
    of_pictures: dict[str, Any],
) -> "Recipe | None":
    """The recipe that is to be checked; `None` if a file of records is."""
    from videorefer_plugin._yaml import shipped_recipes

    if data.suffix not in (".yaml", ".yml") and (data.exists() or str(data) not in shipped_recipes()):
        if overrides or figure is not None:
            what = f"The setting {overrides[0]}" if overrides else "--figure"
            raise ConfigurationError(
                f"{what} is for a recipe, but {data} is a file of records. Check a recipe that has it, such as "
                f"`videorefer train check videollama2.1-7b/stage3 data.files={data}`."
            )
        return None
    if shows:
        raise ConfigurationError(f"--show draws records of one file, but {data} is a recipe. Name one of its files.")
    ignored = next((name for name, value in of_pictures.items() if value), None)
    if ignored is not None:
        raise ConfigurationError(
            f"{ignored} is for the pictures of one file's records, but {data} is a recipe. Leave it out."
        )
    import json

    from videorefer_plugin.training.recipe import load_recipe

    if media_root is not None:  # a text, also if it is a number
        overrides = [*overrides, f"data.media_root={json.dumps(str(media_root), ensure_ascii=False)}"]
    return load_recipe(data, overrides)


@contextmanager
def _bar(errors: "Console", what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that starts when it is known how much there is to do."""
    from rich.progress import Progress

    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(values: dict[str, Any] | None, *tables: Any) -> None:
    """Print JSON, or tables if there are no values."""
    import json

    if values is not None:
        typer.echo(json.dumps(values, indent=2))
        return
    for table in tables:
        printer().print(table)


def _end(errors: "Console", reports: list["DataReport"]) -> None:
    """End as the reports say."""
    if any(report.interrupted for report in reports):
        records = sum(report.records for report in reports)
        raise interrupted(errors, f"Interrupted after {records} record(s).")
    if any(report.bad for report in reports):
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

    Ctrl-C and SIGTERM save a checkpoint at the end of the step, and end it with 130 and 143; a second one ends it at
    once. The same command goes on from the newest checkpoint.
    """
    from videorefer_plugin.training.recipe import load_recipe

    changes = [*(overrides or []), *([] if max_steps is None else [f"train.max_steps={max_steps}"])]
    with telling("Interrupted. The same command goes on from the newest checkpoint, if there is one."):
        loaded = load_recipe(recipe, changes)
        if show:
            import yaml

            typer.echo(yaml.safe_dump(loaded.to_dict(references=True), sort_keys=False))
            return
        from videorefer_plugin.training.run import train

        accelerator = train(loaded, resume=resume).accelerator
        # A process that leaves while another one still saves may be aborted by its backend's threads.
        accelerator.wait_for_everyone()
        accelerator.end_training()


app.command()(tiny)


@app.command("list")
def list_() -> None:
    """List the recipes that come with the package."""
    from videorefer_plugin.training.recipe import list_recipes

    for name in list_recipes():
        typer.echo(name)
