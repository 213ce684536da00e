"""A client of `openai` that limits the time of a whole request, and the size of error pages."""

import sys
from typing import Any

from videorefer_plugin._waiting import TooSlowError, within
from videorefer_plugin.errors import ChatError

__all__ = ["make_client"]

_MOST_BYTES = 1 << 20  # of a page about an error
_OF_TRANSPORT = ("content-encoding", "content-length", "transfer-encoding")


def make_client(key: str, base_url: str | None, retries: int, timeout: float) -> Any:
    """Make a client of `openai` whose timeout also ends requests to servers that send a byte now and then.

    Args:
        key (`str`): the API key.
        base_url (`str`, *optional*): address of the API; that of OpenAI by default.
        retries (`int`): how often to try a request again.
        timeout (`float`): seconds within which the headers of a reply, or all of an error page, must arrive.

    Raises:
        ChatError: `openai` is not installed, or cannot be set up with its environment variables.
    """
    try:
        import openai
    except ImportError as error:
        raise ChatError(
            "Endpoints need the package openai: pip install 'videorefer-plugin[engine]', or "
            "'videorefer-plugin[bench]'."
        ) from error

    class Client(openai.DefaultHttpxClient):  # type: ignore[misc, unused-ignore]
        def send(self, request: Any, **settings: Any) -> Any:
            def sent() -> Any:
                response = super(Client, self).send(request, **settings)
                return _read_error(response, request) if response.status_code >= 400 else response

            try:
                return within(timeout, sent)
            except TooSlowError:
                client = sys.modules[type(request).__module__.partition(".")[0]]  # httpx, or its successor
                raise client.ReadTimeout("no headers in time", request=request) from None

    try:
        return openai.OpenAI(
            api_key=key,
            base_url=base_url,
            max_retries=retries,
            timeout=timeout,
            http_client=Client(timeout=timeout),
        )
    except (ValueError, ImportError) as error:  # of a proxy in the environment
        raise ChatError(
            f"The client of endpoints cannot be set up: {error}. Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
        ) from error


def _read_error(response: Any, request: Any) -> Any:
    """Return the response with the beginning of its body; `openai` would wait for all of it."""
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > _MOST_BYTES:
            break
    response.close()
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_TRANSPORT]
    return type(response)(response.status_code, headers=headers, content=bytes(data), request=request)
