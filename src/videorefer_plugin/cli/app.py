"""`videorefer app`: a page where you click on an object and talk about it."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["app"]


def app(
    model: Annotated[
        str | None, typer.Option(help="Model that answers, as a folder or Hub id. Default: the embedded model.")
    ] = None,
    object_encoder: Annotated[
        str | None, typer.Option(help="Folder of the saved object encoder, if the model is a host.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")] = None,
    segmenter: Annotated[
        str, typer.Option(help="Segmenter that cuts objects out and follows them, such as sam2_video.")
    ] = "classical",
    segmenter_checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of its weights.")] = None,
    finder: Annotated[
        str | None, typer.Option(help="Segmenter that finds words, such as grounding. Default: the segmenter above.")
    ] = None,
    finder_checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of its weights.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the model, such as cuda:1. Default: all GPUs.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Data type of the model, such as bfloat16.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve on. One that others can reach needs a password.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to serve on. Default: the first free one from 7860.")
    ] = None,
    auth_file: Annotated[
        Path | None,
        typer.Option(help="File with name:password. The environment variable VIDEOREFER_APP_AUTH works, too."),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(help="Folder of a run of the data engine after videorefer data review: check its items here."),
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Size limit of an upload.")] = 200,
    max_seconds: Annotated[int, typer.Option(min=1, help="Longest video.")] = 120,
    max_frames: Annotated[int, typer.Option(min=1, help="Most frames of a video.")] = 3600,
    max_side: Annotated[int, typer.Option(min=1, help="Most pixels of a video's longer side.")] = 2560,
    max_visitors: Annotated[int, typer.Option(min=1, help="Most visitors whose work is kept.")] = 16,
    keep_minutes: Annotated[int, typer.Option(min=1, help="Minutes to keep unused work.")] = 60,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser of this computer.")
    ] = False,
) -> None:
    """Open a page on which you click on an object in a video and talk about it.

    Drop a video, click on an object, follow it through the video, correct it
    in any frame, and ask about it. By default, only this computer can reach
    the page. It needs no internet. Stop it with Ctrl-C.

    Without options, the embedded model answers, which knows the shapes world
    only, and the classical segmenter, which needs no weights, cuts objects
    out.
    """
    import threading

    with telling() as errors:
        from videorefer_plugin.app import needs

        needs.check()
        from videorefer_plugin.app.limits import Limits
        from videorefer_plugin.app.passwords import check_host, read_auth

        limits = Limits(max_megabytes, max_seconds, max_frames, max_side, max_visitors, keep_minutes, max_new_tokens)
        auth = read_auth(auth_file)
        check_host(host, auth)

        from videorefer_plugin.app.checking import Desk
        from videorefer_plugin.app.serving import serve
        from videorefer_plugin.app.tools import load_tools

        desk = None if review is None else Desk(review)
        with errors.status("Loading"):
            tools = load_tools(
                model,
                object_encoder=object_encoder,
                revision=revision,
                segmenter=segmenter,
                segmenter_checkpoint=segmenter_checkpoint,
                finder=finder,
                finder_checkpoint=finder_checkpoint,
                device=device,
                dtype=dtype,
                limits=limits,
            )
        with serve(tools, host=host, port=port, auth=auth, desk=desk) as served:
            printer().print(f"The page is at {served.url} (Ctrl-C ends it).", highlight=False)
            for line in tools.about:
                errors.print(line, highlight=False)
            if open_browser:
                typer.launch(served.url)
            threading.Event().wait()
