"""Serves with vLLM: its own server, with our middleware in front and our plugin behind."""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from videorefer_plugin.embedded import checkpoint
from videorefer_plugin.errors import ServeError
from videorefer_plugin.serve.door import Door
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.middleware import RegionParts
from videorefer_plugin.serve.running import ServeSettings, check_key
from videorefer_plugin.serve.sources import Sources

__all__ = ["FrontDoor", "serve_vllm", "vllm_arguments"]

logger = logging.getLogger("videorefer_plugin.serve")

_SETTINGS = "VIDEOREFER_SERVE_SETTINGS"  # from this process to the middleware, which vLLM makes
_KEY = "VIDEOREFER_API_KEY"
_ARCHITECTURE = "VideoReferForConditionalGeneration"
_OURS = (  # options of `videorefer serve` under the same or another name, which check what they are given
    *("model", "served-model-name", "host", "port", "revision", "dtype", "api-key"),
    *("allowed-local-media-path", "allowed-media-domains", "limit-mm-per-prompt"),
)
_FIXED = ("middleware", "media-io-kwargs", "trust-request-mm-kwargs", "mm-processor-cache-gb")  # regions need them


class FrontDoor:
    """[`Door`] and [`RegionParts`] as one middleware of vLLM, with the settings of `videorefer serve`.

    Args:
        app: vLLM's application.
    """

    def __init__(self, app: Any):
        given = json.loads(os.environ.get(_SETTINGS, "{}"))
        limits = Limits(**given.get("limits", {}))
        sources = Sources(
            **{**given.get("sources", {}), "domains": tuple(given.get("sources", {}).get("domains", ()))}
        )
        self._app = Door(RegionParts(app, limits, sources), limits, os.environ.get(_KEY) or None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a call of ASGI."""
        await self._app(scope, receive, send)


def vllm_arguments(folder: str, settings: ServeSettings, more: Sequence[str] = ()) -> list[str]:
    """Return the command line of vLLM's server.

    Args:
        folder (`str`): folder or Hub id of the model.
        settings ([`ServeSettings`]): settings of the server.
        more (`Sequence[str]`, *optional*): further arguments, which `settings.engine_options` may change.

    Raises:
        ServeError: an option of `settings.engine_options` is one that is set here.
    """
    _check_options(settings.engine_options)
    regions = settings.limits.regions
    given: dict[str, Any] = {
        "model": folder,
        "served-model-name": settings.served_name,
        "host": settings.host,
        "port": settings.port,
        "limit-mm-per-prompt": json.dumps({"video": 1, "image": 1, "video_region": regions, "image_region": regions}),
        "media-io-kwargs": json.dumps({"video": {"video_backend": "videorefer"}}),
        "middleware": f"{FrontDoor.__module__}.{FrontDoor.__qualname__}",
        **({"revision": settings.revision} if settings.revision else {}),
        **({"dtype": settings.dtype} if settings.dtype else {}),
        **({"allowed-local-media-path": settings.sources.root} if settings.sources.root else {}),
    }
    arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    if settings.sources.domains:
        arguments += ["--allowed-media-domains", *settings.sources.domains]
    # The middleware keeps only our kwargs. vLLM's cache of processed items assumes that requests reach the engine in
    # the order in which they were processed. Streamed requests arrive later, and those of clients that went away
    # never, so that later requests about the same video would fail with status 500. `Clip` keeps decoded frames
    # instead.
    return [*arguments, "--trust-request-mm-kwargs", "--mm-processor-cache-gb", "0", *more, *settings.engine_options]


def _check_options(options: Sequence[str]) -> None:
    for option in options:
        name = option.split("=", 1)[0].lstrip("-").replace("_", "-")
        if option.startswith("--") and name in _OURS:
            raise ServeError(
                f"{option.split('=', 1)[0]} is an option of videorefer serve, or follows from one. Give it before the "
                "-- instead of behind it; videorefer serve --help lists them."
            )
        if option.startswith("--") and name in _FIXED:
            raise ServeError(f"{option.split('=', 1)[0]} is set by videorefer serve, which needs it. Leave it out.")


def serve_vllm(settings: ServeSettings, tell: Callable[[str], None] | None = None) -> None:
    """Answer requests with vLLM's server until the process is told to end.

    Visuals are fetched from `settings.sources.domains` only, since vLLM does not check the target of an address.

    Raises:
        ServeError: vLLM is not installed, or does not serve this model.
    """
    check_key(settings.api_key)
    _check_options(settings.engine_options)
    try:
        import uvloop
        from vllm.entrypoints.launchers.api_server.entry import run_server
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError as error:
        raise ServeError(
            f"vLLM cannot be imported ({error}). Install it into an environment of its own: pip install "
            '"videorefer-plugin[vllm]".'
        ) from error
    folder = _folder_of(settings)
    sources = replace(settings.sources, urls=bool(settings.sources.domains))
    os.environ[_SETTINGS] = json.dumps({"limits": asdict(settings.limits), "sources": asdict(sources)})
    os.environ[_KEY] = settings.api_key or ""
    os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(vllm_arguments(folder, settings, _of_machine()))
    validate_parsed_serve_args(args)
    if tell is not None:
        tell(f"http://{settings.host}:{settings.port}/v1")
    uvloop.run(run_server(args))


def _of_machine() -> list[str]:
    """Return arguments for CPUs, where vLLM's default blocks are longer than a question about a region, and compiling
    takes minutes."""
    from vllm.platforms import current_platform

    return ["--block-size", "32", "--enforce-eager"] if current_platform.is_cpu() else []


def _folder_of(settings: ServeSettings) -> str:
    """Return the folder or Hub id that vLLM can load: for an original checkpoint, that of its conversion.

    Raises:
        ServeError: vLLM does not serve this model.
        CheckpointError: the checkpoint cannot be loaded.
    """
    from transformers import AutoConfig

    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig

    if settings.object_encoder is not None:
        raise ServeError(
            "vLLM serves VideoRefer models; a host with an attached object encoder is served with --engine "
            "transformers."
        )
    name = checkpoint(settings.model)
    try:
        config = AutoConfig.from_pretrained(name, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise ServeError(f"{settings.model} cannot be served with vLLM: {error}") from error
    if isinstance(config, VideoReferConfig) and list(config.architectures or []) == [_ARCHITECTURE]:
        if _highest(config) < config.text_config.vocab_size:
            return name
    elif not isinstance(config, VideoReferConfig):
        raise ServeError(
            f"{settings.model} is a model of type {config.model_type!r}, which the plugin of vLLM does not serve; it "
            "serves VideoRefer models. Use --engine transformers."
        )
    return _converted(name, settings.revision)


def _highest(config: Any) -> int:
    return max(config.image_token_id, config.video_token_id, config.region_token_id)


def _converted(name: str, revision: str | None) -> str:
    """Convert a checkpoint to our layout, once, and return its folder in the cache.

    The vocabulary of the conversion includes the placeholders. In original checkpoints they are outside of it, where a
    repetition penalty, which vLLM counts over the prompt, ends its engine.
    """
    from huggingface_hub.constants import HF_HOME

    from videorefer_plugin.asking import load_model
    from videorefer_plugin.models.fingerprint import fingerprint

    folder = Path(HF_HOME) / "videorefer" / "converted" / fingerprint(name, revision)
    if not (folder / "config.json").is_file():
        logger.warning("%s has a layout that vLLM cannot load. It is converted once, into %s.", name, folder)
        model, processor = load_model(name, revision=revision)
        model.resize_token_embeddings(
            max(_highest(model.config) + 1, model.config.text_config.vocab_size), mean_resizing=False
        )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            whole = Path(made) / "whole"
            model.save_pretrained(whole)
            processor.save_pretrained(whole)
            with contextlib.suppress(FileExistsError):  # another process was faster
                whole.rename(folder)
    return str(folder)
