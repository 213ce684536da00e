"""`videorefer serve`: a model behind OpenAI's chat-completions interface, with regions in the requests."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import telling, warn

__all__ = ["serve"]


def serve(
    model: Annotated[
        str, typer.Option(help="Folder or Hub id; the embedded model by default.", show_default=False)
    ] = "embedded",
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0 for any free one.")] = 8000,
    engine: Annotated[str, typer.Option(help="What runs the model: transformers or vllm.")] = "transformers",
    name: Annotated[
        str | None,
        typer.Option("--served-model-name", help="Id of the model for clients; the Hub id or the folder's name."),
    ] = None,
    object_encoder: Annotated[
        str | None, typer.Option(help="For a host: what was saved of its object encoder.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")] = None,
    device: Annotated[str | None, typer.Option(help="Where to load the model, such as cuda:0 or cpu.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Type of the weights; the checkpoint's by default.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="VIDEOREFER_API_KEY",
            show_envvar=True,
            show_default=False,
            help="What clients have to send. Others see a command line: rather set the environment variable.",
        ),
    ] = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder whose files requests may name, as file:///path; none by default.")
    ] = None,
    media_domain: Annotated[
        list[str] | None,
        typer.Option(help="Fetch visuals from this server only, which may be a private one; several times for more."),
    ] = None,
    no_media_urls: Annotated[bool, typer.Option("--no-media-urls", help="Fetch visuals from no server.")] = False,
    max_request_mb: Annotated[float, typer.Option(help="The most MB of a request, and of a fetched visual.")] = 64,
    max_video_seconds: Annotated[float, typer.Option(help="The longest video.")] = 3600,
    max_frames: Annotated[int, typer.Option(help="The most frames to sample from a video.")] = 64,
    max_regions: Annotated[int, typer.Option(help="The most regions of a request.")] = 64,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of an answer.")] = 2048,
    max_requests: Annotated[int, typer.Option(help="Requests at the same time; more are answered with 429.")] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 300,
    keep_mb: Annotated[int, typer.Option(min=0, help="MB to keep of visuals between requests.")] = 4096,
) -> None:
    """Serve a model to OpenAI's clients, with regions in the requests.

    A request is one of /v1/chat/completions, in whose messages a video_url or image_url stands first, and {"type":
    "region", "region": {"12": {"box": [10, 20, 60, 80]}}} between the words.

    The log has a line for each request; it holds neither questions nor answers.
    """
    import logging

    from videorefer_plugin.serve.engines import run
    from videorefer_plugin.serve.limits import Limits
    from videorefer_plugin.serve.listening import is_loopback
    from videorefer_plugin.serve.running import ServeSettings
    from videorefer_plugin.serve.sources import Sources

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("videorefer_plugin.serve").setLevel(logging.INFO)
    with telling() as errors:
        settings = ServeSettings(
            model=model,
            host=host,
            port=port,
            name=name,
            object_encoder=object_encoder,
            revision=revision,
            device=device,
            dtype=dtype,
            api_key=api_key,
            limits=Limits(
                request_bytes=int(max_request_mb * 1e6),
                video_seconds=max_video_seconds,
                frames=max_frames,
                regions=max_regions,
                tokens=max_tokens,
                requests=max_requests,
                seconds=timeout,
            ),
            sources=Sources(
                None if media_root is None else str(media_root),
                tuple(one.lower() for one in media_domain or ()),
                not no_media_urls,
            ),
            keep_bytes=keep_mb * 1_000_000,
        )
        if api_key is None and not is_loopback(host):
            warn(errors, f"Whoever reaches {host} may ask this server. Give a key: VIDEOREFER_API_KEY.")
        run(engine, settings, lambda address: errors.print(f"Listening at {address}", highlight=False))
