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
    """Keep the commands' names even if the group has a single command."""


@app.command()
def check(
    data: Annotated[
        Path,
        typer.Argument(help="Training records (a JSON list, JSON lines or Parquet), or a recipe for all its files."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change in a recipe, such as data.files=a.json.")
    ] = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder that media paths are relative to. Default: the file's folder.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode the media and draw every mask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    show: Annotated[
        int, typer.Option(min=0, help="Number of records to draw: bad and doubtful ones first, then others.")
    ] = 0,
    show_dir: Annotated[Path | None, typer.Option(help="Folder for the pictures. Default: DATA.look.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of the other records to draw.")] = 0,
    figure: Annotated[
        Path | None, typer.Option(help="Draw how much of an epoch comes from each file of a recipe, such as out.png.")
    ] = None,
) -> None:
    """Summarize a file of training records, and list the records that are bad or worth a look.

    Warnings are about usable records whose masks do not seem to fit the
    frames: masks that jump, vanish in single frames, have several sizes, or
    seem to be numbered differently from the frames. With --deep, masks are
    also compared with the number, size, proportions and rate of the frames.

    Paths of videos may be absolute or lead out of the folder (../). Training
    and this check read these files: records from an unknown source may name
    any file of this machine.

    For a recipe, the command checks all files, and a table shows how much of
    an epoch comes from each.

    The exit code is 1 if there are bad records or the file cannot be read, but
    not for warnings.
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
        if show:  # these imports are slow, and a check should start quickly
            from videorefer_plugin.training.looks import make_look_folder, show_records

            folder = make_look_folder(data, show_dir)
        with _bar(errors, "checking") as tell:
            report = check_data(data, media_root, deep, progress=tell)
        if folder is not None and not report.interrupted:
            try:
                with _bar(errors, "drawing") as tell:
                    show_records(report, show, folder, media_root, seed=seed, progress=tell)
            except VideoReferError as error:  # the findings of the check are still printed
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
    """Return the recipe to check, or `None` for a file of records."""
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

    if media_root is not None:  # keep a text that looks like a number
        overrides = [*overrides, f"data.media_root={json.dumps(str(media_root), ensure_ascii=False)}"]
    return load_recipe(data, overrides)


@contextmanager
def _bar(errors: "Console", what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar that starts once the total is known."""
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
    """End with the exit code that follows from the reports."""
    if any(report.interrupted for report in reports):
        records = sum(report.records for report in reports)
        raise interrupted(errors, f"Interrupted after {records} record(s).")
    if any(report.bad for report in reports):
        raise typer.Exit(1)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A .yaml file, or the name of a packaged recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, such as train.learning_rate=1e-4.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after this many optimizer steps.")] = None,
    resume: Annotated[bool, typer.Option(help="Resume from the newest checkpoint in the output folder.")] = True,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe as it would run, and stop.")] = False,
) -> None:
    """Run a training recipe.

    Start it with `accelerate launch -m videorefer_plugin.cli train run ...` to
    use many GPUs.

    Ctrl-C and SIGTERM save a checkpoint at the end of the step, and exit with
    130 and 143. A second one ends the training at once. The same command
    resumes from the newest checkpoint.
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
        # The backend's threads may abort a process that exits while another one still saves.
        accelerator.wait_for_everyone()
        accelerator.end_training()


app.command()(tiny)


@app.command("list")
def list_() -> None:
    """List the packaged recipes."""
    from videorefer_plugin.training.recipe import list_recipes

    for name in list_recipes():
        typer.echo(name)
