"""`videorefer bench`: benchmarks of object-level and of general video understanding."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videorefer_plugin.errors import VideoReferError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app"]

app = typer.Typer(help="Measure a model on benchmarks.", no_args_is_help=True)

_INTERRUPTED = 130  # what a shell reports for a command that was interrupted


class Mode(str, Enum):
    """In how many frames objects are shown."""

    single = "single"
    multi = "multi"


class Marks(str, Enum):
    """How objects are drawn for models that take no regions."""

    contour = "contour"
    mask = "mask"
    box = "box"


class JudgeKind(str, Enum):
    """Who scores descriptions."""

    endpoint = "endpoint"
    local = "local"
    rule = "rule"
    none = "none"


Data = Annotated[Path, typer.Argument(help="The benchmark's JSON file.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id, or 'embedded'; with --endpoint, the model's name there.")]
Out = Annotated[Path, typer.Option(help="Folder of answers and results, or one to go on with.")]
MediaRoot = Annotated[Path | None, typer.Option(help="Folder that videos are in; the file's own by default.")]
ModeOption = Annotated[Mode, typer.Option(help="Use an object in one frame, or in all annotated ones.")]
Encoder = Annotated[str | None, typer.Option(help="For a host: what was saved of its object encoder.")]
MarksOption = Annotated[Marks | None, typer.Option(help="Draw the objects on the frames, in place of regions.")]
Endpoint = Annotated[
    str | None,
    typer.Option(help="With --marks: address of an OpenAI-compatible endpoint, or 'openai'. Key: OPENAI_API_KEY."),
]
NumFrames = Annotated[
    int | None, typer.Option(min=1, help="Frames to sample; the checkpoint's number (16 for marks) by default.")
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="The most frames to use of an object.")]
MaskPolicy = Annotated[str | None, typer.Option(help="keep or original; see the README.")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="The most tokens of an answer.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Items answered together.")]
Workers = Annotated[int, typer.Option(min=1, help="Requests to an endpoint at the same time.")]
Rank = Annotated[int | None, typer.Option(help="Number of this process, from 0; RANK by default.")]
World = Annotated[int | None, typer.Option(help="Number of processes; WORLD_SIZE by default.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many items.")]
Name = Annotated[str | None, typer.Option(help="What reports call the model.")]


@app.callback()
def _main() -> None:
    """Keep the names of commands, also while there is only one."""


@app.command()
def q(
    data: Data,
    model: Model,
    out: Out,
    mode: ModeOption = Mode.single,
    media_root: MediaRoot = None,
    object_encoder: Encoder = None,
    marks: MarksOption = None,
    endpoint: Endpoint = None,
    num_frames: NumFrames = None,
    max_frames_per_region: MaxFrames = None,
    mask_policy: MaskPolicy = None,
    max_new_tokens: MaxNewTokens = None,
    batch_size: BatchSize = 1,
    workers: Workers = 4,
    rank: Rank = None,
    world_size: World = None,
    limit: Limit = None,
    name: Name = None,
) -> None:
    """VideoRefer-Bench-Q: multiple-choice questions about objects.

    Interrupted runs go on where they were. Several processes share the items when each is given its --rank and the
    same --world-size, or when they are started by `accelerate launch -m videorefer_plugin.cli bench q ...`.
    """
    from videorefer_plugin.bench.evaluate import evaluate_questions

    _evaluate(
        evaluate_questions,
        "q",
        {"data": data, "out": out, "mode": mode.value, "media_root": media_root, "limit": limit, "name": name},
        {"model": model, "object_encoder": object_encoder, "marks": marks and marks.value, "endpoint": endpoint}
        | {"num_frames": num_frames, "max_frames_per_region": max_frames_per_region, "mask_policy": mask_policy}
        | {"max_new_tokens": max_new_tokens, "workers": workers},
        batch_size,
        (rank, world_size),
    )


@app.command()
def d(
    data: Data,
    model: Model,
    out: Out,
    judge: Annotated[JudgeKind, typer.Option(help="Who scores: an endpoint, a local chat model, rules, or nobody.")],
    judge_model: Annotated[str | None, typer.Option(help="The judge's name at the endpoint, or its folder.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="Address of the endpoint; OpenAI's by default.")] = None,
    judge_temperature: Annotated[float, typer.Option(help="The judge's temperature.")] = 0.0,
    judge_workers: Annotated[int, typer.Option(min=1, help="Requests to the judge at the same time.")] = 4,
    judge_rate: Annotated[float | None, typer.Option(help="The most requests a minute to the judge.")] = None,
    judge_retries: Annotated[int, typer.Option(min=0, help="Further tries of a request to the judge.")] = 5,
    judge_timeout: Annotated[float, typer.Option(help="Seconds to wait for the judge.")] = 120.0,
    judge_prices: Annotated[
        tuple[float, float] | None, typer.Option(help="Price of a million tokens read, and written: shows the cost.")
    ] = None,
    mode: ModeOption = Mode.single,
    media_root: MediaRoot = None,
    object_encoder: Encoder = None,
    marks: MarksOption = None,
    endpoint: Endpoint = None,
    num_frames: NumFrames = None,
    max_frames_per_region: MaxFrames = None,
    mask_policy: MaskPolicy = None,
    max_new_tokens: MaxNewTokens = None,
    batch_size: BatchSize = 1,
    workers: Workers = 4,
    rank: Rank = None,
    world_size: World = None,
    limit: Limit = None,
    name: Name = None,
) -> None:
    """VideoRefer-Bench-D: descriptions of objects, scored by a judge from 0 to 5 in four dimensions.

    The judge's key comes from OPENAI_API_KEY and nowhere else.
    """
    from videorefer_plugin.bench.choosing import make_judge
    from videorefer_plugin.bench.evaluate import evaluate_descriptions

    with _errors() as console:
        scorer = make_judge(
            judge.value,
            judge_model,
            endpoint=judge_endpoint,
            temperature=judge_temperature,
            workers=judge_workers,
            requests_per_minute=judge_rate,
            retries=judge_retries,
            timeout=judge_timeout,
            prices=judge_prices,
        )
    _evaluate(
        evaluate_descriptions,
        "d",
        {"data": data, "out": out, "mode": mode.value, "media_root": media_root, "limit": limit, "name": name}
        | {"judge": scorer},
        {"model": model, "object_encoder": object_encoder, "marks": marks and marks.value, "endpoint": endpoint}
        | {"num_frames": num_frames, "max_frames_per_region": max_frames_per_region, "mask_policy": mask_policy}
        | {"max_new_tokens": max_new_tokens, "workers": workers},
        batch_size,
        (rank, world_size),
    )
    usage = getattr(getattr(scorer, "chat", None), "usage", None)
    if usage is not None:
        console.print(f"judge: {usage}", highlight=False)


@app.command()
def captions(
    data: Data,
    model: Model,
    out: Out,
    mode: ModeOption = Mode.multi,
    media_root: MediaRoot = None,
    object_encoder: Encoder = None,
    marks: MarksOption = None,
    endpoint: Endpoint = None,
    num_frames: NumFrames = None,
    max_frames_per_region: MaxFrames = 16,
    mask_policy: MaskPolicy = None,
    max_new_tokens: MaxNewTokens = None,
    batch_size: BatchSize = 1,
    workers: Workers = 4,
    rank: Rank = None,
    world_size: World = None,
    limit: Limit = None,
    name: Name = None,
) -> None:
    """Captions of HC-STVG, or of your own boxes: BLEU@4, METEOR, ROUGE-L, CIDEr and SPICE."""
    from videorefer_plugin.bench.evaluate import evaluate_captions

    _evaluate(
        evaluate_captions,
        "captions",
        {"data": data, "out": out, "mode": mode.value, "media_root": media_root, "limit": limit, "name": name},
        {"model": model, "object_encoder": object_encoder, "marks": marks and marks.value, "endpoint": endpoint}
        | {"num_frames": num_frames, "max_frames_per_region": max_frames_per_region, "mask_policy": mask_policy}
        | {"max_new_tokens": max_new_tokens, "workers": workers},
        batch_size,
        (rank, world_size),
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def general(
    context: typer.Context,
    model: Model,
    out: Out,
    tasks: Annotated[str | None, typer.Option(help="Tasks, with commas; those of the paper by default.")] = None,
    object_encoder: Encoder = None,
    num_frames: NumFrames = None,
    batch_size: BatchSize = 1,
    limit: Limit = None,
    name: Name = None,
    data_q: Annotated[Path | None, typer.Option(help="For videorefer_bench_q: its file.")] = None,
    data_d: Annotated[Path | None, typer.Option(help="For videorefer_bench_d: its file.")] = None,
    data_captions: Annotated[Path | None, typer.Option(help="For hc_stvg_captions: its file.")] = None,
    media_root: MediaRoot = None,
    mode: ModeOption = Mode.single,
    judge: Annotated[str | None, typer.Option(help="For videorefer_bench_d: 'rule', or a model's name.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="Address of that model.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command of lmms-eval, and stop.")] = False,
) -> None:
    """General video understanding (Perception-Test, MVBench, VideoMME), through lmms-eval.

    Options that are not listed here are passed on to lmms-eval. It downloads the data of its tasks.
    """
    import shlex

    from videorefer_plugin.bench import general as lmms

    with _errors():
        command = lmms.general_command(
            model,
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
            data={"q": data_q, "d": data_d, "captions": data_captions},
            media_root=media_root,
            mode=mode.value,
            judge=judge,
            judge_url=judge_endpoint,
        )
        typer.echo(str(lmms.write_general_result(out, model, name)))


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Folders given as --out, or result files in them.")],
    out: Annotated[Path, typer.Option(help="Markdown file; a picture is put beside it.")] = Path("report.md"),
) -> None:
    """Write a report: tables in Markdown and a picture, with the paper's figures beside, marked as such."""
    from videorefer_plugin.bench.report import find_results, write_report

    with _errors():
        for path in write_report(find_results(results), out):
            typer.echo(str(path))


