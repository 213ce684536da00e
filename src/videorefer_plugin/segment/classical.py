"""Following objects without weights: GrabCut and optical flow of OpenCV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.collecting import Collected
from videorefer_plugin.segment.events import FrameMask, Note, Tracked
from videorefer_plugin.segment.frames import walk
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.video import Video

__all__ = ["Classical"]


class Classical(Segmenter):
    """See [`Segmenter`]: cuts an object out of a frame by its color, and follows it by optical flow."""

    name = "classical"

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Classical:
        """See [`Segmenter.load`]; it runs on the CPU, and has no settings."""
        return cls()

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        return [FrameMask(_cut_out(frame, prompt), 1.0) for prompt in prompts]

    def _track(
        self, video: Video, prompts: list[Mapping[int, Prompt]], start: int, end: int, known: list[Collected]
    ) -> Iterator[Tracked | Note]:
        import cv2

        first = min(min(own) for own in prompts)
        for last in (end, start):
            flow, before, masks = cv2.DISOpticalFlow.create(), np.empty(0), {}
            for index, pixels, _ in walk(video, first, last):
                gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
                for number, own in enumerate(prompts):
                    if index in own and own[index].tells_where:
                        masks[number] = _cut_out(pixels, own[index])
                    elif number in masks:
                        back = flow.calc(gray, before, np.empty(0, np.float32))
                        rows, columns = np.indices(gray.shape, dtype=np.float32)
                        masks[number] = (
                            cv2.remap(
                                masks[number].astype(np.uint8),
                                columns + back[..., 0],
                                rows + back[..., 1],
                                cv2.INTER_NEAREST,
                            )
                            > 0
                        )
                    else:
                        continue
                    if index != first or last == end:
                        yield Tracked(number, index, masks[number], 1.0)
                before = gray
            if first == start:
                break


def _cut_out(frame: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.bool_]:
    import cv2

    if prompt.mask is not None:
        return prompt.mask
    mask = np.zeros(frame.shape[:2], dtype=bool)
    if prompt.box is not None:
        x0, y0, x1, y1 = (round(value) for value in prompt.box)
        mask[y0:y1, x0:x1] = True
        return mask
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        if label:
            near = np.zeros((frame.shape[0] + 2, frame.shape[1] + 2), np.uint8)
            flags = 4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
            cv2.floodFill(frame.copy(), near, (int(x), int(y)), 0, (30,) * 3, (30,) * 3, flags)
            mask |= near[1:-1, 1:-1] > 0
    return mask
