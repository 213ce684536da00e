"""`videorefer app`: a page where you click on an object and talk about it."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["app"]


def app(
    model: Annotated[
        str | None, typer.Option(help="Who answers: folder or Hub id; the embedded model by default.")
    ] = None,
    object_encoder: Annotated[
        str | None, typer.Option(help="For a host: what was saved of its object encoder.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")] = None,
    segmenter: Annotated[
        str, typer.Option(help="Who cuts objects out and follows them, such as sam2_video.")
    ] = "classical",
    segmenter_checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of its weights.")] = None,
    finder: Annotated[
        str | None, typer.Option(help="Who finds words, such as grounding; the segmenter if it can.")
    ] = None,
    finder_checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of its weights.")] = None,
    device: Annotated[str | None, typer.Option(help="Of the model, such as cuda:1; spread over the GPUs.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the model, such as bfloat16; the checkpoint's.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve on. One that others can reach needs a password.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The first free one from 7860 by default.")
    ] = None,
    auth_file: Annotated[
        Path | None,
        typer.Option(help="File with name:password. The environment variable VIDEOREFER_APP_AUTH does the same."),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(help="Folder of a run whose check was drawn (videorefer data review): check it here, too."),
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of an upload.")] = 200,
    max_seconds: Annotated[int, typer.Option(min=1, help="Of a video.")] = 120,
    max_frames: Annotated[int, typer.Option(min=1, help="Of a video.")] = 3600,
    max_side: Annotated[int, typer.Option(min=1, help="Pixels of the longer side of a video.")] = 2560,
    max_visitors: Annotated[int, typer.Option(min=1, help="Whose work is kept at once.")] = 16,
    keep_minutes: Annotated[int, typer.Option(min=1, help="How long work is kept that nobody looks at.")] = 60,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")] = 256,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser of this computer.")
    ] = False,
) -> None:
    """Open a page on which you click on an object in a video and talk about it.

    Drop a video, click on an object, follow it through the video, correct it in
    any frame, and ask about it. The page is served to this computer only, and
    needs no internet. It goes on until Ctrl-C.

    Without options, the embedded model answers, which knows the shapes world
    only, and objects are cut out by the classical segmenter, without weights.
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
