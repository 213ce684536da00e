"""`videorefer segment`: follow objects through a video, or find them by words."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import bars, printer, telling, warn
from videorefer_plugin.regions.text import REGION_KINDS

__all__ = ["segment"]


def segment(
    context: typer.Context,
    video: Annotated[Path, typer.Argument(help="A video file, or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="JSON file for the masks. An interrupted run of it is continued.")],
    # One option for each of REGION_KINDS, and negative; the context has them in the order of the command line.
    point: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["point"].text_help)] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="FRAME:x,y of points that are not on the object before this option.")
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["box"].text_help)] = None,
    polygon: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["polygon"].text_help)] = None,
    scribble: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["scribble"].text_help)] = None,
    mask: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["mask"].text_help)] = None,
    rle: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["rle"].text_help)] = None,
    region: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["region"].text_help)] = None,
    text: Annotated[
        list[str] | None, typer.Option(help='Words such as "a dog", instead of points. May be repeated.')
    ] = None,
    segmenter: Annotated[str | None, typer.Option(help="Segmenter, such as classical. See above.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of its weights.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Device of the segmenter, such as cuda:1. Default: a GPU if there is one.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Data type of its weights, such as bfloat16. Default: the checkpoint's.")
    ] = None,
    start: Annotated[str | None, typer.Option(help='First frame, or seconds ("1.5s").')] = None,
    end: Annotated[str | None, typer.Option(help="Last frame, or seconds.")] = None,
    frame: Annotated[
        str | None, typer.Option(help="With --text: the frame in which the words are looked for.")
    ] = None,
    max_objects: Annotated[int | None, typer.Option(min=1, help="With --text: most objects of each text.")] = None,
    stream: Annotated[
        int | None, typer.Option(min=0, help="Video stream to read, from 0, in a file with several.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Draw the masks on all frames (.mp4), or on some frames in one picture (.png).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out and --save.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start from the beginning, without the work of an interrupted run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Follow objects through a video from a click, a box or a mask, or find them by words.

    Each --point, --box, --polygon, --scribble, --mask, --rle or --region is one
    object, in the order given. Further frames of an object follow a semicolon,
    as corrections: --point "0:120,80;40:130,90". Frames may also be given in
    seconds: "1.5s:120,80". --negative gives points that are not on the object
    before it.

    --out gets the masks in the format of VideoRefer-700K. In other commands,
    --region masks.json#2 is its object 2.

    The segmenter classical needs no weights and runs on the CPU. sam2_video,
    sam3_tracker_video and edgetam_video follow objects with weights from the
    Hub or --checkpoint. sam3_video and grounding find words; shapes_color
    finds words in the shapes world, and needs no weights. The default
    segmenter is classical, or sam3_video for words.

    Until all is done, the work is kept in masks.json.partial beside --out.
    After Ctrl-C or a crash, the same command continues it: classical as if it
    had not been stopped, others from their last masks. Words are found again.

    If an object is lost, its masks end, and a yellow line warns of it, as of
    low scores. The command still exits with 0. To follow the object further,
    point at it again in a later frame.
    """
    import json

    from rich.table import Table

    from videorefer_plugin.segment.jobs import read_job
    from videorefer_plugin.segment.runs import run_job
    from videorefer_plugin.segment.summaries import cuts_of, doubts_of, losses_of, remarks_of, summarize

    with telling("Interrupted before anything was done.") as errors:
        job = read_job(
            video,
            context.meta["given"],
            text or [],
            out=out,
            segmenter=segmenter,
            checkpoint=checkpoint,
            device=device,
            dtype=dtype,
            start=start,
            end=end,
            frame=frame,
            max_objects=max_objects,
            stream=stream,
            picture=save,
            force=force,
            restart=restart,
        )
        with bars(errors, one=True) as progress:
            masklets = run_job(job, progress)
    rows, cuts, remarks = summarize(masklets), cuts_of(masklets), remarks_of(masklets)
    for warning in [*losses_of(masklets), *doubts_of(masklets)]:
        warn(errors, warning)
    if as_json:
        objects = [row.to_dict() for row in rows]
        said = {"out": str(out), "save": save and str(save), "segmenter": job.segmenter, "objects": objects}
        typer.echo(json.dumps({**said, "cuts": cuts, "notes": remarks}, ensure_ascii=False))
        return
    console, table = printer(), Table(title=str(out))
    for heading in ("object", "frames", "visible", "mean score", "lowest", "lost at"):
        table.add_column(heading, justify="right")
    for row in rows:
        name = f"{row.object} {row.phrase or ''}".strip()
        scores = ["" if score is None else f"{score:.2f}" for score in (row.mean_score, row.lowest_score)]
        table.add_row(name, str(row.frames), str(row.visible), *scores, ", ".join(map(str, row.lost)))
    console.print(table)
    if cuts:
        console.print(f"New shots begin at frame {', '.join(map(str, cuts))}.", highlight=False)
    for remark in remarks:
        console.print(remark, highlight=False)
    if save:
        console.print(f"Drawn: {save}", highlight=False)
