"""Starts a server, and stops it after it has answered its requests."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin.embedded import checkpoint
from videorefer_plugin.errors import ServeError
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.sources import Sources

__all__ = ["ServeSettings", "check_key", "serve_transformers"]

_EXTRA = 'Install what the server needs: pip install "videorefer-plugin[serve]".'
_GRACE = 30  # seconds for running requests when the server is stopped


@dataclass(frozen=True)
class ServeSettings:
    """The settings of a server.

    Attributes:
        model (`str`): folder or Hub id of the model; "embedded" for the model in the package.
        host (`str`): the address to listen at.
        port (`int`): the port; 0 for any free one.
        name (`str`, *optional*): id of the model for clients; by default the Hub id, or the name of the folder.
        object_encoder (`str`, *optional*): for a host, folder or Hub id of its saved object encoder.
        revision (`str`, *optional*): branch, tag or commit of the model on the Hub.
        device, dtype (`str`, *optional*): device and dtype of the model.
        api_key (`str`, *optional*): key that clients have to send.
        limits ([`Limits`]): limits of requests.
        sources ([`Sources`]): allowed sources of visuals.
        keep_bytes (`int`): largest number of bytes to keep of visuals between requests.
        engine_options (`tuple[str, ...]`): further options of the server of vLLM, as on its command line.
    """

    model: str = "embedded"
    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None
    object_encoder: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    api_key: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    sources: Sources = field(default_factory=Sources)
    keep_bytes: int = 4 << 30
    engine_options: tuple[str, ...] = ()

    @property
    def served_name(self) -> str:
        """The id of the model for clients."""
        if self.name is not None:
            return self.name
        return Path(self.model).resolve().name if os.path.isdir(self.model) else self.model


def check_key(key: str | None) -> str | None:
    """Check the key that clients have to send, if there is one, and return it.

    Raises:
        ServeError: clients could not send the key. The message does not repeat it.
    """
    if key is None or (len(key) >= 8 and key.isascii() and key.isprintable() and " " not in key):
        return key
    raise ServeError(
        "The key (--api-key or VIDEOREFER_API_KEY) must have at least 8 characters: ASCII, without spaces and line "
        "breaks."
    )


def serve_transformers(settings: ServeSettings, tell: Any = None) -> None:
    """Answer requests with transformers' server until the process is told to end.

    After SIGINT and SIGTERM, the server takes no more connections, and running requests have half a minute to end.

    Args:
        settings ([`ServeSettings`]): settings of the server.
        tell (`Callable[[str], None]`, *optional*): called with the address once the server listens.

    Raises:
        ServeError: the extra is not installed, or the address cannot be listened at.
        CheckpointError: the model cannot be loaded.
    """
    try:
        import uvicorn

        from videorefer_plugin.serve.transformers_app import build_app
    except ImportError as error:
        raise ServeError(f"The server cannot be started ({error}). {_EXTRA}") from error

    from videorefer_plugin.asking import load_model
    from videorefer_plugin.models.videorefer.regions import RegionMixin
    from videorefer_plugin.serve.answering import Answerer
    from videorefer_plugin.serve.door import Door
    from videorefer_plugin.serve.listening import listening_socket
    from videorefer_plugin.serve.middleware import RegionParts

    check_key(settings.api_key)
    with listening_socket(settings.host, settings.port) as listener:
        model, processor = load_model(
            checkpoint(settings.model),
            object_encoder=settings.object_encoder,
            revision=settings.revision,
            device=settings.device,
            dtype=settings.dtype,
        )
        if not isinstance(model, RegionMixin):
            raise ServeError(
                f"{settings.model} has no object encoder, so that requests cannot have regions. Give a "
                "VideoRefer model, or the object encoder of a host with --object-encoder."
            )
        limits, sources = settings.limits, settings.sources
        answerer = Answerer(model, processor, limits, sources, settings.keep_bytes)
        app = RegionParts(
            build_app(answerer, settings.served_name), limits, sources, "chat_template_kwargs", more_fields=()
        )
        config = uvicorn.Config(
            Door(app, limits, settings.api_key),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=1 << 16,
            http="h11",
            ws="none",
        )
        if tell is not None:
            host, port = listener.getsockname()[:2]
            tell(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
        server = uvicorn.Server(config)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn raises the signal that ended it again
            if not server.should_exit:
                raise
    logging.getLogger("videorefer_plugin.serve").info("stopped")
