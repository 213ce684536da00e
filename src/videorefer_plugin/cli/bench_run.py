"""The commands `videorefer bench NAME`: one for each registered benchmark, made from its declaration."""

import copy
import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from videorefer_plugin.cli._shell import GOES_ON, bars, failed, printer, telling, warn
from videorefer_plugin.embedded import checkpoint
from videorefer_plugin.errors import BenchError, ConfigurationError, VideoReferError

if TYPE_CHECKING:
    from videorefer_plugin.bench.benchmarks.base import Benchmark
    from videorefer_plugin.bench.judges import Judge
    from videorefer_plugin.bench.options import Option

__all__ = ["Benchmarks", "Encoder", "Limit", "MediaRoot", "Mode", "ModeOption", "Model", "Name", "NumFrames", "Out"]

_LISTING = "videorefer.listing"
_SHOWN = 5  # items that were left out


class Mode(str, Enum):
    """The number of frames in which objects are given."""

    single = "single"
    multi = "multi"


class Marks(str, Enum):
    """The styles of marks for models that take no regions."""

    contour = "contour"
    mask = "mask"
    box = "box"


class Answerers(str, Enum):
    """The answerers, which differ in how they show an object to the model."""

    regions = "regions"
    marks = "marks"
    frames_then_summary = "frames-then-summary"
    box_text = "box-text"


class BoxFormat(str, Enum):
    """The formats of boxes in text."""

    of_one = "0-1"
    of_hundred = "0-100"
    of_999 = "0-999"
    of_thousand = "0-1000"
    pixels = "pixels"


class OnBadItem(str, Enum):
    """The treatment of items that cannot be used."""

    error = "error"
    skip = "skip"


Model = Annotated[str, typer.Option(help="Folder or Hub id, or 'embedded'; with --endpoint, the model's name there.")]
Out = Annotated[Path, typer.Option(help="Folder for answers and results. A run in it is continued.")]
MediaRoot = Annotated[Path | None, typer.Option(help="Folder of the videos. Default: the file's folder.")]
ModeOption = Annotated[Mode, typer.Option(help="Give each object in one frame, or in all annotated ones.")]
Encoder = Annotated[str | None, typer.Option(help="Folder of the saved object encoder, if the model is a host.")]
NumFrames = Annotated[
    int | None, typer.Option(min=1, help="Frames to sample. Default: the checkpoint's number, or 16 for marks.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Items in a batch.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Answer only the first items, this many.")]
Name = Annotated[str | None, typer.Option(help="Name of the model in reports.")]


def _every(
    data: Annotated[Path, typer.Argument(help="The benchmark's JSON file.")],
    model: Model,
    out: Out,
) -> None:
    """Declare the required options of every benchmark."""


def _judging(
    judge: Annotated[str, typer.Option(help="Judge: an endpoint, a local chat model, rules, or none.")],
    judge_model: Annotated[str | None, typer.Option(help="Name of the judge at the endpoint, or its folder.")] = None,
    judge_endpoint: Annotated[
        str | None, typer.Option(help="Address of the judge's endpoint. Default: OpenAI's.")
    ] = None,
    judge_temperature: Annotated[float, typer.Option(help="Temperature of the judge.")] = 0.0,
    judge_workers: Annotated[int, typer.Option(min=1, help="Concurrent requests to the judge.")] = 4,
    judge_rate: Annotated[float | None, typer.Option(help="Most requests to the judge per minute.")] = None,
    judge_retries: Annotated[int, typer.Option(min=0, help="Retries of a failed request to the judge.")] = 5,
    judge_timeout: Annotated[float, typer.Option(help="Seconds to wait for the judge.")] = 120.0,
    judge_max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a judgment.")] = 1024,
    judge_prices: Annotated[
        tuple[float, float] | None, typer.Option(help="Prices of a million tokens read and written, to show the cost.")
    ] = None,
    judge_prompt: Annotated[
        Path | None,
        typer.Option(
            help="YAML with texts under 'system' and 'user' (with {reference} and {description}; other "
            "benchmarks have other fields), and a 'name' for reports. It replaces the benchmark's own prompt."
        ),
    ] = None,
) -> None:
    """Declare the further options of benchmarks with judges."""


