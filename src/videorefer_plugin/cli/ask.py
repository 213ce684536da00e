"""`videorefer ask`: ask about objects in a video."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import telling, warn
from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.regions.text import REGION_KINDS

__all__ = ["ask"]


def ask(
    context: typer.Context,
    video: Annotated[Path, typer.Argument(help="A video file, a folder of frames, or an image with --image.")],
    question: Annotated[str | None, typer.Argument(help="The question, with one <region> for each region.")] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--question", "-q", help="A further question about the same video; may be given several times."),
    ] = None,
    # One option for each of REGION_KINDS; the context has them in the order of the command line.
    box: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["box"].text_help)] = None,
    point: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["point"].text_help)] = None,
    polygon: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["polygon"].text_help)] = None,
    scribble: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["scribble"].text_help)] = None,
    mask: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["mask"].text_help)] = None,
    rle: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["rle"].text_help)] = None,
    region: Annotated[list[str] | None, typer.Option(help=REGION_KINDS["region"].text_help)] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="[SEGMENTER]", help="First follow the regions through the video. Default segmenter: classical."
        ),
    ] = None,
    track_checkpoint: Annotated[
        str | None, typer.Option(help="With --track: folder or Hub id of the segmenter's weights.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Folder or Hub id. Default: the embedded model.")] = None,
    object_encoder: Annotated[
        str | None, typer.Option(help="Folder of the saved object encoder, if the model is a host.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")] = None,
    image: Annotated[bool, typer.Option("--image", help="VIDEO is an image.")] = False,
    stream: Annotated[
        int | None, typer.Option(min=0, help="Video stream to read, from 0, in a file with several.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each answer, one per line.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Write a picture of the regions and the answers.")] = None,
) -> None:
    """Ask about objects in a video.

    Each option is one region, in the order of the question. Separate several
    frames of the same object with a semicolon, such as --box
    "12:10,20,60,80;14:12,20,62,80". Frames may also be given in seconds:
    "1.5s:10,20,60,80".

    Several questions (--question) are answered one after the other, and the
    video is encoded once. Each question takes the next regions, one for each
    <region> in it. Questions that have all regions in common share them: give
    each object once.

    With --track, each object is followed from its frame through the video, and
    the question is about the whole track. Further frames of an object are then
    corrections.
    """
    import json

    from videorefer_plugin.asking import ask_all, read_questions
    from videorefer_plugin.inputs.apart import check_apart
    from videorefer_plugin.pictures import Line, check_picture, picture_answers
    from videorefer_plugin.pictures.answers import save_picture
    from videorefer_plugin.segment.questions import track_questions

    lost: list[str] = []
    questions = [*([] if question is None else [question]), *(more or [])]
    with telling() as errors:
        with errors.status("Asking") as status:
            asked = read_questions(video, questions, context.meta["given"], image=image, stream=stream)
            if save:
                check_picture(save)
                check_apart("--save", save, video, context.meta["given"], what="image" if image else "video")
            if track is not None or track_checkpoint is not None:
                progress = lambda done, total: status.update(f"Following: frame {done} of {total}")  # noqa: E731
                asked, lost = track_questions(asked, track, track_checkpoint, progress=progress)
                status.update("Asking")
            replies = ask_all(
                model, asked, object_encoder=object_encoder, revision=revision, max_new_tokens=max_new_tokens
            )
        for note in [*lost, *([replies[0].note] if replies[0].note else [])]:
            warn(errors, note)
        for reply in replies:
            typer.echo(json.dumps(reply.to_dict(), ensure_ascii=False) if as_json else reply.answer)
        if not save:
            return
        try:  # after the answers are printed, which took longer
            lines = [Line(one.text, reply.answer, one.objects) for one, reply in zip(asked, replies, strict=True)]
            shown = {place: own for one in asked for place, own in zip(one.objects, one.regions, strict=True)}
            save_picture(picture_answers(asked[0].video, [*shown.values()], lines), save)
        except (VideoReferError, OSError) as error:
            raise VideoReferError(f"The picture {str(save)!r} cannot be written: {error}") from error
        if not as_json:
            errors.print(f"Picture: {save}", highlight=False)
