"""Converts conversations to prompts: their text, and its supervised parts."""

import os
from dataclasses import dataclass
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from videorefer_plugin.errors import ConfigurationError, PromptError, RecordError
from videorefer_plugin.hosts import RegionProcessor
from videorefer_plugin.inputs.conversations import as_conversations

__all__ = ["TEMPLATES", "Prompt", "check_template", "make_prompt"]

TEMPLATES = ("chat", "plain")


@dataclass(frozen=True)
class Prompt:
    """The text of a record. All positions are indices of characters of `text`.

    Attributes:
        text (`str`): the text, with placeholders.
        learned (`list[tuple[int, int]]`): spans that are supervised.
        ends (`list[int]`): end of each turn, a question with its answer.
    """

    text: str
    learned: list[tuple[int, int]]
    ends: list[int]


def check_template(template: str, processor: Any) -> None:
    """Check that prompts can be made with a template.

    Raises:
        ConfigurationError: the template is unknown, or the processor's chat template is missing, does not mark
            answers, or is not for the first stage.
    """
    if template not in TEMPLATES:
        raise ConfigurationError(f"template is {template!r}; expected one of {', '.join(map(repr, TEMPLATES))}.")
    attached = isinstance(processor, RegionProcessor)
    if template == "plain" and attached:
        raise ConfigurationError(
            "The plain template is for the first stage, which hosts with an attached object encoder have already "
            "passed; use the template 'chat'."
        )
    if template == "chat" and not processor.chat_template:
        raise ConfigurationError(
            f"The {type(processor).__name__} has no chat template. Set processor.chat_template, or load the processor "
            "of an instruction-tuned checkpoint."
        )
    if template == "chat" and not attached and "generation" not in processor.chat_template:
        raise ConfigurationError(
            "The processor's chat template does not say which part of a text is the model's: it has no "
            "{% generation %} block. Put one around the assistant's messages, or use the template 'plain'."
        )


def make_prompt(template: str, processor: Any, sample: dict[str, Any]) -> Prompt:
    """Make the prompt of an item of a [`VideoReferDataset`].

    Args:
        template (`str`): `"chat"` or `"plain"`.
        processor: a [`VideoReferProcessor`], or a host's [`RegionProcessor`].
        sample (`dict`): the item. The content of a message may also be a list of content items, as in chats.

    Raises:
        RecordError: the record is not of the kind that the template takes, or its messages are malformed. The message
            has the reason only.
        ConfigurationError: the chat template changes earlier turns.
    """
    messages = _as_texts(sample["messages"], sample["kind"])
    if template == "plain":
        return _plain(messages)
    if isinstance(processor, RegionProcessor):
        return _as_host(processor, _as_items(messages, sample["kind"], sample["visual"]))
    return _marked(processor, messages)


def _as_texts(messages: Any, kind: str) -> list[dict[str, str]]:
    """Return messages with texts, with the visual's placeholder at the start of its message, as in records."""
    try:
        if all(isinstance(message["content"], str) and isinstance(message["role"], str) for message in messages):
            return messages
    except (TypeError, KeyError):  # which the check below reports
        pass
    try:
        conversations, several = as_conversations(messages, ("text", kind), with_sources=False)
    except PromptError as error:
        raise RecordError(str(error).rstrip(".")) from error
    if several:
        raise RecordError(
            f"its messages are {len(conversations)} conversation(s) in a list; expected one conversation"
        )
    texts = []
    for number, message in enumerate(conversations[0]):
        content = message.get("content")
        if isinstance(content, list):
            visuals = sum(item["type"] == kind != "text" for item in content)
            content = "".join(item["text"] for item in content if item["type"] == "text")
            content = f"<{kind}>\n" * visuals + content
        if not content or not content.strip():
            raise RecordError(f"message {number} says nothing; expected text")
        texts.append({"role": message["role"], "content": content})
    return texts


def _plain(messages: list[dict[str, str]]) -> Prompt:
    if [message["role"] for message in messages] != ["user", "assistant"]:
        raise RecordError(
            f"it has {len(messages)} messages, but the plain template takes one question and one answer; use the "
            "chat template"
        )
    text = " ".join(message["content"] for message in messages)
    return Prompt(text, [(0, len(text))], [len(text)])


def _marked(processor: Any, messages: list[dict[str, str]]) -> Prompt:
    """Make a prompt with a template that marks answers itself."""
    rendered, spans = render_jinja_template(
        conversations=[messages],
        chat_template=processor.chat_template,
        return_assistant_tokens_mask=True,
        **processor.tokenizer.special_tokens_map,
    )
    learned = [(first, last) for first, last in spans[0]]
    return Prompt(rendered[0], learned, [last for _, last in learned])


# --- hosts -----------------------------------------------------------------------------------------------------------


def _as_items(messages: list[dict[str, str]], kind: str, visual: str | os.PathLike | None) -> list[dict[str, Any]]:
    """Return messages with lists of items, in which hosts' templates find visuals."""
    items = []
    for message in messages:
        text = message["content"]
        content: list[dict[str, Any]] = []
        if visual is not None and text.startswith(f"<{kind}>"):
            content.append({"type": kind, kind: visual})
            text = text.removeprefix(f"<{kind}>").removeprefix("\n")
        if text:
            content.append({"type": "text", "text": text})
        items.append({"role": message["role"], "content": content})
    return items


def _as_host(processor: RegionProcessor, messages: list[dict[str, Any]]) -> Prompt:
    """Make a prompt with a host's template: the text that each answer adds is supervised, with the end of its turn.

    Few templates mark answers, and some of these leave out the end of the turn, without which a model does not learn
    to stop.
    """

    def render(number: int, **settings: Any) -> str:
        return processor.apply_chat_template(messages[:number], tokenize=False, **settings)

    text = render(len(messages))
    learned = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked, answered = render(number, add_generation_prompt=True), render(number + 1)
        first = len(asked)
        if not answered.startswith(asked):  # the header of an answer may differ from the generation prompt
            answer = message["content"][0]["text"].strip()
            first = answered.rfind(answer, len(render(number)))
        if first < 0 or not text.startswith(answered):
            raise ConfigurationError(
                f"The chat template of this {type(processor.processor).__name__} changes earlier turns when a "
                "conversation goes on, so that answers cannot be told from questions. Set another "
                "processor.chat_template."
            )
        learned.append((first, len(answered)))
    return Prompt(text, learned, [last for _, last in learned])
