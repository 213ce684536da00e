"""Errors as OpenAI's clients read them."""

import json
from typing import Any

from videorefer_plugin.errors import ServeError, VideoReferError

__all__ = ["error_body", "send_error", "status_of"]

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def status_of(error: VideoReferError) -> int:
    """The status of HTTP that tells of an error: that of a [`ServeError`], and 400 for any other bad input."""
    return error.status if isinstance(error, ServeError) else 400


def error_body(message: str, status: int, parameter: str | None = None) -> dict[str, Any]:
    """What the reply says."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": parameter, "code": status}}


async def send_error(
    send: Any,
    message: str,
    status: int,
    parameter: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    """Reply with an error, as an application of ASGI does.

    Args:
        send: of the application's call.
        message, status, parameter: what is wrong, and with what part of the request.
        headers (*optional*): names in small letters, and values.
    """
    body = json.dumps(error_body(message, status, parameter)).encode()
    given = (("content-type", "application/json"), ("content-length", str(len(body))), *headers)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given],
        }
    )
    await send({"type": "http.response.body", "body": body})
