"""Places of shapes: frames of the source video, and seconds until the video says which frames they are."""

from collections.abc import Callable, Mapping

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.reading import frame_index
from videorefer_plugin.regions.shapes import Shape


def place_times(
    frames: Mapping[int, Shape], times: Mapping[float, Shape], frame_at: Callable[[float], int]
) -> dict[int, Shape]:
    """The shapes of all frames, those that were times behind the others, each in the order given.

    Args:
        frames, times: frame or seconds -> shape.
        frame_at: frame index of the source video that is shown at the given seconds.

    Raises:
        RegionError: two shapes fall on the same frame, or `frame_at` returns no frame index.
    """
    origin = {frame: f"frame {frame}" for frame in frames}
    frame_of: dict[float, int] = {}
    for time in sorted(times):
        frame = frame_index(frame_at(time), f"frame_at({time:g}) returned ")
        if frame in origin:
            raise RegionError(
                f"time {time:g} s and {origin[frame]} both fall on frame {frame}: "
                "keep one shape of the object for each frame"
            )
        frame_of[time] = frame
        origin[frame] = f"time {time:g} s"
    return {**frames, **{frame_of[time]: shape for time, shape in times.items()}}
