"""A chat model behind an OpenAI-compatible endpoint.

Keys come from the environment only and are never shown.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from videorefer_plugin.chat.base import Completion, Message, Usage
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import ChatError

__all__ = ["ChatEndpoint"]


class ChatEndpoint:
    """A model behind an OpenAI-compatible endpoint.

    The client of `openai` tries again after 408, 409, 429, 5xx and lost connections, waiting longer each time or as
    long as the server says. What still fails then is an error of that item.

    Args:
        model (`str`): name of the model there.
        base_url (`str`, *optional*): address of the API; that of OpenAI, or `OPENAI_BASE_URL`, by default.
        temperature (`float`): 0 by default, for replies that differ as little as can be.
        max_tokens (`int`): the most tokens of a reply.
        retries (`int`): further tries of a request.
        timeout (`float`): seconds to wait for a reply.
        requests_per_minute (`float`, *optional*): the most requests to start in a minute.
        workers (`int`): requests at the same time.
        prices (`tuple[float, float]`, *optional*): of a million tokens read and written, to show the cost.
        key_variable (`str`): the environment variable that holds the key.

    Raises:
        ChatError: `openai` is not installed, or there is no key.
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
    ):
        try:
            import openai
        except ImportError as error:
            raise ChatError("Endpoints need the package openai: pip install 'videorefer-plugin[bench]'") from error
        key = os.environ.get(key_variable)
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not key and base_url is None:
            raise ChatError(
                f"There is no key in the environment variable {key_variable}. Set it there (keys are taken from "
                "nowhere else), or give the address of a server that needs none."
            )
        self.model, self.temperature, self.max_tokens = model, temperature, max_tokens
        self.base_url, self.workers, self.usage = base_url, workers, Usage(prices)
        self.key_variable = key_variable
        self._client = openai.OpenAI(api_key=key or "none", base_url=base_url, max_retries=retries, timeout=timeout)
        self._pace = _Pace(requests_per_minute)

    def settings(self) -> dict[str, Any]:
        """Model, address and temperature."""
        return {
            "endpoint": self.base_url or "https://api.openai.com/v1",
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages; see [`Chat`]."""
        import openai

        self._pace.wait()
        try:
            reply = self._client.chat.completions.create(
                model=self.model,
                messages=list(messages),
                temperature=self.temperature,
                max_tokens=self.max_tokens,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            # What the server says may repeat the key.
            raise ChatError(
                f"{self._place} refuses the key in {self.key_variable} (status {error.status_code})."
            ) from None
        except openai.NotFoundError:
            raise ChatError(f"{self._place} does not know the model {self.model!r}, or has no chat API.") from None
        except openai.APIStatusError as error:
            raise ReplyError(
                f"{self._place} answers with status {error.status_code}, also when asked again."
            ) from None
        except openai.APITimeoutError:
            raise ReplyError(f"{self._place} does not answer in time, also when asked again.", "timeout") from None
        except openai.APIConnectionError:
            raise ReplyError(f"{self._place} cannot be reached.") from None
        except openai.APIError as error:
            raise ReplyError(f"{self._place} gives a reply that cannot be read ({type(error).__name__}).") from None
        if not reply.choices or reply.choices[0].message is None:
            raise ReplyError(f"{self._place} gives a reply without a message.")
        used = reply.usage
        completion = Completion(
            reply.choices[0].message.content or "",
            used.prompt_tokens if used else None,
            used.completion_tokens if used else None,
        )
        self.usage.add(completion)
        return completion

    @property
    def _place(self) -> str:
        return f"The endpoint {self.base_url or 'of OpenAI'}"


class _Pace:
    """Keeps requests apart, whichever thread makes them."""

    def __init__(self, per_minute: float | None):
        if per_minute is not None and per_minute <= 0:
            raise ChatError(f"requests_per_minute is {per_minute}: expected a number above 0")
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
