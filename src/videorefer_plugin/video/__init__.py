"""Open, sample and decode videos and images: the one place of this library where media is read.

[`open_video`] turns any supported source into a [`Video`], which knows the time of every frame and reads exactly the
frames it is asked for. [`sample_frame_indices`] chooses frames the way the original VideoRefer code does.
[`load_image`] reads one image.

Frames are `uint8` RGB arrays with the origin at the top left, upright (rotation metadata is applied).

Importing this package is light: what decodes video files (`files`) is loaded when the first one is opened.
"""

from videorefer_plugin.video.base import Video
from videorefer_plugin.video.images import IMAGE_SUFFIXES, load_image
from videorefer_plugin.video.opening import FOLDER_FPS, open_video
from videorefer_plugin.video.sampling import sample_frame_indices

__all__ = ["FOLDER_FPS", "IMAGE_SUFFIXES", "Video", "load_image", "open_video", "sample_frame_indices"]
