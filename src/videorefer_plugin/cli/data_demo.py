"""`videorefer data demo`: run the data engine on clips of the shapes world."""

import json
from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for clips, records and pictures.")] = Path("data-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Which clips.")] = 0,
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Make data from captioned clips of the shapes world, and compare it with the truth.

    The clips are rendered and read back as videos. A grammar reads the
    captions, a segmenter finds the objects by color and outline, the embedded
    model describes them (as Annotator and as region captioner), a rule
    reviews, and a template refines. Nothing is downloaded.
    """
    from rich.table import Table
    from rich.text import Text

    from videorefer_plugin.data_engine.demo import demonstrate_engine

    with telling() as errors, errors.status("Starting") as status:
        made = demonstrate_engine(
            out, seed, clips, progress=lambda what, done, total: status.update(Text(f"{what}: {done} of {total}"))
        )
    if as_json:
        typer.echo(json.dumps(made.to_dict()))
        return
    found = made.compared
    table = Table(title=f"{made.clips} clips, compared with the truth")
    table.add_column("what")
    table.add_column("result", justify="right")
    table.add_row("objects that the captions name", f"{found.named} of {found.objects}")
    table.add_row("of those, found in the pixels", f"{found.found} of {found.named}")
    table.add_row("masklets of the object that is named", f"{found.right_object} of {found.found}")
    table.add_row("overlap of masklets (IoU)", "-" if found.overlap is None else f"{found.overlap:.3f}")
    for name, score in found.scores.items():
        table.add_row(f"kept descriptions, {name} (0 to 5)", f"{score:.2f}")
    for kind, count in found.dropped.items():
        table.add_row(f"dropped by {kind}", str(count))
    review = Table(title="The Reviewer")
    review.add_column("descriptions")
    for heading in ("kept", "discarded"):
        review.add_column(heading, justify="right")
    review.add_row("right", str(found.kept_right), str(found.discarded_right))
    review.add_row("wrong", str(found.kept_wrong), str(found.discarded_wrong))
    console = printer()
    console.print(table)
    console.print(review)
    console.print(f"{found.records} records: {made.records}\nPictures: {made.pictures}\n{made.seconds:.1f} s.")