def _answering(
    mode: ModeOption,
    media_root: MediaRoot = None,
    object_encoder: Encoder = None,
    marks: Annotated[
        Marks | None, typer.Option(help="Draw the objects on the frames instead of giving regions.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible endpoint, or 'openai'. With --regions: of videorefer serve. Key: "
            "OPENAI_API_KEY."
        ),
    ] = None,
    regions: Annotated[
        bool,
        typer.Option("--regions", help="The model behind --endpoint takes regions, as that of videorefer serve does."),
    ] = False,
    answerer: Annotated[
        Answerers | None,
        typer.Option(
            help="Answerer: regions, marks, frames-then-summary (each frame alone, then merged) or box-text. Default: "
            "as --marks and --box-format require."
        ),
    ] = None,
    box_format: Annotated[
        BoxFormat | None,
        typer.Option(help="Write boxes as text, as parts of the frame up to 1, 100, 999 or 1000, or in pixels."),
    ] = None,
    summary_model: Annotated[
        str | None,
        typer.Option(help="With frames-then-summary: model that merges the answers. Default: the same model."),
    ] = None,
    summary_endpoint: Annotated[
        str | None, typer.Option(help="Address of that model's endpoint. Default: it is loaded here.")
    ] = None,
    num_frames: NumFrames = None,
    max_frames_per_region: Annotated[
        int | None, typer.Option(min=1, help="Most frames to use of an object, for --answerer regions.")
    ] = None,
    mask_policy: Annotated[
        str | None, typer.Option(help="keep or original, for --answerer regions. See the README.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    batch_size: BatchSize = 1,
    workers: Annotated[int, typer.Option(min=1, help="Concurrent requests to an endpoint.")] = 4,
    rank: Annotated[int | None, typer.Option(help="Number of this process, from 0. Default: RANK.")] = None,
    world_size: Annotated[int | None, typer.Option(help="Number of processes. Default: WORLD_SIZE.")] = None,
    limit: Limit = None,
    name: Name = None,
    on_bad_item: Annotated[
        OnBadItem, typer.Option(help="Stop at an item that cannot be used, or skip it and report the number.")
    ] = OnBadItem.error,
) -> None:
    """Declare the optional options of every benchmark."""


class Benchmarks(TyperGroup):
    """A group with a further command for each benchmark. A benchmark is imported when its command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Benchmarks first."""
        from videorefer_plugin.bench.benchmarks.registry import benchmark_names

        return [*benchmark_names(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the group's own command of a name, or that of the benchmark."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        from videorefer_plugin.bench.benchmarks.registry import benchmark_names, benchmark_of

        if cmd_name not in benchmark_names():
            return None
        try:
            return _command(benchmark_of(cmd_name))
        except VideoReferError as error:
            if ctx.meta.get(_LISTING):  # a benchmark that cannot be imported does not hide the others
                return TyperCommand(cmd_name, help=str(error))
            raise failed(printer(stderr=True), error) from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the group, which lists its commands."""
        ctx.meta[_LISTING] = True
        super().format_help(ctx, formatter)


def _command(benchmark: "Benchmark[Any]") -> Any:
    """Return the command of a benchmark."""
    from videorefer_plugin.bench.options import options_of

    def run(**given: Any) -> None:
        with telling(GOES_ON) as errors:
            undone = _run(benchmark, given, errors)
        if undone:
            raise typer.Exit(1)

    parameters = {**inspect.signature(_every).parameters}
    if benchmark.judges:
        parameters |= inspect.signature(_judging).parameters
        parameters["judge"] = _judge_option(benchmark, parameters["judge"])
    parameters |= inspect.signature(_answering).parameters
    parameters["mode"] = parameters["mode"].replace(default=Mode(benchmark.mode))
    parameters["max_frames_per_region"] = _frames_option(benchmark, parameters["max_frames_per_region"])
    own = {option.name: _parameter(option) for option in options_of(benchmark)}
    taken = sorted(own.keys() & {*parameters, "help"})
    if taken:
        raise ConfigurationError(
            f"The benchmark {benchmark.name!r} has a field {taken[0]!r}, but `videorefer bench {benchmark.name}` has "
            "an option of that name already. Call the field something else."
        )
    parameters |= own
    ordered = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters.values()]
    # Typer reads the signature of a function; this one gets the benchmark's options.
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in ordered}
    app = typer.Typer(add_completion=False)
    app.command(benchmark.name, help=_help(benchmark))(run)
    return typer.main.get_command(app)


def _help(benchmark: "Benchmark[Any]") -> str:
    parts = [
        benchmark.about,
        "The same command continues an interrupted run. Several processes share the items if each gets its --rank and "
        "the same --world-size, or if `accelerate launch -m videorefer_plugin.cli bench "
        f"{benchmark.name} ...` starts them.",
    ]
    if benchmark.judges:
        parts.append("The judge's key is read from OPENAI_API_KEY only.")
    return "\n\n".join(parts)


def _judge_option(benchmark: "Benchmark[Any]", parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the option for the judge, with the kinds of judges that the benchmark has."""
    kinds: Any = _choices("Judge", benchmark.judges)
    (option,) = parameter.annotation.__metadata__
    if benchmark.needs_judge():
        return parameter.replace(annotation=Annotated[kinds, option])
    return parameter.replace(annotation=Annotated[kinds | None, option], default=None)


def _frames_option(benchmark: "Benchmark[Any]", parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the option for the most frames of an object. Its help shows the benchmark's default, which is not set."""
    if benchmark.max_frames_per_region is None:
        return parameter
    (option,) = parameter.annotation.__metadata__
    shown = copy.copy(option)
    shown.show_default = str(benchmark.max_frames_per_region)
    return parameter.replace(annotation=Annotated[int | None, shown])


def _parameter(option: "Option") -> inspect.Parameter:
    """Return an option of a benchmark as a parameter of a command."""
    one: Any = _choices(option.name, option.choices) if option.choices else option.kind
    default: Any = option.default
    if option.several:
        one, default = list[one], list(default) if default else None
    elif option.choices and default is not None:
        default = one(default)
    kind: Any = one | None if default is None else one
    said: Any = Annotated[kind, typer.Option(help=option.help or None)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=said)


def _choices(name: str, values: tuple[str, ...]) -> type[Enum]:
    return Enum(name, {value: value for value in values}, type=str)  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    """Return the plain value of one that Typer wrapped as a choice."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def _run(benchmark: "Benchmark[Any]", given: Mapping[str, Any], errors: Any) -> dict[str, str]:
    """Evaluate, print the result, and return what failed."""
    from videorefer_plugin.bench.choosing import make_answerer, make_shard
    from videorefer_plugin.bench.evaluate import evaluate
    from videorefer_plugin.bench.options import options_of
    from videorefer_plugin.bench.report import summary

    given = {name: _plain(value) for name, value in given.items()}
    own = {option.name: given[option.name] for option in options_of(benchmark)}
    benchmark = benchmark.with_options({name: value for name, value in own.items() if value is not None})
    judge = _judge(benchmark, given)
    model = given["model"] if given["endpoint"] else checkpoint(given["model"])
    settings = _taken(make_answerer, {**given, "model": model})
    with bars(errors) as progress:
        result = evaluate(
            benchmark,
            answerer=make_answerer(benchmark, **settings),
            shard=make_shard(given["rank"], given["world_size"]),
            judge=judge,
            progress=progress,
            **{
                name: given[name]
                for name in ("data", "out", "mode", "media_root", "limit", "name", "batch_size", "on_bad_item")
            },
        )
    printer(soft_wrap=True).print(summary(result), highlight=False)
    skipped = list(result.get("skipped", {}).values())
    if skipped:
        more = [f"... and {len(skipped) - _SHOWN} more"] if len(skipped) > _SHOWN else []
        warn(errors, "\n".join([f"{len(skipped)} item(s) left out:", *skipped[:_SHOWN], *more]))
    failed = {**result["failed"], **result.get("judge_failed", {})}
    for identity, reason in failed.items():
        warn(errors, f"not done: {identity}: {reason}")
    for who in ("adapted", "judge_adapted"):
        for parameter, done in result.get(who, {}).items():
            warn(errors, f"{'judge' if who == 'judge_adapted' else 'model'}: {parameter} is not taken there: {done}")
    cut_off = len(result.get("judge_cut_off", ()))
    if cut_off:
        warn(errors, f"{cut_off} judgement(s) are cut off at the most tokens of one: raise --judge-max-tokens")
    usage = getattr(getattr(judge, "chat", None), "usage", None)
    if usage is not None and not failed:
        errors.print(f"judge: {usage}", highlight=False)
    return failed


def _judge(benchmark: "Benchmark[Any]", given: Mapping[str, Any]) -> "Judge | None":
    """Return the judge that the command line asks for."""
    from videorefer_plugin.bench.choosing import make_judge

    if not benchmark.needs_judge():
        _refuse_judge_settings(benchmark, given)
    elif given.get("judge") is None:
        raise BenchError(f"a judge scores these answers: give --judge {', '.join(benchmark.judges)}")
    if given.get("judge") is None:
        return None
    kind, prompt, file = given["judge"], benchmark.judge_prompt, given["judge_prompt"]
    if file is not None:
        if prompt is None:
            raise BenchError(f"no judge of {benchmark.title} is asked in words: leave --judge-prompt out")
        prompt = prompt.from_file(file)
    elif kind in ("rule", "none"):
        prompt = None
    return make_judge(
        kind,
        given["judge_model"],
        endpoint=given["judge_endpoint"],
        prompt=prompt,
        temperature=given["judge_temperature"],
        workers=given["judge_workers"],
        requests_per_minute=given["judge_rate"],
        retries=given["judge_retries"],
        timeout=given["judge_timeout"],
        max_tokens=given["judge_max_tokens"],
        prices=given["judge_prices"],
    )


def _refuse_judge_settings(benchmark: "Benchmark[Any]", given: Mapping[str, Any]) -> None:
    """Refuse settings of a judge if no judge scores these answers."""
    from videorefer_plugin.bench.options import options_of

    known = inspect.signature(_judging).parameters
    ignored = [name for name, one in known.items() if name in given and given[name] not in (None, one.default)]
    if not ignored or (ignored == ["judge"] and given["judge"] == "none"):
        return
    ways = [
        f"--{option.name.replace('_', '-')} {choice}"
        for option in options_of(benchmark)
        for choice in option.choices
        if benchmark.with_options({option.name: choice}).needs_judge()
    ]
    named = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
    raise BenchError(
        f"answers of {benchmark.title} are scored without a judge here: leave {named} out"
        + (f", or add {' or '.join(ways)}, with which a judge scores them" if ways else "")
    )


def _taken(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the values that a function takes."""
    return {name: given[name] for name in inspect.signature(function).parameters if name in given}
