"""A chat model behind an OpenAI-compatible endpoint.

Keys are read from the environment only and are never shown.
"""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from videorefer_plugin._addresses import bare_address, names_server
from videorefer_plugin._kinds import TEXT, check_kind
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.chat.base import Completion, Message, Usage, check_at_least, check_messages
from videorefer_plugin.chat.client import make_client
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.chat.wire import error_code, parse_reply, redacted, said_in, unsupported_parameter
from videorefer_plugin.errors import ChatError

__all__ = ["ChatEndpoint"]

logger = logging.getLogger(__name__)

_MOST_BYTES = 64 << 20  # of a reply
_PAUSE = 0.5  # seconds before a request whose reply broke off is sent again, doubled each time
_REFUSALS = ("content_filter", "content_policy", "moderation")
_INSTEAD = {"max_tokens": "max_completion_tokens"}  # for servers that know only the other name
_LEFT_OUT = "left out"


class ChatEndpoint:
    """A model behind an OpenAI-compatible endpoint.

    The client of `openai` tries again after the statuses 408, 409, 429 and 5xx and after lost connections. It waits
    longer each time, or as long as the server asks. A request that still fails raises [`ReplyError`].

    Some models accept no `max_tokens` or no `temperature`. Requests then have `max_completion_tokens`, or leave the
    parameter out. A warning names each change, and `adapted` lists them.

    Args:
        model (`str`): name of the model at the endpoint.
        base_url (`str`, *optional*): address of the API; that of OpenAI, or `OPENAI_BASE_URL`, by default.
        temperature (`float`): sampling temperature; 0 by default, for replies that can be reproduced best.
        max_tokens (`int`): largest number of tokens of a reply.
        retries (`int`): how often to try a request again.
        timeout (`float`): seconds to wait for a reply to begin, and again for it to end.
        requests_per_minute (`float`, *optional*): largest number of requests to start in a minute.
        workers (`int`): largest number of requests at the same time.
        prices (`tuple[float, float]`, *optional*): prices of a million tokens read, and of a million written, to show
            the cost.
        key_variable (`str`): the environment variable that holds the key.
        extra (`Mapping[str, Any]`, *optional*): further fields of every request, for servers that take them.

    Attributes:
        adapted (`dict[str, str]`): for each parameter that the server does not accept, how requests were changed.

    Raises:
        ChatError: a setting has a wrong value, `openai` is not installed, or there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        retries: int = 5,
        timeout: float = 120.0,
        requests_per_minute: float | None = None,
        workers: int = 4,
        prices: tuple[float, float] | None = None,
        key_variable: str = "OPENAI_API_KEY",
        extra: Mapping[str, Any] | None = None,
    ):
        if not isinstance(model, str) or not model.strip():
            raise ChatError(f"model is {short(model)}: expected the name of a model at the endpoint")
        check_at_least("temperature", temperature, 0)
        check_at_least("max_tokens", max_tokens, 1, whole=True)
        check_at_least("retries", retries, 0, whole=True)
        check_at_least("timeout", timeout, 0, above=True)
        check_at_least("workers", workers, 1, whole=True)
        check_kind(ChatError, TEXT, optional=True, base_url=base_url)
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        if base_url is not None:
            _check_address(base_url)
        self.model, self.temperature, self.max_tokens = model, temperature, max_tokens
        self.base_url, self.workers, self.usage = base_url, workers, Usage(prices)
        self.retries, self.timeout, self.key_variable = retries, timeout, key_variable
        self.extra = dict(extra or {})
        self.adapted: dict[str, str] = {}
        self._pace = _Pace(requests_per_minute)
        self._key = _find_key(key_variable, base_url)
        self._client = self._connect()

    def settings(self) -> dict[str, Any]:
        """Return the model, address and temperature that were asked for."""
        return {
            "endpoint": "https://api.openai.com/v1" if self.base_url is None else bare_address(self.base_url),
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **self.extra,
        }

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        self._client.close()
        self._client = self._connect()

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages; see [`Chat`]."""
        import openai

        check_messages(messages)
        adapted = dict(self.adapted)
        while True:
            parameters = self._parameters(adapted)
            try:
                completion = self._ask(messages, parameters)
                break
            except openai.APIStatusError as error:
                name = unsupported_parameter(error.status_code, said_in(error.body), parameters)
                if name is None:
                    raise self._refused(error) from None
                _adapt(adapted, name)
            except openai.APITimeoutError as error:
                raise self._too_slow(_tries(error)) from None
            except openai.APIError as error:
                raise self._lost(error) from None
        self._keep(adapted)
        self.usage.add(completion)
        return completion

    def _connect(self) -> Any:
        return make_client(self._key or "none", self.base_url, self.retries, self.timeout)

    def _parameters(self, adapted: Mapping[str, str]) -> dict[str, Any]:
        given: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        sent = {name: value for name, value in given.items() if name not in adapted}
        return sent | {_INSTEAD[name]: given[name] for name, done in adapted.items() if done != _LEFT_OUT}

    def _keep(self, adapted: Mapping[str, str]) -> None:
        """Remember the changes after which the server replied."""
        for name, done in adapted.items():
            if self.adapted.get(name) != done:
                self.adapted[name] = done
                logger.warning("%s does not take %s with the model %r: it is %s.", self._place, name, self.model, done)

    def _ask(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Completion:
        """Send a request, and again where its reply breaks off, as long as tries are left."""
        left = self.retries
        while True:
            self._pace.wait()
            create: Any = self._client.with_options(max_retries=left).chat.completions.with_streaming_response.create
            with create(
                model=self.model, messages=list(messages), **parameters, extra_body=self.extra or None
            ) as response:
                left -= response.retries_taken + 1
                try:
                    data = self._read(response, self.retries - left)
                except ReplyError:
                    if left < 0:
                        raise
                    data = None
            if data is not None:
                return self._parse(data)
            time.sleep(_PAUSE * 2 ** min(self.retries - left - 1, 4))

    def _read(self, response: Any, tries: int) -> bytes:
        """Read the whole reply, with a timeout of our own, since each byte renews the client's timeout."""
        until = time.monotonic() + self.timeout
        client = sys.modules[type(response.http_response).__module__.partition(".")[0]]  # httpx, or its successor
        data = bytearray()
        try:
            for chunk in response.iter_bytes():
                data += chunk
                if time.monotonic() > until:
                    raise self._too_slow(tries)
                if len(data) > _MOST_BYTES:
                    raise ReplyError(f"{self._place} gives a reply of more than {_MOST_BYTES >> 20} MiB.")
        except client.TimeoutException:
            raise self._too_slow(tries) from None
        except client.HTTPError as error:
            said = f"{self._place} breaks off its reply{_in_tries(tries)} ({type(error).__name__})."
            raise ReplyError(said) from None
        return bytes(data)

    def _parse(self, data: bytes) -> Completion:
        try:
            return parse_reply(data)
        except ValueError as error:
            reason = redacted(str(error), self._key)
            raise ReplyError(f"{self._place} gives a reply that cannot be read: {reason}.") from None

    def _refused(self, error: Any) -> ChatError:
        """Return the error for a status other than 200, which may concern these messages only, or all."""
        status, code = error.status_code, error_code(error.body)
        said = redacted(said_in(error.body), self._key)
        told = f": {said}" if said else "."
        if any(word in code for word in _REFUSALS):
            return ReplyError(f"{self._place} refuses these messages (status {status}){told}", "refused")
        if status in (401, 403):  # what the server says may repeat the key
            return ChatError(f"{self._place} refuses the key in {self.key_variable} (status {status}).")
        if status == 402 or code == "insufficient_quota":
            return ChatError(f"{self._place} says that the account has nothing left to spend (status {status}){told}")
        if status in (404, 405) or code == "model_not_found":
            return ChatError(f"{self._place} does not know the model {self.model!r}, or has no chat API{told}")
        if status == 413 or code == "context_length_exceeded":
            return ReplyError(f"{self._place} finds these messages too long (status {status}){told}", "too_long")
        return ReplyError(f"{self._place} answers with status {status}{_in_tries(_tries(error))}{told}")

    def _too_slow(self, tries: int) -> ReplyError:
        return ReplyError(f"{self._place} does not answer in time ({self.timeout:g} s){_in_tries(tries)}.", "timeout")

    def _lost(self, error: Any) -> ReplyError:
        cause = redacted(str(error.__cause__ or error), self._key)
        return ReplyError(f"{self._place} cannot be reached{_in_tries(_tries(error))}: {cause}")

    @property
    def _place(self) -> str:
        return f"The endpoint {'of OpenAI' if self.base_url is None else bare_address(self.base_url)}"


def _find_key(variable: str, base_url: str | None) -> str | None:
    key = os.environ.get(variable)
    if not key and base_url is None:
        raise ChatError(
            f"There is no key in the environment variable {variable}. Set it there (keys are taken from nowhere "
            "else), or give the address of a server that needs none."
        )
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ChatError(
            f"The key in the environment variable {variable} has a space, a line break or a character that no key "
            "has. Set it again, without quotes or spaces around it."
        )
    return key or None


def _check_address(address: Any) -> None:
    """Check that a value can be the address of an endpoint, without asking the endpoint.

    Raises:
        ChatError: the value is not an address.
    """
    given = bare_address(address) if isinstance(address, str) else address
    right = isinstance(address, str) and names_server(address) and not text_fault(address)
    if not right or any(letter.isspace() or not letter.isprintable() for letter in address):
        raise ChatError(
            f"The address of the endpoint is {short(given)}: expected one such as http://localhost:8000/v1, or "
            "'openai' for that of OpenAI"
        )
    if set(address) & set("?#"):
        raise ChatError(
            f"The address of the endpoint, {short(given)}, has a question mark or #, after which no path "
            "can be appended. Leave that part out; a key belongs in its environment variable."
        )
    if re.search(r"/(chat/)?completions/*$", address):
        raise ChatError(
            f"The address of the endpoint is {short(given)}: expected the address of its API, which /chat/completions "
            "is appended to. Leave that part out."
        )


def _tries(error: Any) -> int:
    """Return how often a failed request was sent."""
    return int(error.request.headers.get("x-stainless-retry-count", 0)) + 1


def _adapt(adapted: dict[str, str], name: str) -> None:
    """Note how to change a parameter that the server does not accept: it is renamed if possible, and else left out."""
    given = next((old for old, new in _INSTEAD.items() if new == name), name)
    instead = None if given in adapted else _INSTEAD.get(given)
    adapted[given] = f"sent as {instead}" if instead else _LEFT_OUT


def _in_tries(tries: int) -> str:
    return f", in {tries} tries" if tries > 1 else ""


class _Pace:
    """Spaces requests of all threads in time."""

    def __init__(self, per_minute: float | None):
        if per_minute is not None:
            check_at_least("requests_per_minute", per_minute, 0, above=True)
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        time.sleep(max(0.0, start - now))
