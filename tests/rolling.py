"""A segmenter whose masks come from nothing but what was given and the number of the frame, for runs that are stopped.

`python -m tests.rolling ARGUMENTS` is the command line with it. What it loads and computes it writes into the file
ROLLING_LOG, a line each. ROLLING_WAITS is a frame that takes a minute, and ROLLING_STOP one in which the user presses
Ctrl-C; in ROLLING_FAIL, nothing is found where it was pointed.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import videorefer_plugin as vr
from videorefer_plugin.segment import Note, Tracked
from videorefer_plugin.segment.collecting import Collected

LOST_AFTER = 4  # frames, of an object that was given by a scribble


class Rolling(vr.Segmenter):
    """Moves what it was given one column a frame; away in every fifth frame. It can go on from what is known."""

    name = "rolling"

    def __init__(self, checkpoint: Any):
        self.checkpoint = checkpoint

    @property
    def settings(self) -> dict[str, Any]:
        return {"checkpoint": self.checkpoint}

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> "Rolling":
        _log("load")
        return cls(checkpoint)

    def _track(
        self, video: Any, prompts: Any, start: int, end: int, known: list[Collected]
    ) -> Iterator[Tracked | Note]:
        first = min(min(own) for own in prompts)
        masks: dict[int, np.ndarray] = {}
        for frame in [*range(first, end + 1), *range(first - 1, start - 1, -1)]:
            told = [n for n, own in enumerate(prompts) if (n in masks or frame in own) and not _is_lost(own, frame)]
            if any(frame not in known[number].shapes for number in told):
                if os.environ.get("ROLLING_WAITS") == str(frame):
                    time.sleep(60)
                if os.environ.get("ROLLING_STOP") == str(frame):
                    raise KeyboardInterrupt
                if os.environ.get("ROLLING_FAIL") == str(frame):
                    raise vr.SegmentError(f"It is not there in frame {frame}.")
                _log(str(frame))
            for number, own in enumerate(prompts):
                if frame in own and own[frame].tells_where:
                    masks[number] = _drawn(own[frame], video)
                elif number in masks:
                    masks[number] = np.roll(masks[number], 1, axis=1)
                    masks[number][:, 0] |= frame % 3 == 0  # so that a frame depends on those before it
                if _is_lost(own, frame) and frame == min(own) + LOST_AFTER:
                    yield Note("lost", f"It was lost at frame {frame}: it ran out.", frame, number, reverse=False)
                if number in told and frame not in known[number].shapes:
                    away = frame % 5 == 4 and frame not in own
                    yield Tracked(number, frame, None if away else masks[number], 1 / (1 + frame) if not away else 0.0)
            if frame == first + 2:
                yield Note("cut", f"A new shot begins at frame {frame}.", frame)

    def _find_in_video(self, video: Any, phrase: str, frame: Any, max_objects: Any, progress: Any) -> list[Any]:
        if phrase == "nothing":
            raise vr.SegmentError(f"rolling found nothing for {phrase!r}.")
        boxes = [vr.Region.from_box((4 * at, 4, 4 * at + 8, 20), frame=frame or 0) for at in range(3)]
        masklets = self.propagate(video, boxes[:max_objects], progress=progress)
        return [vr.Masklet(**{**vars(one), "phrase": phrase}) for one in masklets]


def _is_lost(own: Any, frame: int) -> bool:
    return len(own[min(own)].points) == 5 and frame >= min(own) + LOST_AFTER


def _drawn(prompt: vr.Prompt, video: Any) -> np.ndarray:
    mask = np.zeros((video.height, video.width), bool)
    if prompt.mask is not None:
        return prompt.mask.copy()
    if prompt.box is not None:
        x0, y0, x1, y1 = (round(value) for value in prompt.box)
        mask[y0:y1, x0:x1] = True
    for (x, y), label in zip(prompt.points.astype(int), prompt.labels, strict=True):
        mask[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = label
    return mask


def _log(line: str) -> None:
    if "ROLLING_LOG" in os.environ:
        with open(os.environ["ROLLING_LOG"], "a") as file:
            file.write(f"{line}\n")


def register() -> None:
    """Make it known, with abilities that cover all, and one that lacks a package."""
    vr.register_segmenter("rolling", "tests.rolling:Rolling", ["propagate", "find"], checkpoint="me/rolling")
    vr.register_segmenter("needy", "tests.rolling:Rolling", ["propagate"], packages=["no_such_package"])
    vr.register_segmenter("finder", "tests.rolling:Rolling", ["find"])


if __name__ == "__main__":
    from videorefer_plugin.cli import app

    register()
    app()
