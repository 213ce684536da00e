# The classes of this checkpoint live in a package: pip install videorefer-plugin
from videorefer_plugin import VideoLLaMA2Processor, VideoReferProcessor
