"""`videorefer demo`: ask about objects in a rendered clip."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the video and the picture.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Which clip.")] = 0,
    model: Annotated[str | None, typer.Option(help="Folder or Hub id. Default: the embedded model.")] = None,
) -> None:
    """Ask a model about objects in a clip of the shapes world, and draw the answers.

    The clip is rendered, written as an mp4 and read back. The embedded model
    was not trained on it.
    """
    from rich.table import Table
    from rich.text import Text

    from videorefer_plugin.embedded import tiny_checkpoint
    from videorefer_plugin.tiny.demonstration import demonstrate

    with telling() as errors, errors.status("Starting") as status:
        shown = demonstrate(model or tiny_checkpoint(), out, seed, lambda said: status.update(Text(said)))
    table = Table(title=str(shown.video), show_lines=True)
    for heading in ("question", "answer", "truth", ""):
        table.add_column(heading)
    for line in shown.lines:
        mark = Text("right", style="green") if line.right else Text("wrong", style="red")
        table.add_row(line.numbered, line.answer, line.truth, mark)
    console = printer()
    console.print(table)
    right = sum(bool(line.right) for line in shown.lines)
    console.print(f"{right} of {len(shown.lines)} answers are right; {shown.seconds:.1f} s.")
    console.print(f"The objects, outlined and numbered: {shown.picture}")
