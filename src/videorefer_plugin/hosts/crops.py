"""Regions of a host whose object encoder looks at crops."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.models.videorefer.crop_inputs import pack_crops
from videorefer_plugin.models.videorefer_videollama3.cropping import cut_crops
from videorefer_plugin.models.videorefer_videollama3.patches import Patches

__all__ = ["crop_tensors"]


def crop_tensors(processor: Any, used: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The tensors of [`CropInputs`] for a batch with regions.

    Raises:
        VideoError: a frame cannot be read; the message names the sample.
    """
    patches = Patches(processor.image_processor)
    return pack_crops(cut_crops(used, patches), 3 * patches.side**2)
