"""`videorefer data`: make object-level data from videos with captions."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from videorefer_plugin.cli import data_demo, data_figures, data_publish, data_review
from videorefer_plugin.cli._shell import bars, printer, telling, warn

__all__ = ["app"]

app = typer.Typer(help="Make object-level data from videos with captions or masks.", no_args_is_help=True)

Recipe = Annotated[str, typer.Argument(help="A .yaml file, or the name of a packaged recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, such as annotator.batch_size=4 source.files=[a.json].")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run. Default: output.folder of the recipe.")]
Exclude = Annotated[
    list[Path] | None,
    typer.Option(help="File of a benchmark whose videos are left out. May be repeated."),
]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Continue a folder with other sources or settings, and keep the work that does not depend on them.",
    ),
]
MaxCost = Annotated[
    float | None, typer.Option(help="Stop once the whole run has cost this much, in the currency of the prices.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def _main() -> None:
    """Keep the commands' names even if the group has a single command."""


@app.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first sources, this many.")] = None,
    max_cost: MaxCost = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run only the sources that failed.")] = False,
    exclude: Exclude = None,
    accept_changes: AcceptChanges = False,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe as it would run, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe of the data engine.

    Every stage of every source runs once. After Ctrl-C, a crash or the end of
    the budget, the same command continues the run. failed.jsonl lists the
    sources that failed, with reasons. Run them again with --retry or
    `videorefer data retry FOLDER`.
    """

    def work(tell: Any) -> Any:
        from videorefer_plugin.data_engine.runs import run_engine

        return run_engine(
            _recipe(recipe, overrides, out, exclude),
            limit=limit,
            max_cost=max_cost,
            retry=retry,
            accept_changes=accept_changes,
            progress=tell,
        )

    if show:
        with telling():
            import yaml

            typer.echo(yaml.safe_dump(_recipe(recipe, overrides, out, exclude).to_dict(), sort_keys=False))
        return
    _do(work, as_json)


@app.command()
def retry(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    max_cost: MaxCost = None,
    as_json: Json = False,
) -> None:
    """Run the sources again that failed in a run."""

    def work(tell: Any) -> Any:
        import dataclasses

        from videorefer_plugin.data_engine.folders import RunFolder
        from videorefer_plugin.data_engine.runs import run_engine

        there = RunFolder(folder)
        before = there.ledger_bytes()
        report = run_engine(there.recipe(), max_cost=max_cost, retry=True, progress=tell)
        if there.ledger_bytes() != before or report.failed:
            return report
        said = f"No source of {folder} had failed, so that there was nothing to do again."
        return dataclasses.replace(report, notes=(*report.notes, said))

    _do(work, as_json)


@app.command()
def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Sources to run for the estimate, chosen by the recipe's seed.")
    ] = 1,
    exclude: Exclude = None,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """Estimate the calls, tokens, price and hours of every stage of a run.

    The estimate runs some sources in the folder of the run, which later uses
    their results.
    """

    def work(tell: Any) -> Any:
        from videorefer_plugin.data_engine.plans import plan_engine

        loaded = _recipe(recipe, overrides, out, exclude)
        return plan_engine(loaded, sample=sample, accept_changes=accept_changes, progress=tell)

    _do(work, as_json)


@app.command("list")
def list_() -> None:
    """List the packaged recipes of the data engine."""
    from videorefer_plugin.data_engine.recipe import list_engine_recipes

    for name in list_engine_recipes():
        typer.echo(name)


@app.command()
def agents() -> None:
    """List the agents of every stage."""
    from videorefer_plugin.data_engine.registry import agents as known

    for stage, names in known().items():
        typer.echo(f"{stage}: {', '.join(names)}")


def _recipe(recipe: str, overrides: list[str] | None, out: Path | None, exclude: list[Path] | None) -> Any:
    """Return the recipe with the changes of the command line."""
    from videorefer_plugin.data_engine.recipe import load_engine_recipe

    loaded = load_engine_recipe(recipe, overrides or [])
    if out is not None:
        loaded.output.folder = str(out)
    loaded.source.exclude += map(str, exclude or [])
    return loaded.check()


def _do(work: Callable[[Any], Any], as_json: bool) -> None:
    """Run the work with a progress bar for each stage, and print the result."""
    import json

    with telling("Interrupted.") as errors, bars(errors, rate=True, stay=True) as tell:
        report = work(tell)
    for note in report.notes:
        warn(errors, note)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        printer().print(report.table())
    if getattr(report, "stopped", ""):
        warn(errors, report.stopped)
    if getattr(report, "failed", 0):
        said = f"{report.failed} source(s) failed; {Path(report.folder) / 'failed.jsonl'} says why."
        warn(errors, f"{said} videorefer data retry {report.folder} runs them again.")


app.command()(data_figures.figures)
app.command()(data_publish.publish)
app.command()(data_review.review)
app.command()(data_demo.demo)
