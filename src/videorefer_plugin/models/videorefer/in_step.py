"""Batches of different kinds in processes that share a model's weights, and must run the same modules."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videorefer_plugin.errors import ConfigurationError, PromptError
from videorefer_plugin.models.sharded import agree, is_sharded

__all__ = ["RunsInStep"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object


class RunsInStep(_Host):
    """The part of [`RegionMixin`] that keeps in step with other processes."""

    object_encoder: Any

    def run_in_step(
        self, input_ids: Tensor, regions: Any, inputs: dict[str, Any], known: dict[str, Any] | None
    ) -> Tensor | None:
        """Run tower and connector over blank frames if another process has visuals of a kind and this one has none.

        If every process holds the whole model, nothing is done, without any communication.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with placeholders.
            regions ([`RegionInputs`], *optional*): the regions.
            inputs (`dict`): the other keyword arguments; encoded visuals are added as `mm_encoder_outputs`.
            known (`dict`, *optional*): visuals that are already encoded.

        Returns:
            `torch.Tensor` of shape `()`: zero, whose gradients are zero for all that was run over blank frames; `None`
            if all processes have visuals of the same kinds.

        Raises:
            ConfigurationError: the object encoder looks at crops, whose number differs between processes.
            PromptError: processes have visuals of different kinds, and this host has no blank ones.
        """
        if torch.compiler.is_compiling() or not is_sharded(self):
            return None
        if self.object_encoder.config.kind == "crop":
            raise ConfigurationError(
                f"The weights of this {type(self).__name__} are shared out among processes (FSDP, DeepSpeed ZeRO 3), "
                "and its object encoder looks at crops, of which every process has another number; they would have to "
                "run the vision tower equally often. Start processes that have the whole model each (accelerate "
                "launch --multi_gpu), and train adapters if it does not fit (lora: in the recipe)."
            )
        names = self.visual_arguments()
        apart = regions is not None and regions.pixel_values is not None and bool((regions.frames < 0).any())
        flags = [*(inputs.get(name) is not None for name in names.values()), apart, bool(known)]
        some, every = agree(flags, input_ids.device)
        if some == every:
            return None
        blank: dict[str, dict[str, Tensor]] = {}
        for kind, has, needed, had in zip(names, flags, some, every, strict=False):
            if needed and not had:  # in every process, so that all of them raise the error if it cannot be made
                arguments = self.blank_visual(kind, input_ids.device)
                blank |= {} if has else {kind: arguments}
        self.check_visuals(input_ids, inputs, regions, known)
        # In the order of a batch with all kinds.
        for arguments in blank.values():
            inputs.update(arguments)
        encoded = self.encode_visuals(inputs, known)
        nothing = input_ids.new_zeros((), dtype=torch.float32)
        for kind, arguments in blank.items():
            nothing = nothing + _sum(encoded.pop(kind)).to(nothing.device)
            for name in arguments:
                inputs.pop(name, None)
        inputs["mm_encoder_outputs"] = encoded
        if some[len(names)] and not apart:
            nothing = nothing + self.blank_region_features(input_ids.device).float().sum().to(nothing.device)
        return nothing * 0

    def visual_arguments(self) -> dict[str, str]:
        """For each kind of visual the argument that holds its pixels, in the order in which they are encoded."""
        return {"image": "pixel_values", "video": "pixel_values_videos"}

    def blank_visual(self, kind: str, device: torch.device) -> dict[str, Tensor]:
        """Arguments of `forward` that show the smallest visual of a kind, black all over.

        Raises:
            PromptError: this host has none.
        """
        raise PromptError(
            f"The weights of this {type(self).__name__} are shared out among processes, of which some have a {kind} "
            f"in this batch and others have none; they have to run the same modules. Show each of them a {kind} in "
            "every batch, or let VideoReferTrainer train the model, which shows it black ones."
        )

    def blank_region_features(self, device: torch.device) -> Tensor:
        """The tower's features of a black frame that no visual shows."""
        raise NotImplementedError  # hosts are shown all frames with masks


def _sum(output: Any) -> Tensor:
    """Sum of all visual values that the decoder receives."""
    parts = [output.pooler_output, getattr(output, "deepstack_features", None)]
    total = []
    while parts:
        part = parts.pop()
        if isinstance(part, Tensor):
            total.append(part.float().sum())
        elif part is not None:
            parts.extend(part)
    return torch.stack(total).sum()
