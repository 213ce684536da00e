"""A chat model of transformers on this machine."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.chat.base import Completion, Message, Usage, check_at_least
from videorefer_plugin.errors import ChatError

__all__ = ["LocalChat"]


class LocalChat:
    """A chat model of transformers, loaded when it is first asked; decoding is greedy.

    Args:
        model (`str`): folder or Hub id of a causal language model whose tokenizer has a chat template.
        max_tokens (`int`): the most tokens of a reply.
        temperature (`float`): 0, since nothing else would be reproducible.

    Raises:
        ChatError: a setting has a wrong value.
    """

    workers = 1

    def __init__(self, model: str, max_tokens: int = 1024, temperature: float = 0.0):
        check_at_least("max_tokens", max_tokens, 1, whole=True)
        check_at_least("temperature", temperature, 0)
        if temperature:
            raise ChatError(
                f"temperature is {temperature}: expected 0, since a chat model that is loaded here always says "
                "what is likeliest. Leave it out, or ask a model behind an endpoint."
            )
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
                raise ChatError(f"There is no chat model that can be loaded at {self.model!r}: {error}") from error
            if not tokenizer.chat_template:
                raise ChatError(f"The tokenizer of {self.model!r} has no chat template: choose a model for chat")
            self._loaded = model, tokenizer
        return self._loaded
