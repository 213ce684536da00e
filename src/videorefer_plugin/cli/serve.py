"""`videorefer serve`: serve a model behind OpenAI's chat-completions interface, with regions in the requests."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import telling, warn

__all__ = ["serve"]


def serve(
    engine_options: Annotated[
        list[str] | None,
        typer.Argument(help="With --engine vllm: further options of its server, such as -- --max-model-len 8192."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder or Hub id. Default: the embedded model.", show_default=False)
    ] = "embedded",
    host: Annotated[
        str, typer.Option(help="Address to listen at. 0.0.0.0 stands for all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at. 0 takes any free one.")] = 8000,
    engine: Annotated[str, typer.Option(help="Engine that runs the model: transformers or vllm.")] = "transformers",
    name: Annotated[
        str | None,
        typer.Option(
            "--served-model-name", help="Id of the model for clients. Default: the Hub id or the folder's name."
        ),
    ] = None,
    object_encoder: Annotated[
        str | None, typer.Option(help="Folder of the saved object encoder, if the model is a host.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the model, such as cuda:0 or cpu.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Data type of the weights. Default: the checkpoint's.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="VIDEOREFER_API_KEY",
            show_envvar=True,
            show_default=False,
            help="Key that clients have to send. Others can read a command line: prefer the environment variable.",
        ),
    ] = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder whose files requests may name, as file:///path. Default: none.")
    ] = None,
    media_domain: Annotated[
        list[str] | None,
        typer.Option(help="Server that visuals may be fetched from, also a private one. May be repeated."),
    ] = None,
    no_media_urls: Annotated[bool, typer.Option("--no-media-urls", help="Do not fetch visuals.")] = False,
    max_request_mb: Annotated[float, typer.Option(help="Most MB of a request, and of a fetched visual.")] = 64,
    max_video_seconds: Annotated[float, typer.Option(help="Most seconds of a video.")] = 3600,
    max_frames: Annotated[int, typer.Option(help="Most frames to sample from a video.")] = 64,
    max_regions: Annotated[int, typer.Option(help="Most regions of a request.")] = 64,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 2048,
    max_requests: Annotated[
        int, typer.Option(help="Most concurrent requests; further ones are answered with 429.")
    ] = 64,
    timeout: Annotated[float, typer.Option(help="Most seconds that a request may take.")] = 300,
    keep_mb: Annotated[int, typer.Option(min=0, help="Most MB of visuals to keep between requests.")] = 4096,
) -> None:
    """Serve a model to OpenAI's clients, with regions in the requests.

    Clients send requests to /v1/chat/completions. In a message, a video_url or
    image_url comes first, and {"type": "region", "region": {"12": {"box": [10,
    20, 60, 80]}}} stands between the words.

    The log has a line for each request, without questions and answers.
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
            engine_options=tuple(engine_options or ()),
        )
        if api_key is None and not is_loopback(host):
            warn(errors, f"Everyone who can reach {host} may use this server. Set a key: VIDEOREFER_API_KEY.")
        run(engine, settings, lambda address: errors.print(f"Listening at {address}", highlight=False))
