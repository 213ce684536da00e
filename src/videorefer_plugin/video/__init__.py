"""Open, sample and decode videos and images: all media in this library is read here.

[`open_video`] turns any supported source into a [`Video`], which gives the time of every frame and reads exactly the
requested frames. [`sample_frame_indices`] chooses frames the way the original VideoRefer code does.
[`load_image`] reads one image.

Frames are `uint8` RGB arrays with the origin at the top left, upright (rotation metadata is applied).

Importing this package is light: the decoder of video files (`files`) is loaded when the first one is opened.
"""

from videorefer_plugin.video.base import Video
from videorefer_plugin.video.images import IMAGE_SUFFIXES, load_image
from videorefer_plugin.video.opening import FOLDER_FPS, open_video
from videorefer_plugin.video.sampling import sample_frame_indices

__all__ = ["FOLDER_FPS", "IMAGE_SUFFIXES", "Video", "load_image", "open_video", "sample_frame_indices"]
