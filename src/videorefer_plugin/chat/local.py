"""A chat model of transformers on this machine."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.chat.base import Completion, Message, Usage, check_at_least, check_messages
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import ChatError, CheckpointError
from videorefer_plugin.models.devices import device_of

__all__ = ["LocalChat"]

_TOGETHER = 8  # conversations in one batch


class LocalChat:
    """A chat model of transformers on this machine, loaded with the first request. Decoding is greedy.

    Args:
        model (`str`): folder or Hub id of a causal language model whose tokenizer has a chat template.
        max_tokens (`int`): largest number of tokens of a reply. After long messages it is smaller, if the model has no
            more positions.
        temperature (`float`): must be 0, since decoding is greedy.
        device (*optional*): device of the model; by default all GPUs, if there are any.

    Raises:
        ChatError: a setting has a wrong value.
    """

    workers = 1

    def __init__(self, model: str, max_tokens: int = 1024, temperature: float = 0.0, device: Any = None):
        if not isinstance(model, str) or not model.strip():
            raise ChatError(f"model is {short(model)}: expected a folder or Hub id of a chat model")
        check_at_least("max_tokens", max_tokens, 1, whole=True)
        check_at_least("temperature", temperature, 0)
        if temperature:
            raise ChatError(
                f"temperature is {temperature}: expected 0, since a chat model on this machine always replies with "
                "the likeliest tokens. Leave it out, or ask a model behind an endpoint."
            )
        self.model, self.max_tokens, self.device = model, max_tokens, device
        self.usage = Usage()
        self._loaded: tuple[Any, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the model and a fingerprint of its files."""
        from videorefer_plugin.models.fingerprint import fingerprint

        return {
            "model": self.model,
            "weights": fingerprint(self.model),
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }

    def close(self) -> None:
        """Release the model; the next messages load it again."""
        self._loaded = None

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages; see [`Chat`]."""
        return self.complete_many([messages])[0]

    def complete_many(self, conversations: Sequence[Sequence[Message]]) -> list[Completion]:
        """Reply to several lists of messages in batches. Replies are the same as to each list alone.

        Raises:
            ReplyError: a conversation is longer than the model can read.
            ChatError: the model cannot be loaded, or its chat template does not take the messages.
        """
        plain = [_texts_only(messages) for messages in conversations]
        if not plain:
            return []
        _, tokenizer = self._load()
        tokens = [self._tokens(tokenizer, messages) for messages in plain]
        rooms = [self._room(len(each)) for each in tokens]
        replies: dict[int, Completion] = {}
        # A batch has one limit of new tokens, which is the same for all but very long conversations.
        for room in dict.fromkeys(rooms):
            alike = [place for place, own in enumerate(rooms) if own == room]
            for start in range(0, len(alike), _TOGETHER):
                batch = alike[start : start + _TOGETHER]
                said = self._generate([tokens[place] for place in batch], room)
                replies.update(zip(batch, said, strict=True))
        for completion in replies.values():
            self.usage.add(completion)
        return [replies[place] for place in range(len(plain))]

    def _tokens(self, tokenizer: Any, messages: list[Message]) -> list[int]:
        from jinja2 import TemplateError

        try:
            return tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        except TemplateError as error:
            raise ChatError(f"The chat template of {self.model!r} does not take these messages: {error}") from error

    def _room(self, length: int) -> int:
        """Return the largest number of tokens of a reply to messages of `length` tokens."""
        most = getattr(self._load()[0].config.get_text_config(), "max_position_embeddings", None)
        if most is None:
            return self.max_tokens
        if length >= most:
            raise ReplyError(
                f"The messages have {length} tokens, and {self.model!r} reads at most {most}: shorten them, or choose "
                "a model that reads more",
                "too_long",
            )
        return min(self.max_tokens, most - length)

    def _generate(self, batch: list[list[int]], room: int) -> list[Completion]:
        import torch

        model, tokenizer = self._load()
        longest = max(map(len, batch))
        padding = [longest - len(tokens) for tokens in batch]
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        rows = [[pad] * gap + tokens for gap, tokens in zip(padding, batch, strict=True)]
        mask = [[0] * gap + [1] * (longest - gap) for gap in padding]
        output = model.generate(
            input_ids=torch.tensor(rows, device=device_of(model)),
            attention_mask=torch.tensor(mask, device=device_of(model)),
            max_new_tokens=room,
            do_sample=False,
            pad_token_id=pad,
        )
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        return [
            self._completion(tokenizer, len(tokens), written, ends)
            for tokens, written in zip(batch, output[:, longest:].tolist(), strict=True)
        ]

    def _completion(self, tokenizer: Any, read: int, written: list[int], ends: set[int]) -> Completion:
        end = next((place for place, token in enumerate(written, 1) if token in ends), None)
        text = tokenizer.decode(written[:end], skip_special_tokens=True).strip()
        return Completion(text, read, end or len(written), "length" if end is None else "stop")

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from videorefer_plugin.models.weights import load_pretrained

            where = "auto" if self.device is None and torch.cuda.is_available() else self.device
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.model, trust_remote_code=False)
                model, lacking = load_pretrained(
                    AutoModelForCausalLM, self.model, device_map=where, trust_remote_code=False
                )
            except CheckpointError as error:
                raise ChatError(f"{self.model!r} is not a chat model that can be loaded. {error}") from error
            except (OSError, ValueError, ImportError) as error:
                raise ChatError(f"There is no chat model that can be loaded at {self.model!r}: {error}") from error
            if lacking.missing:
                raise ChatError(
                    f"The weights of {self.model!r} are incomplete, so that the model would answer with random ones. "
                    f"{lacking} Fetch or save the checkpoint again."
                )
            if not tokenizer.chat_template:
                raise ChatError(f"The tokenizer of {self.model!r} has no chat template: choose a model for chat")
            self._loaded = model.eval(), tokenizer
        return self._loaded


def _texts_only(messages: Sequence[Message]) -> list[Message]:
    """Join the parts of each message to one text, as the templates of language models expect.

    Raises:
        PromptError: the messages cannot be sent.
        ChatError: the messages contain pictures.
    """
    check_messages(messages)
    plain = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            kinds = {part.get("type") for part in content} - {"text"}
            if kinds:
                raise ChatError(
                    f"A message has a part of the kind {short(sorted(map(str, kinds))[0])}, which a language model "
                    "does not see: expected texts only. Ask a model behind an endpoint that takes pictures."
                )
            content = "\n".join(part["text"] for part in content)
        plain.append({**message, "content": content})
    return plain