@app.command()
def fetch(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the benchmark's files, to be checked.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="q, d or captions; all by default.")] = None,
) -> None:
    """Say where each benchmark's files come from and belong, and check a folder. Downloads nothing."""
    from rich.console import Console

    from videorefer_plugin.bench.layouts import check_layout, layouts

    console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
    names = [benchmark] if benchmark else None
    with _errors():
        if folder is None:
            for name, layout in layouts(names).items():
                console.print(layout.describe(name))
            return
        found = check_layout(folder, names)
    for one in found:
        console.print(one.describe())
    if not any(one.complete for one in found):
        raise typer.Exit(1)


class Table(str, Enum):
    """Tables 5 to 7 of the paper, on the shapes world."""

    modes = "modes"
    unions = "unions"
    data = "data"


@app.command()
def ablate(
    table: Annotated[Table, typer.Argument(help="Frames of a region, unions, or kinds of training data.")],
    world: Annotated[Path, typer.Option(help="Data set of `videorefer world --heldout`.")],
    start: Annotated[Path, typer.Option(help="Where every row starts: after stage 1, or before the first --stage.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, answers and tables, or one to go on with.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change in all recipes.")] = None,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    share: Annotated[float, typer.Option(help="Part of each recipe's steps that is run.")] = 1.0,
    stage: Annotated[list[str] | None, typer.Option(help="Run only these of a row's stages.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that train together, best one for each core.")] = 1,
) -> None:
    """Train each row of a table on the shapes world, measure it on the held-out benchmark, and write the table."""
    from videorefer_plugin.tiny.ablation import ablate as run

    with _errors() as console:

        def say(text: str) -> None:
            console.print(text, style="bold", highlight=False)

        settings = (overrides or [], limit, batch_size, share, stage or None, say, processes)
        path = run(table.value, world, start, out, *settings)
    typer.echo(path.read_text(encoding="utf-8"))


