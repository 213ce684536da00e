"""The card of the embedded model: what it knows, how it was made, and how well it does."""

import os
from pathlib import Path

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_object
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.hub.run_summary import Result, RunSummary
from videorefer_plugin.tiny.continuing import earlier_stages
from videorefer_plugin.tiny.running import READY
from videorefer_plugin.world.stages import STAGES
from videorefer_plugin.world.versions import read_settings

__all__ = ["history", "write_results"]

_IN_WORDS = {
    "letters": "without its letter",
    "letter": "",
    "readers": (
        "Accuracies are those of the strict reader, which takes letters and words, also behind reasons; the "
        "compatible one looks\nfor letters only, and what it finds in such answers means nothing."
    ),
}
_WITH_LETTERS = {
    "letters": "and with its letter behind them",
    "letter": " (B)",
    "readers": "Accuracies are those of the strict reader; `videorefer bench probe` has those of the compatible one.",
}

_NAME = "videorefer-tiny"
_SHORT = """## In short

- **It can** say what an object of the shapes world looks like, where it starts and ends, what it does and with which
  other object, and answer questions with options about it.
- **It cannot** see anything else. Its answers about other videos mean nothing, and `vr.ask` warns about them.
"""
_FIGURES = """- On held-out clips, it answers {accuracy:.1f} percent of the questions with four options correctly.
  If the same question is asked about two objects, both answers are right for {pairs:.1f} percent of the pairs.
  With regions of another clip, {other:.1f} percent are right.
"""
_ABOUT = """## Limits

This model knows the shapes world of `videorefer_plugin.world` and nothing else: clips of 64 x 64 pixels with two to
four objects of six shapes, eight colors and four patterns, and about 150 words of English. It answers questions with
options in the words of an option, {letters}. Where the answer follows from how an object moves, it says first
what the object does in each quarter of the clip: "part: up, up, still, still. Answer: it moves up, then
stops{letter}".
{readers} Chance is 25 percent on VideoRefer-Bench-Q.
An object that is given in more than five frames is shown to it in five of them, evenly spaced, two of which become one
token: four unions of more frames do not tell whether an object waits before it moves, or moves before it stops.
`videorefer train tiny` makes this model from nothing; more steps of the same recipe go on from here:

    videorefer train run tiny/stage3_more model.checkpoint=FOLDER \\
        data.files=output/tiny/world/train_stage3_more.json
"""


def history(root: str | os.PathLike, start: str | os.PathLike | None = None) -> str:
    """A section of a card on how a model was made: data, and length, time and loss of each stage that was run.

    Args:
        root (`str` or `os.PathLike`): folder that [`make_tiny`] wrote.
        start (`str` or `os.PathLike`, *optional*): the checkpoint that went on, whose own stages come first.

    Raises:
        ConfigurationError: it does not say what data set it holds.
    """
    root = Path(root)
    world = read_settings(root / "world")
    if world is None:
        raise ConfigurationError(f"{root} holds no data set, so that it does not say what its model was made from.")
    clips = len(list((root / "world" / "videos").glob("*.mp4")))
    made = "Everything was made from nothing" if start is None else "A model that was made before went on"
    text = (
        f"## Stages\n\n{made}, on {clips:,} clips that `videorefer world` renders from seed "
        f"{world['seed']} with `--data-version {world['version']}`. Times are those of each stage's "
        "last run, on the machine that is named below; losses are the last ones that were logged.\n\n"
        "| recipe | optimizer steps | passes over the data | minutes | loss |\n|---|---:|---:|---:|---:|\n"
    )
    for name, stage in STAGES.items():
        path = root / name / READY
        if path.exists():
            state = read_object(path, ConfigurationError, "the state of a trainer", constants=True)
            losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
            minutes = state["log_history"][-1].get("train_runtime", 0) / 60
            loss = f"{losses[-1]:.2f}" if losses else "-"
            length = f"{state['global_step']:,} | {state['epoch']:.2f}"
            text += f"| `{stage.recipe}` | {length} | {minutes:.0f} | {loss} |\n"
    before = "" if start is None else earlier_stages(start)
    return f"{text}\nWhat it had learned before, by its own card:\n\n{before}" if before else text


def write_results(
    checkpoint: str | os.PathLike, results: list[Result], making: str = "", letters: bool = False
) -> Path:
    """Put results into a checkpoint's summary and card.

    Args:
        checkpoint (`str` or `os.PathLike`): its folder.
        results (`list[Result]`): the measured figures.
        making (`str`, *optional*): a section that says how it was made, in Markdown.
        letters (`bool`, *optional*): whether it was trained to give the letters of options.

    Returns:
        `Path`: the card.
    """
    from videorefer_plugin.hub.publish import prepare_folder

    folder = Path(checkpoint)
    summary = RunSummary.load(folder) or RunSummary()
    summary.results = results
    summary.save(folder)
    prepare_folder(folder, _NAME, card="overwrite")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8")
    about = _ABOUT
    for name, said in (_WITH_LETTERS if letters else _IN_WORDS).items():
        about = about.replace(f"{{{name}}}", said)
    text = text.replace("\n| | |\n", f"\n{_in_short(results)}\n| | |\n", 1)
    text = text.replace(f'"{_NAME}"', "vr.tiny_checkpoint()").replace(
        "\n## Training\n", f"\n{about}\n{making}\n## Training\n" if making else f"\n{about}\n## Training\n", 1
    )
    write_whole(card, text)
    return card


def _in_short(results: list[Result]) -> str:
    """Return the section that comes first, with three figures if they were measured."""
    found = {one.metric: one.value for one in results if one.split == "multi-frame"}
    figures = {
        "accuracy": found.get("all items, accuracy in percent"),
        "pairs": found.get("pairs answered as the facts are, in percent"),
        "other": found.get("all items, regions of other clips, accuracy in percent"),
    }
    return _SHORT + ("" if None in figures.values() else _FIGURES.format(**figures))
