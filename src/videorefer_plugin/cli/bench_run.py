"""The commands `videorefer bench NAME`: one for each registered benchmark, made from what it says of itself."""

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
    """In how many frames objects are shown."""

    single = "single"
    multi = "multi"


class Marks(str, Enum):
    """How objects are drawn for models that take no regions."""

    contour = "contour"
    mask = "mask"
    box = "box"


class Answerers(str, Enum):
    """Who answers, by what is shown of an object."""

    regions = "regions"
    marks = "marks"
    frames_then_summary = "frames-then-summary"
    box_text = "box-text"


class BoxFormat(str, Enum):
    """How boxes are written."""

    of_one = "0-1"
    of_hundred = "0-100"
    of_999 = "0-999"
    of_thousand = "0-1000"
    pixels = "pixels"


class OnBadItem(str, Enum):
    """What becomes of items that cannot be used."""

    error = "error"
    skip = "skip"


Model = Annotated[str, typer.Option(help="Folder or Hub id, or 'embedded'; with --endpoint, the model's name there.")]
Out = Annotated[Path, typer.Option(help="Folder of answers and results, or one to go on with.")]
MediaRoot = Annotated[Path | None, typer.Option(help="Folder that videos are in; the file's own by default.")]
ModeOption = Annotated[Mode, typer.Option(help="Use an object in one frame, or in all annotated ones.")]
Encoder = Annotated[str | None, typer.Option(help="For a host: what was saved of its object encoder.")]
NumFrames = Annotated[
    int | None, typer.Option(min=1, help="Frames to sample; the checkpoint's number (16 for marks) by default.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Items answered together.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many items.")]
Name = Annotated[str | None, typer.Option(help="What reports call the model.")]


def _every(
    data: Annotated[Path, typer.Argument(help="The benchmark's JSON file.")],
    model: Model,
    out: Out,
) -> None:
    """What every benchmark has to be given."""


def _judging(
    judge: Annotated[str, typer.Option(help="Who scores: an endpoint, a local chat model, rules, or nobody.")],
    judge_model: Annotated[str | None, typer.Option(help="The judge's name at the endpoint, or its folder.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="Address of the endpoint; OpenAI's by default.")] = None,
    judge_temperature: Annotated[float, typer.Option(help="The judge's temperature.")] = 0.0,
    judge_workers: Annotated[int, typer.Option(min=1, help="Requests to the judge at the same time.")] = 4,
    judge_rate: Annotated[float | None, typer.Option(help="The most requests a minute to the judge.")] = None,
    judge_retries: Annotated[int, typer.Option(min=0, help="Further tries of a request to the judge.")] = 5,
    judge_timeout: Annotated[float, typer.Option(help="Seconds to wait for the judge.")] = 120.0,
    judge_max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of a judgement.")] = 1024,
    judge_prices: Annotated[
        tuple[float, float] | None, typer.Option(help="Price of a million tokens read, and written: shows the cost.")
    ] = None,
    judge_prompt: Annotated[
        Path | None,
        typer.Option(
            help="YAML with texts under 'system' and 'user' (with {reference} and {description}; other "
            "benchmarks have other fields), and a 'name' for reports, in place of the benchmark's own wording."
        ),
    ] = None,
) -> None:
    """What benchmarks with judges take besides."""


def _answering(
    mode: ModeOption,
    media_root: MediaRoot = None,
    object_encoder: Encoder = None,
    marks: Annotated[Marks | None, typer.Option(help="Draw the objects on the frames, in place of regions.")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible endpoint, or 'openai'. With --regions, of videorefer serve. Key: "
            "OPENAI_API_KEY."
        ),
    ] = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="The model behind --endpoint takes regions: videorefer serve runs there.")
    ] = False,
    answerer: Annotated[
        Answerers | None,
        typer.Option(
            help="Who answers: regions, marks, frames-then-summary (each frame alone, then merged) or box-text; "
            "follows from --marks and --box-format."
        ),
    ] = None,
    box_format: Annotated[
        BoxFormat | None, typer.Option(help="Give boxes in words: parts of the frame up to 1, 100, 999, or pixels.")
    ] = None,
    summary_model: Annotated[
        str | None,
        typer.Option(help="With frames-then-summary: who merges the answers; the model itself by default."),
    ] = None,
    summary_endpoint: Annotated[
        str | None, typer.Option(help="Address of that model's endpoint; it is loaded here by default.")
    ] = None,
    num_frames: NumFrames = None,
    max_frames_per_region: Annotated[
        int | None, typer.Option(min=1, help="The most frames to use of an object, for --answerer regions.")
    ] = None,
    mask_policy: Annotated[
        str | None, typer.Option(help="keep or original, for --answerer regions; see the README.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of an answer.")] = None,
    batch_size: BatchSize = 1,
    workers: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at the same time.")] = 4,
    rank: Annotated[int | None, typer.Option(help="Number of this process, from 0; RANK by default.")] = None,
    world_size: Annotated[int | None, typer.Option(help="Number of processes; WORLD_SIZE by default.")] = None,
    limit: Limit = None,
    name: Name = None,
    on_bad_item: Annotated[
        OnBadItem, typer.Option(help="For items that cannot be used: stop, or leave them out and say how many.")
    ] = OnBadItem.error,
) -> None:
    """What every benchmark may be given."""


