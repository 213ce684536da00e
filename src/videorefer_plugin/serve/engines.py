"""The engines that can run a model."""

from collections.abc import Callable

from videorefer_plugin.errors import ServeError
from videorefer_plugin.serve.running import ServeSettings, serve_transformers
from videorefer_plugin.serve.vllm.running import serve_vllm

__all__ = ["ENGINES", "run"]

ENGINES: dict[str, Callable[[ServeSettings, Callable[[str], None]], None]] = {
    "transformers": serve_transformers,
    "vllm": serve_vllm,
}
"""Functions that start a server, by the name of their engine."""


def run(engine: str, settings: ServeSettings, tell: Callable[[str], None]) -> None:
    """Serve with an engine until the process is told to end.

    Args:
        engine (`str`): a name in [`ENGINES`].
        settings ([`ServeSettings`]): settings of the server.
        tell (`Callable[[str], None]`): called with the address of the server.

    Raises:
        ServeError: there is no such engine, or the server cannot be started.
    """
    if engine not in ENGINES:
        raise ServeError(f"There is no engine {engine!r}; there is {' and '.join(map(repr, ENGINES))}.")
    if settings.engine_options and engine != "vllm":
        raise ServeError(
            f"The options {' '.join(settings.engine_options)} are for the server of vLLM, but the engine is {engine}. "
            "Leave them out, or add --engine vllm."
        )
    ENGINES[engine](settings, tell)
