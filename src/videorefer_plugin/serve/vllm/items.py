"""The items of vLLM's processing: opened visuals, and regions with their visual."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.parse import ModalityDataItems, MultiModalDataParser
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, open_video

__all__ = ["REGIONS_OF", "BoundRegion", "Clip", "DataParser", "RegionItems", "refused"]

REGIONS_OF = {"video": "video_region", "image": "image_region"}
"""The modality of regions, by that of their visual. In a step, vLLM encodes modalities in the order of their names,
so that the frames of a visual are encoded before its regions need them."""

_OPEN = 32  # number of visuals that are kept open between requests
_FRAMES = 256  # frames of a visual whose pixels are kept


class Clip:
    """An opened video or image, with the preprocessed pixels of its frames.

    Args:
        kind (`str`): `"video"` or `"image"`.
        video ([`Video`]): the visual; an image is a video of one frame.
    """

    def __init__(self, kind: str, video: Video):
        self.kind, self.video = kind, video
        self.digest = video.digest()
        self._pixels: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def pixels(self, frames: Sequence[int], way: str, preprocess: Any, dtype: torch.dtype) -> Tensor:
        """Return preprocessed frames, each of which is decoded once.

        Args:
            frames (`Sequence[int]`): indices of the frames.
            way (`str`): how the frames are preprocessed.
            preprocess (`Callable`): preprocesses uint8 frames, given the kind.
            dtype (`torch.dtype`): dtype of the vision tower, for sending values between processes.

        Returns:
            `torch.Tensor` of shape `(len(frames), 3, size, size)`.
        """
        missing = [frame for frame in dict.fromkeys(frames) if (way, frame) not in self._pixels]
        found = dict(self._pixels)
        if missing:
            made = preprocess(self.video.read(missing), self.kind)
            new = {(way, frame): row.to(dtype, copy=True) for frame, row in zip(missing, made, strict=True)}
            found |= new
            self._pixels.update(new)
            while len(self._pixels) > _FRAMES:
                self._pixels.popitem(last=False)
        return torch.stack([found[way, frame] for frame in frames])

    def keys(self, frames: Sequence[int], way: str) -> Tensor:
        """Return two 64-bit numbers for each frame, which are equal only for frames with the same features."""
        digests = [hashlib.blake2b(f"{self.digest} {frame} {way}".encode(), digest_size=16) for frame in frames]
        words = [
            [int.from_bytes(one.digest()[at : at + 8], "little", signed=True) for at in (0, 8)] for one in digests
        ]
        return torch.tensor(words, dtype=torch.int64).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class BoundRegion:
    """A region with its visual, so that its tokens can be computed even if vLLM has dropped features.

    Attributes:
        region ([`Region`]): the region.
        clip ([`Clip`]): its visual.
        settings (`dict`): settings of the processor for regions.
    """

    region: Region
    clip: Clip
    settings: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> str:
        """Return a text that is equal only for regions with the same tokens."""
        return json.dumps([self.clip.kind, self.clip.digest, self.region.to_json(), self.settings], sort_keys=True)


class _Items(ModalityDataItems[Any, Any]):
    def get_count(self) -> int:
        return len(self.data)

    def get(self, index: int) -> Any:
        return self.data[index]

    # Any data here would keep the request out of vLLM's cache of processed items.
    def get_processor_data(self) -> Mapping[str, object]:
        return {}

    def get_passthrough_data(self) -> Mapping[str, object]:
        return {}


class ClipItems(_Items):
    """The visuals of a request."""

    def get_item_for_hash(self, index: int) -> object:
        """Return the identity of a visual; frames that vLLM has decoded do not count."""
        return f"{self.data[index].kind} {self.data[index].digest}"


class RegionItems(_Items):
    """The regions of a request."""

    def get_item_for_hash(self, index: int) -> object:
        """Return the identity of a region."""
        return self.data[index].identity()


class DataParser(MultiModalDataParser):
    """Opens visuals from their bytes, so that this library samples and numbers their frames."""

    def _get_subparsers(self) -> Mapping[str, Any]:
        return {
            "video": lambda data: ClipItems(_clips("video", data), "video"),
            "image": lambda data: ClipItems(_clips("image", data), "image"),
            **{name: lambda data, name=name: RegionItems(data, name) for name in REGIONS_OF.values()},
        }


@VIDEO_LOADER_REGISTRY.register("videorefer")
class NoDecoding(VideoLoader):
    """Leaves the decoding of a request's video to [`Clip`], which reads the frames that are needed."""

    @classmethod
    def load_bytes(cls, data: bytes, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return one black pixel instead of the frames."""
        return np.zeros((1, 1, 1, 3), np.uint8), {}


def refused(error: VideoReferError) -> VLLMValidationError:
    """Convert an error of ours to one that vLLM answers with status 400 and its message."""
    return VLLMValidationError(str(error))


def _clips(kind: str, data: Any) -> list[Clip]:
    several = isinstance(data, list) and not (kind == "video" and data and hasattr(data[0], "convert"))
    return [_clip(kind, item) for item in (data if several else [data])]


_opened: "OrderedDict[str, Clip]" = OrderedDict()
_lock = threading.Lock()


def _clip(kind: str, item: Any) -> Clip:
    if isinstance(item, Clip):
        return item
    if isinstance(item, tuple) and item:
        item = item[0]  # frames, and vLLM's metadata about them
    source = item.original_bytes if isinstance(item, MediaWithBytes) else item
    if source is None:
        raise VLLMValidationError(f"The {kind} came without its data: a uuid alone does not do with regions.")
    try:
        if not isinstance(source, bytes):
            return Clip(kind, _open(kind, source))
        key = f"{kind} {hashlib.blake2b(source, digest_size=16).hexdigest()}"
        with _lock:
            known = _opened.get(key)
        clip = known or Clip(kind, _open(kind, source))
    except VideoReferError as error:
        raise refused(error) from error
    with _lock:
        _opened[key] = clip
        _opened.move_to_end(key)
        while len(_opened) > _OPEN:
            _opened.popitem(last=False)
    return clip


def _open(kind: str, source: Any) -> Video:
    return open_image(source) if kind == "image" else open_video(source)
