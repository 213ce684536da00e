"""`videorefer data review`: have people check the items that the Reviewer kept and discarded."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import bars, printer, telling, warn

__all__ = ["review"]


def review(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    kept: Annotated[int, typer.Option(min=0, help="Kept items to draw.")] = 100,
    discarded: Annotated[int, typer.Option(min=0, help="Discarded items to draw.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of items.")] = 0,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder that paths of videos are relative to. Default: FOLDER.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace answers that are there, by new items or by --truth.")
    ] = False,
    filled: Annotated[
        Path | None, typer.Option(help="A filled-in table. Prints how often the Reviewer was right.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="JSON file, id -> whether the item is right, to fill the table in from.")
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(help="bench-d FILE: write the items that were kept and are right as a file of Bench-D."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw items for people to check, or report how often the Reviewer was right (appendix C.1 of the paper).

    Without --filled or --truth, the command writes a page (review.html) and a
    table to fill in (review.csv) to FOLDER/review. With one of them, it prints
    table 8 of the paper and its figures, as in the paper and weighted by the
    share of items that were kept.
    """
    import dataclasses
    import json

    from videorefer_plugin.data_engine.review import draw_review, export_bench_d, fill_in, read_filled

    console = printer()
    if filled and truth:
        raise typer.BadParameter("Give --filled or --truth, not both.")
    if export and export[0] != "bench-d":
        raise typer.BadParameter(f"There is no export {export[0]!r}; expected bench-d and a file.")
    with telling("Interrupted. The same command draws the same items again.") as errors:
        if filled or truth or export:
            checked = fill_in(folder, truth, overwrite=overwrite) if truth else read_filled(folder, filled)
            if as_json:
                typer.echo(json.dumps(checked.table.to_json(), indent=2))
            else:
                console.print(checked.table.table())
            if export:
                made = export_bench_d(folder, checked, export[1], media_root)
                errors.print(f"{made.count} item(s) are in {export[1]}.", highlight=False)
                for name, fault in list(made.left_out.items())[:5]:
                    warn(errors, f"Left out is {name}: {fault}.")
                if len(made.left_out) > 5:
                    warn(errors, f"{len(made.left_out)} items are left out.")
            return
        with bars(errors) as tell:
            tell("drawing", 0, 0)
            drawn = draw_review(
                folder,
                kept,
                discarded,
                seed,
                media_root,
                overwrite=overwrite,
                progress=lambda done, total: tell("drawing", done, total),
            )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(drawn), indent=2))
        return
    for name, count, whole in (
        ("kept", drawn.kept, drawn.all_kept),
        ("discarded", drawn.discarded, drawn.all_discarded),
    ):
        console.print(f"{name}: {count} of {whole} item(s) drawn", highlight=False)
    for name, fault in list(drawn.hidden.items())[:5]:
        warn(errors, f"{name} cannot be seen: {fault}")
    console.print(f"Look at {drawn.folder}/review.html, or fill in {drawn.folder}/review.csv.", highlight=False)
    console.print(
        f"Save the table of the page as {drawn.folder}/review.csv. Then: videorefer data review {folder} --filled "
        f"{drawn.folder}/review.csv",
        highlight=False,
        soft_wrap=True,
    )
