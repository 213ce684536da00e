"""`videorefer bench`: benchmarks of object-level and of general video understanding."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import GOES_ON, printer, telling, warn
from videorefer_plugin.cli.bench_run import (
    BatchSize,
    Benchmarks,
    Encoder,
    Limit,
    MediaRoot,
    Mode,
    Model,
    ModeOption,
    Name,
    NumFrames,
    Out,
)
from videorefer_plugin.cli.world import DataVersion
from videorefer_plugin.embedded import checkpoint

__all__ = ["app"]

app = typer.Typer(cls=Benchmarks, help="Measure a model on benchmarks.", no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Keep the commands' names even if the group has a single command."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def general(
    context: typer.Context,
    model: Model,
    out: Out,
    tasks: Annotated[str | None, typer.Option(help="Tasks, separated by commas. Default: those of the paper.")] = None,
    object_encoder: Encoder = None,
    num_frames: NumFrames = None,
    batch_size: BatchSize = 1,
    limit: Limit = None,
    name: Name = None,
    data_q: Annotated[Path | None, typer.Option(help="File of the task videorefer_bench_q.")] = None,
    data_d: Annotated[Path | None, typer.Option(help="File of the task videorefer_bench_d.")] = None,
    data_captions: Annotated[Path | None, typer.Option(help="File of the task hc_stvg_captions.")] = None,
    media_root: MediaRoot = None,
    mode: ModeOption = Mode.single,
    judge: Annotated[str | None, typer.Option(help="Judge of videorefer_bench_d: 'rule', or a model's name.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="Address of the judge's endpoint.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command of lmms-eval, and stop.")] = False,
    data: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: file of the task of any benchmark. May be repeated.")
    ] = None,
    options: Annotated[
        str | None, typer.Option(help='Options of benchmarks, as JSON: \'{"q": {"types": ["Color"]}}\'.')
    ] = None,
) -> None:
    """Measure general video understanding (Perception-Test, MVBench, VideoMME) with lmms-eval.

    Options that are not listed here are passed on to lmms-eval, which
    downloads the data of its tasks. This library's benchmarks are tasks as
    well; their folders are written to `tasks` in --out.
    """
    import shlex

    from videorefer_plugin.bench import general as lmms
    from videorefer_plugin.bench.lmms.tasks import task_options

    with telling():
        files = {"q": data_q, "d": data_d, "captions": data_captions, **lmms.data_files(data or ())}
        own = task_options(options)
        command = lmms.general_command(
            checkpoint(model),
            tuple(tasks.split(",")) if tasks else lmms.GENERAL_TASKS,
            out=out,
            model_args={"object_encoder": object_encoder, "num_frames": num_frames},
            batch_size=batch_size,
            limit=limit,
            more=context.args,
        )
        if dry_run:
            typer.echo(shlex.join(command))
            return
        lmms.run_general(
            command,
            data={name: path for name, path in files.items() if path is not None},
            media_root=media_root,
            mode=mode.value,
            judge=judge,
            judge_url=judge_endpoint,
            options=own,
        )
        typer.echo(str(lmms.write_general_result(out, model, name)))


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Folders given as --out, or result files in them.")],
    out: Annotated[Path, typer.Option(help="Markdown file. A picture is written beside it.")] = Path("report.md"),
) -> None:
    """Write a report of tables in Markdown and a picture, with the paper's figures marked as such.

    If a folder has no results itself, the results in its subfolders are used.
    The command names folders without any results and exits with 1; it still
    writes the report if another folder has results.
    """
    from videorefer_plugin.bench.report import search_results, write_report

    with telling() as errors:
        found = search_results(results)
        for path in write_report(found.results, out):
            typer.echo(str(path))
        for said in (*found.deeper, *found.lacking):
            warn(errors, said)
    if found.lacking:
        raise typer.Exit(1)


@app.command()
def fetch(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the benchmark's files, to be checked.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Name of one benchmark, such as q. Default: all.")] = None,
) -> None:
    """List where to get each benchmark's files and where to put them, and check a folder. Downloads nothing."""
    from videorefer_plugin.bench.layouts import check_layout, layouts

    console = printer(soft_wrap=True)
    names = [benchmark] if benchmark else None
    with telling():
        if folder is None:
            for name, layout in layouts(names).items():
                console.print(layout.describe(name), highlight=False)
            return
        found = check_layout(folder, names)
    for one in found:
        console.print(one.describe(), highlight=False)
    if not any(one.complete for one in found):
        raise typer.Exit(1)


@app.command()
def probe(
    model: Model,
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the benchmark. Take one that was not used before.")],
    clips: Annotated[int, typer.Option(min=1, help="Clips of the benchmark, with two questions each.")] = 300,
    condition: Annotated[
        list[str] | None, typer.Option(help="Condition to measure. May be repeated. Default: all.")
    ] = None,
    limit: Limit = None,
    batch_size: BatchSize = 8,
    data_version: DataVersion = None,
) -> None:
    """Measure how a model of the shapes world answers without the video, the options, the region or light."""
    from videorefer_plugin.tiny.probing import CONDITIONS
    from videorefer_plugin.tiny.probing import probe as run

    with telling(GOES_ON) as errors:

        def say(text: str) -> None:
            errors.print(text, style="bold", highlight=False)

        chosen = condition or CONDITIONS
        path = run(checkpoint(model), out, seed, clips, limit, batch_size, data_version, chosen, say)
    typer.echo(path.read_text(encoding="utf-8"))


class Table(str, Enum):
    """The tables 5 to 7 of the paper, on the shapes world."""

    modes = "modes"
    unions = "unions"
    data = "data"


@app.command()
def ablate(
    table: Annotated[
        Table, typer.Argument(help="Table to make: frames of a region, unions, or kinds of training data.")
    ],
    world: Annotated[Path, typer.Option(help="Data set of `videorefer world --heldout`.")],
    start: Annotated[
        Path, typer.Option(help="Checkpoint that every row starts from: after stage 1, or before the first --stage.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, answers and tables. A run in it is continued.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change in all recipes.")] = None,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    share: Annotated[float, typer.Option(help="Share of each recipe's steps to run.")] = 1.0,
    stage: Annotated[
        list[str] | None, typer.Option(help="Stage to run. May be repeated. Default: all of a row's stages.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together. Best is one for each core.")
    ] = 1,
) -> None:
    """Train each row of a table on the shapes world, measure it on the held-out benchmark, and write the table."""
    from videorefer_plugin.tiny.ablation import ablate as run

    with telling(GOES_ON) as errors:

        def say(text: str) -> None:
            errors.print(text, style="bold", highlight=False)

        settings = (overrides or [], limit, batch_size, share, stage or None, say, processes)
        path = run(table.value, world, start, out, *settings)
    typer.echo(path.read_text(encoding="utf-8"))
