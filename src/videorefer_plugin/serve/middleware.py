"""An ASGI application that converts regions in requests for engines without regions.

It is in front of the servers of transformers and vLLM (`--middleware
videorefer_plugin.serve.middleware.RegionParts`), rewrites requests, and fetches nothing.
"""

import json
from collections.abc import Collection
from typing import Any

from videorefer_plugin._json import JsonError, parse_json
from videorefer_plugin.errors import ServeError, VideoReferError
from videorefer_plugin.serve.errors import send_error, status_of
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.request import read_request
from videorefer_plugin.serve.sources import Sources

__all__ = ["CHAT_PATH", "RegionParts", "read_body"]

CHAT_PATH = "/v1/chat/completions"
"""The one path whose requests have regions."""

_VLLM_FIELDS = (
    *("top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "stop", "logprobs"),
    *("top_logprobs", "ignore_eos", "min_tokens", "skip_special_tokens", "logit_bias", "priority", "cache_salt"),
)


class RegionParts:
    """Converts regions of a request to settings that engines pass to the processor.

    Args:
        app: the engine's application.
        limits ([`Limits`], *optional*): limits of requests.
        sources ([`Sources`], *optional*): allowed sources of visuals; the engine may allow fewer.
        kwargs_name (`str`, *optional*): field that the engine passes to the processor; vLLM's by default.
        more_fields (`Collection[str]`, *optional*): fields that the engine takes; vLLM's by default.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits | None = None,
        sources: Sources | None = None,
        kwargs_name: str = "mm_processor_kwargs",
        more_fields: Collection[str] = _VLLM_FIELDS,
    ):
        self.app = app
        self.limits, self.sources = limits or Limits(), sources or Sources()
        self.kwargs_name, self.more_fields = kwargs_name, more_fields

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a call of ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != CHAT_PATH:
            await self.app(scope, receive, send)
            return
        try:
            body = self.translated(await read_body(receive, self.limits.request_bytes))
        except VideoReferError as error:
            await send_error(send, str(error), status_of(error), getattr(error, "parameter", None))
            return
        if body is None:  # the client is gone
            return
        told = False

        async def translated() -> Any:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [
            (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")
        ]
        headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await self.app({**scope, "headers": headers}, translated, send)

    def translated(self, body: bytes | None) -> bytes | None:
        """Return the body of a request in the form that the engine takes.

        Raises:
            ServeError: the body is not JSON, or the request is wrong.
        """
        if body is None:
            return None
        try:
            said = parse_json(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ServeError("The request is not UTF-8.") from error
        except JsonError as error:
            raise ServeError(f"The request cannot be read: {error}.") from error
        request = read_request(said, self.limits, self.sources, self.more_fields)
        # vLLM samples where no temperature is given; the engine of transformers does not.
        return json.dumps({"temperature": 0, **request.to_json(self.kwargs_name)}).encode()


async def read_body(receive: Any, most: int) -> bytes | None:
    """Return the body of a request; `None` if its client is gone.

    Raises:
        ServeError: the body has more bytes than `most`.
    """
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size <= most:
            pieces.append(piece)
        else:  # read to its end, since clients read an answer only then, but with a limit
            pieces.clear()
            if size > 4 * most:
                raise _too_large(most)
        if not message.get("more_body"):
            break
    if size > most:
        raise _too_large(most)
    return b"".join(pieces)


def _too_large(most: int) -> ServeError:
    return ServeError(f"The request has more than {most} bytes, the most that this server takes.", 413)
