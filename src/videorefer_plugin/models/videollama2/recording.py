"""Recording the attentions of a vision tower, if they are requested."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from videorefer_plugin.errors import ConfigurationError

__all__ = ["recorded_attentions"]


@contextlib.contextmanager
def recorded_attentions(tower: Any, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect the attention weights of every layer of a tower that runs in this thread, in order.

    Args:
        tower (`PreTrainedModel`): the vision tower.
        wanted (`bool`): whether to collect anything.

    Yields:
        `list[torch.Tensor]`: weights of shape `(num_frames, num_heads, num_patches, num_patches)`.

    Raises:
        ConfigurationError: they are wanted, but the tower's attention computes none.
    """
    if not wanted:
        yield []
        return
    implementation = tower.config._attn_implementation
    if implementation != "eager":
        raise ConfigurationError(
            f"The vision tower's attention is {implementation!r}, which returns no weights. Load the model with "
            "attn_implementation='eager', or call model.set_attn_implementation('eager') before output_attentions."
        )
    weights: list[Tensor] = []
    thread = threading.get_ident()

    def record(module: Any, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            weights.append(output[1])

    hooks = [layer.self_attn.register_forward_hook(record) for layer in tower.encoder.layers]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()
