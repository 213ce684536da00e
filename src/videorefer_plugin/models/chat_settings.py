"""Separating the settings of `apply_chat_template` into those of the template and those of the processor."""

import inspect
from collections.abc import Collection
from typing import Any

from transformers.processing_utils import ProcessorMixin, TextKwargs
from transformers.utils.chat_template_utils import _get_template_variables

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.matching import SETTING_GROUPS, take_settings

__all__ = ["TEXT_SETTINGS", "TOKENIZE_SETTINGS", "take_chat_settings"]

TEXT_SETTINGS = frozenset(TextKwargs.__annotations__)
"""Settings of tokenizers, which every processor accepts in a call."""

TOKENIZE_SETTINGS = frozenset(
    {"tokenize", "return_dict", "return_tensors", "return_assistant_tokens_mask", "sanitize_control_tokens"}
)
"""Settings of `apply_chat_template` about the processing of the text."""

# The other settings of a template are found in its text.
_CHAT_SETTINGS = set(inspect.signature(ProcessorMixin.apply_chat_template).parameters) - {
    "self",
    "conversation",
    "kwargs",
}


def take_chat_settings(
    settings: dict[str, Any],
    processor_kwargs: dict[str, Any] | None,
    called: Collection[str],
    processor: Any,
    chat_template: str | None,
    owner: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate settings of a processor's call from those of its chat template, and refuse unknown ones.

    Args:
        settings (`dict`): keyword arguments of `apply_chat_template`.
        processor_kwargs (`dict`, *optional*): more settings of the call.
        called (`Collection[str]`): names that the call knows.
        processor (`ProcessorMixin`): has the chat template.
        chat_template (`str`, *optional*): a template, or the name of one of several; the processor's by default.
        owner (`str`): name of the processor, for messages.

    Returns:
        `tuple[dict, dict]`: settings of the call, and of the template.

    Raises:
        ConfigurationError: a name is unknown, and the nearest one is suggested; or a setting is given twice.
    """
    template = _CHAT_SETTINGS | _template_variables(processor, chat_template)
    take_settings(processor_kwargs or {}, (), called, owner)
    take_settings(settings, (), template.union(called), owner)
    of_call = dict(processor_kwargs or {})
    of_template: dict[str, Any] = {}
    for name, value in settings.items():
        own = name in SETTING_GROUPS or name not in template
        if own and name in of_call:
            raise ConfigurationError(f"{name} is given twice, on its own and in processor_kwargs. Leave one out.")
        (of_call if own else of_template)[name] = value
    return of_call, of_template


def _template_variables(processor: Any, chat_template: str | None) -> frozenset[str]:
    """Names that a processor's chat template looks at."""
    known = processor.chat_template
    if isinstance(known, dict):
        known = known.get(chat_template or "default", chat_template)
    elif chat_template is not None:
        known = chat_template
    return frozenset() if known is None else _get_template_variables(known)