class Benchmarks(TyperGroup):
    """A group that has a command for each benchmark besides its own; a benchmark is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Benchmarks first."""
        from videorefer_plugin.bench.benchmarks.registry import benchmark_names

        return [*benchmark_names(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The group's own command of a name, or that of the benchmark."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        from videorefer_plugin.bench.benchmarks.registry import benchmark_names, benchmark_of

        if cmd_name not in benchmark_names():
            return None
        try:
            return _command(benchmark_of(cmd_name))
        except VideoReferError as error:
            if ctx.meta.get(_LISTING):  # one that cannot be used hides no others
                return TyperCommand(cmd_name, help=str(error))
            raise failed(printer(stderr=True), error) from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the group, which lists its commands."""
        ctx.meta[_LISTING] = True
        super().format_help(ctx, formatter)


def _command(benchmark: "Benchmark[Any]") -> Any:
    """The command of a benchmark."""
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
    # Typer reads what a function takes; this one takes what the benchmark does.
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in ordered}
    app = typer.Typer(add_completion=False)
    app.command(benchmark.name, help=_help(benchmark))(run)
    return typer.main.get_command(app)


def _help(benchmark: "Benchmark[Any]") -> str:
    parts = [
        benchmark.about,
        "Interrupted runs go on where they were. Several processes share the items when each is given its --rank and "
        "the same --world-size, or when they are started by `accelerate launch -m videorefer_plugin.cli bench "
        f"{benchmark.name} ...`.",
    ]
    if benchmark.judges:
        parts.append("The judge's key comes from OPENAI_API_KEY and nowhere else.")
    return "\n\n".join(parts)


def _judge_option(benchmark: "Benchmark[Any]", parameter: inspect.Parameter) -> inspect.Parameter:
    """The option of who judges, with the kinds of judges that the benchmark has."""
    kinds: Any = _choices("Judge", benchmark.judges)
    (option,) = parameter.annotation.__metadata__
    if benchmark.needs_judge():
        return parameter.replace(annotation=Annotated[kinds, option])
    return parameter.replace(annotation=Annotated[kinds | None, option], default=None)


def _frames_option(benchmark: "Benchmark[Any]", parameter: inspect.Parameter) -> inspect.Parameter:
    """The most frames of an object; what the benchmark says is shown, but not taken for given."""
    if benchmark.max_frames_per_region is None:
        return parameter
    (option,) = parameter.annotation.__metadata__
    shown = copy.copy(option)
    shown.show_default = str(benchmark.max_frames_per_region)
    return parameter.replace(annotation=Annotated[int | None, shown])


def _parameter(option: "Option") -> inspect.Parameter:
    """An option of a benchmark as a parameter of a command."""
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
    """A value as it is in Python, without Typer's wrapping of choices."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def _run(benchmark: "Benchmark[Any]", given: Mapping[str, Any], errors: Any) -> dict[str, str]:
    """Evaluate, and say what came of it; gives what failed."""
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
    """Who judges, as the command line says."""
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
    """Settings of a judge, where none scores these answers."""
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
    """Those of some values that a function takes."""
    return {name: given[name] for name in inspect.signature(function).parameters if name in given}
