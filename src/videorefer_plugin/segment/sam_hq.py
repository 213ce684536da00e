"""Makes masks of high quality from boxes, points and rough masks with SAM-HQ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate, pad
from transformers import SamHQModel, SamHQProcessor

from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.segment.events import FrameMask
from videorefer_plugin.segment.loading import load_part, load_part_processor, prepare
from videorefer_plugin.segment.prompts import Prompt

__all__ = ["SamHQ"]

_SURE = 10.0  # logit of a pixel of a rough mask


class SamHQ:
    """SAM-HQ, which encodes a frame once for all prompts.

    Args:
        checkpoint: folder or Hub id.
        device, dtype: as [`load_part`] takes them.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or is of another kind.
    """

    def __init__(self, checkpoint: Any, device: Any, dtype: Any):
        self.processor = load_part_processor(SamHQProcessor, checkpoint, "SAM-HQ")
        self.model = load_part(SamHQModel, checkpoint, "SAM-HQ", device, dtype)

    def cut(self, frame: NDArray[np.uint8], prompts: Iterable[Prompt]) -> Iterator[FrameMask]:
        """Yield one mask for each prompt."""
        inputs = prepare(self.processor, frame, "SAM-HQ")
        sizes, reshaped = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        with torch.inference_mode():
            embeddings, levels = self.model.get_image_embeddings(self._put(inputs["pixel_values"]))
        for prompt in prompts:
            if _points_at_nothing(prompt):
                yield FrameMask(np.zeros(frame.shape[:2], dtype=bool), 0.0)
                continue
            with torch.inference_mode():
                made = self.model(
                    image_embeddings=embeddings,
                    intermediate_embeddings=levels,
                    # A single click may mean a part or the whole, so the model scores each of its masks.
                    multimask_output=len(prompt.points) == 1 and prompt.box is None and prompt.mask is None,
                    **self._inputs(prompt, sizes[0].tolist(), reshaped[0].tolist()),
                )
                # The first mask is the best one.
                masks = self.processor.post_process_masks(made.pred_masks[:, :, :1].float().cpu(), sizes, reshaped)
            score = float(made.iou_scores[0, 0, 0])
            yield FrameMask(masks[0][0, 0].numpy().astype(bool), min(max(score, 0.0), 1.0))

    def _put(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values).to(self.model.device, self.model.dtype)

    def _places(self, values: Any) -> torch.Tensor:
        """Return coordinates of one prompt as float32, since half precision is not exact at 1024 pixels."""
        return torch.as_tensor(values, dtype=torch.float32, device=self.model.device)[None, None]

    def _inputs(self, prompt: Prompt, size: list[int], reshaped: list[int]) -> dict[str, torch.Tensor]:
        """Return the prompt in pixels of the model's input, whose longer side fills the input size."""
        scale = np.array([reshaped[1] / size[1], reshaped[0] / size[0]])
        box = prompt.box
        if box is None and not len(prompt.points) and prompt.mask is not None:  # a mask alone is a weak prompt
            box = box_around(prompt.mask)
        given = {}
        if len(prompt.points):
            given["input_points"] = self._places(prompt.points * scale)
            given["input_labels"] = torch.tensor(prompt.labels, device=self.model.device)[None, None]
        if box is not None:
            given["input_boxes"] = self._places(np.array(box) * np.tile(scale, 2))
        if prompt.mask is not None:
            given["input_masks"] = self._rough(prompt.mask, reshaped)
        return given

    def _rough(self, mask: NDArray[np.bool_], reshaped: list[int]) -> torch.Tensor:
        """Return the mask as logits of the model's input size, padded as the frame is."""
        config = self.model.config.prompt_encoder_config
        side = 4 * config.image_embedding_size
        height, width = (max(round(length * side / config.image_size), 1) for length in reshaped)
        drawn = interpolate(torch.tensor(mask, dtype=torch.float32)[None, None], (height, width), mode="area")
        drawn = pad(drawn, (0, side - width, 0, side - height))
        return self._put(drawn * 2 * _SURE - _SURE)


def _points_at_nothing(prompt: Prompt) -> bool:
    """Tell whether a prompt has no point, no box and no mask with a pixel."""
    empty = prompt.mask is None or not prompt.mask.any()
    return empty and prompt.box is None and not len(prompt.points)
