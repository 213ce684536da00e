"""The list of the frames of a video file."""

import dataclasses

import numpy as np

__all__ = ["FrameTable"]


def _no_times() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclasses.dataclass
class FrameTable:
    """The frames that a file holds, in the order shown.

    Attributes:
        size (`tuple[int, int]`): Height and width of the upright first frame in pixels.
        durations (`np.ndarray`): Duration of each frame, in ticks of the stream; 0 where the file has none.
        readable (`int`): How many frames from the first on can be identified; fewer than listed after damage.
        pts (`np.ndarray`, *optional*): Time stamp of each frame in ticks; `None` where the file has no usable ones.
        counted (`bool`): Whether frames are identified by counting instead of by time stamp. The attributes below are
            empty then.
        decode_order (`np.ndarray`): Position of each frame in decoding order.
        is_key (`np.ndarray`): Whether decoding can start at each frame.
        seek_times (`np.ndarray`): Time, in ticks, by which the container finds each frame.
        damaged (`frozenset[int]`): Positions, in decoding order, at which the structure of the file is broken. Frames
            that are missing there have a time stamp, but a position of -1.
    """

    size: tuple[int, int]
    durations: np.ndarray
    readable: int
    pts: np.ndarray | None
    counted: bool = False
    decode_order: np.ndarray = dataclasses.field(default_factory=_no_times)
    is_key: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, dtype=bool))
    seek_times: np.ndarray = dataclasses.field(default_factory=_no_times)
    damaged: frozenset[int] = frozenset()

    def by_pts(self) -> dict[int, int]:
        """Maps each time stamp to the index of its frame."""
        assert self.pts is not None
        return {int(self.pts[index]): int(index) for index in np.flatnonzero(self.decode_order >= 0)}

    def reach(self) -> np.ndarray:
        """The last frame shown among those decoded up to each frame: damage to it may be detected until there."""
        reach = np.empty_like(self.decode_order)
        in_decode_order = np.argsort(self.decode_order)
        reach[in_decode_order] = np.maximum.accumulate(in_decode_order)
        return reach

    def starts(self, wanted: list[int]) -> np.ndarray:
        """For each wanted frame (ascending), the keyframe at which decoding may start."""
        keys = np.concatenate([[0], np.flatnonzero(self.is_key)])
        return keys[np.searchsorted(keys, wanted, side="right") - 1]

    def undamaged(self, given: np.ndarray, is_key: np.ndarray, damaged: set[int]) -> np.ndarray:
        """Returns which of the readable frames do not depend on a damaged one.

        Decoders continue with the data that they have, so every frame that may depend on a damaged one, up to the next
        keyframe, is in doubt.

        Args:
            given (`np.ndarray`): Whether the decoder returned each frame.
            is_key (`np.ndarray`): Whether decoding did start at each frame.
            damaged (`set[int]`): Positions of damaged frames in decoding order.
        """
        shown_at = {int(place): index for index, place in enumerate(self.decode_order)}
        good = given.copy()
        for place in damaged:
            index = shown_at.get(place, self.readable)
            keys = np.flatnonzero(is_key[index + 1 :])
            end = index + 1 + int(keys[0]) if len(keys) else self.readable
            doubtful = self.decode_order >= place
            doubtful[end:] = False
            good[doubtful] = False
        return good
