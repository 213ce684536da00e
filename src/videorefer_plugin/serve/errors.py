"""Errors in the form that OpenAI's clients read."""

import json
from typing import Any

from videorefer_plugin.errors import ServeError, VideoReferError

__all__ = ["error_body", "send_error", "status_of"]

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def status_of(error: VideoReferError) -> int:
    """Return the HTTP status of an error: that of a [`ServeError`], and 400 for any other bad input."""
    return error.status if isinstance(error, ServeError) else 400


def error_body(message: str, status: int, parameter: str | None = None) -> dict[str, Any]:
    """Return the body of an error reply."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": parameter, "code": status}}


async def send_error(
    send: Any,
    message: str,
    status: int,
    parameter: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    """Send an error as the reply of an ASGI application.

    Args:
        send: the `send` of the application's call.
        message, status, parameter: message, HTTP status, and the part of the request that has the error.
        headers (*optional*): names in lowercase letters, and values.
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