class _errors:  # noqa: N801 - reads as a statement
    """Print the library's errors, and leave with the status that says so."""

    def __enter__(self) -> "Console":
        from rich.console import Console

        self.console = Console(stderr=True, markup=False, emoji=False)
        return self.console

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, VideoReferError):
            self.console.print(str(error), style="red", highlight=False)
            raise typer.Exit(1) from error
        if isinstance(error, KeyboardInterrupt):
            self.console.print("Interrupted. The same command goes on from here.", style="yellow")
            raise typer.Exit(_INTERRUPTED) from None


def _evaluate(
    evaluate: Any,
    benchmark: str,
    arguments: dict[str, Any],
    choice: dict[str, Any],
    batch_size: int,
    shard: tuple[int | None, int | None],
) -> None:
    """Run an evaluation with a bar, and print what came of it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from videorefer_plugin.bench.choosing import make_answerer, make_shard
    from videorefer_plugin.bench.report import summary
    from videorefer_plugin.embedded import tiny_checkpoint

    with _errors() as console:
        if choice["model"] == "embedded":
            choice["model"] = tiny_checkpoint()
        task_name = TextColumn("{task.description}", markup=False)
        columns = (task_name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            tasks: dict[str, Any] = {}

            def progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total)

            result = evaluate(
                answerer=make_answerer(benchmark, **choice),
                shard=make_shard(*shard),
                batch_size=batch_size,
                progress=progress,
                **arguments,
            )
    Console(soft_wrap=True, markup=False, emoji=False).print(summary(result), highlight=False)
    failed = {**result["failed"], **result.get("judge_failed", {})}
    for identity, reason in failed.items():
        console.print(f"not done: {identity}: {reason}", style="yellow", highlight=False)
    if failed:
        raise typer.Exit(1)
