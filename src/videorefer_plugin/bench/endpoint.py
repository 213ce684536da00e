"""Chat models to ask: behind an OpenAI-compatible endpoint, or loaded here.

Both are judges and, where they see pictures, answerers. Keys come from the environment only and are never shown.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.errors import BenchError

__all__ = ["Chat", "ChatEndpoint", "Completion", "LocalChat", "Usage"]

Message = dict[str, Any]


@dataclass(frozen=True)
class Completion:
    """A reply, and what it took.

    Attributes:
        text (`str`): the reply.
        input_tokens, output_tokens (`int`, *optional*): as counted by the model's side.
    """

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class Chat(Protocol):
    """A chat model.

    Attributes:
        workers (`int`): how many requests it takes at the same time.
    """

    workers: int

    def settings(self) -> dict[str, Any]:
        """Everything that its replies depend on."""
        ...

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages in the form of OpenAI's chat completions.

        Raises:
            ItemError: there is no reply to these messages.
            BenchError: there will be none to others either.
        """
        ...


class Usage:
    """Tokens used so far, and what they cost if prices are known; safe to share between threads.

    Args:
        prices (`tuple[float, float]`, *optional*): of a million tokens read and written.
    """

    def __init__(self, prices: tuple[float, float] | None = None):
        self.prices = prices
        self.requests = self.input_tokens = self.output_tokens = 0
        self._lock = threading.Lock()

    def add(self, completion: Completion) -> None:
        """Count a reply."""
        with self._lock:
            self.requests += 1
            self.input_tokens += completion.input_tokens or 0
            self.output_tokens += completion.output_tokens or 0

    @property
    def cost(self) -> float | None:
        """What was used times the prices, in their currency."""
        if self.prices is None:
            return None
        return (self.input_tokens * self.prices[0] + self.output_tokens * self.prices[1]) / 1e6

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", cost {self.cost:.4f}"
        return f"{self.requests} request(s), {self.input_tokens} tokens in, {self.output_tokens} out{cost}"


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
        BenchError: `openai` is not installed, or there is no key.
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
            raise BenchError("Endpoints need the package openai: pip install 'videorefer-plugin[bench]'") from error
        key = os.environ.get(key_variable)
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not key and base_url is None:
            raise BenchError(
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
            raise BenchError(
                f"{self._place} refuses the key in {self.key_variable} (status {error.status_code})."
            ) from None
        except openai.NotFoundError:
            raise BenchError(f"{self._place} does not know the model {self.model!r}, or has no chat API.") from None
        except openai.APIStatusError as error:
            raise ItemError(f"{self._place} answers with status {error.status_code}, also when asked again.") from None
        except openai.APITimeoutError:
            raise ItemError(f"{self._place} does not answer in time, also when asked again.") from None
        except openai.APIConnectionError:
            raise ItemError(f"{self._place} cannot be reached.") from None
        except openai.APIError as error:
            raise ItemError(f"{self._place} gives a reply that cannot be read ({type(error).__name__}).") from None
        if not reply.choices or reply.choices[0].message is None:
            raise ItemError(f"{self._place} gives a reply without a message.")
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
            raise BenchError(f"requests_per_minute is {per_minute}: expected a number above 0")
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


class LocalChat:
    """A chat model of transformers, loaded when it is first asked; decoding is greedy.

    Args:
        model (`str`): folder or Hub id of a causal language model whose tokenizer has a chat template.
        max_tokens (`int`): the most tokens of a reply.
    """

    workers = 1

    def __init__(self, model: str, max_tokens: int = 1024):
        self.model, self.max_tokens = model, max_tokens
        self.usage = Usage()
        self._loaded: tuple[Any, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """The model and what its files are."""
        from videorefer_plugin.models.fingerprint import fingerprint

        return {
            "model": self.model,
            "weights": fingerprint(self.model),
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages; see [`Chat`]."""
        model, tokenizer = self._load()
        inputs = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        output = model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        read = inputs["input_ids"].shape[1]
        written = output[0, read:]
        completion = Completion(tokenizer.decode(written, skip_special_tokens=True).strip(), read, len(written))
        self.usage.add(completion)
        return completion

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            try:
                tokenizer = AutoTokenizer.from_pretrained(self.model)
                where = "auto" if torch.cuda.is_available() else None
                model = AutoModelForCausalLM.from_pretrained(self.model, device_map=where).eval()
            except (OSError, ValueError) as error:
                raise BenchError(f"There is no chat model that can be loaded at {self.model!r}: {error}") from error
            if not tokenizer.chat_template:
                raise BenchError(f"The tokenizer of {self.model!r} has no chat template: choose a model for chat")
            self._loaded = model, tokenizer
        return self._loaded
