"""The frames of a video that VideoLLaMA3 sees, and the times in its prompt."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.sampling import Sampling
from videorefer_plugin.video import Video
from videorefer_plugin.video.intervals import ASSUMED_RATE, sample_intervals

__all__ = ["IntervalSampling"]


@dataclass(frozen=True)
class IntervalSampling(Sampling):
    """As [`Sampling`], with the frames and the labels of [`sample_intervals`]."""

    def _choose(self, video: Video) -> list[int]:
        return self._sampled(video)[0]

    def _sampled(self, video: Video) -> tuple[list[int], list[float]]:
        if self.all_frames:
            return sample_intervals(video, None)
        usual, number, rate, limit = self.usual, self.num_frames, self.fps, self.max_frames
        if usual is not None:
            limit = usual.max_frames if limit is None else limit
            if number is None and rate is None:
                number, rate = usual.num_frames, usual.fps
        if number is not None:
            limit = number if limit is None else min(number, limit)
            rate = None
        return sample_intervals(video, rate, max_frames=limit, start=self.start, end=self.end)

    def labels(self, clip: Clip, number: int) -> list[float]:
        """The times that frames of a clip are labeled with, in seconds; the clip is the `number`-th video.

        Frames that were chosen by the caller are labeled with their own times.
        """
        if clip.rows is None:
            one = self._of(number)
            assert isinstance(one, IntervalSampling)
            try:
                frames, times = one._sampled(clip.video)
            except VideoError:  # these frames were chosen by other settings
                frames, times = [], []
            if frames == list(clip.sampled):
                return times
            own: Any = clip.video.timestamps
            if clip.video.is_rate_assumed:
                own = np.arange(clip.video.num_frames) / ASSUMED_RATE
            return [float(own[frame]) for frame in clip.sampled]
        rate = (clip.metadata or {}).get("fps") or ASSUMED_RATE
        return [frame / rate for frame in clip.sampled]
