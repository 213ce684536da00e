"""Shapes that are stored as pixels of a fixed size: masks and COCO run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short, size_words
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Absent, DrawnShape, Shape
from videorefer_plugin.regions.json_files import run_lengths_of
from videorefer_plugin.regions.mask_values import object_pixels
from videorefer_plugin.regions.reading import existing_file, is_image, is_tensor
from videorefer_plugin.regions.run_lengths import compressed_runs, read_runs, read_size
from videorefer_plugin.regions.shapes import Polygons
from videorefer_plugin.regions.silhouettes import Part, Silhouette, run_silhouette


class _Sized(DrawnShape):
    """Pixels of a fixed size. Two are equal when their pixels are, independently of how they are stored."""

    __slots__ = ()
    noun: ClassVar[str]
    size: tuple[int, int]

    def decode(self) -> NDArray[np.bool_]:
        """Return a copy of the pixels, bool (height, width)."""
        return self._pixels().mask()

    def to_json(self) -> dict[str, Any]:
        """Write {"segmentation": RLE}, compressed; equal pixels are always written alike."""
        return {"segmentation": encode_pixels(self.decode())}

    def _pixels(self) -> Silhouette:
        raise NotImplementedError

    def _draw(self, height: int, width: int) -> Silhouette:
        if self.size != (height, width):
            swapped = " (height and width look swapped)" if self.size == (width, height) else ""
            raise RegionError(
                f"{self.noun} of {size_words(*self.size)} does not fit the frame of {size_words(height, width)}"
                f"{swapped}: expected the size of the source frame; resize the mask to it (nearest neighbor), or "
                "check that it belongs to this video"
            )
        return self._pixels()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Sized)
            and self.size == other.size
            and bool(np.array_equal(self.decode(), other.decode()))
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({size_words(*self.size)})"


class Mask(_Sized):
    """A (height, width) mask: NumPy array, torch tensor or PIL image; every pixel > 0 belongs to the object.

    The values must leave no doubt about it: one value besides 0, such as True, 1 or 255 (in color, one color besides
    black), or floats with values below 0, which are logits. Negative integers mark pixels of no object, such as -1 in
    label maps. Probabilities, also with traces of resizing below 0, label maps with several objects, and masks with
    blurred edges, as in JPEG files, are refused without `threshold` or `label`, since "> 0" would silently include
    pixels that were not meant. The pixels are copied.

    Args:
        mask: array, tensor or image; (height, width, 3) and RGB are color, where a pixel counts if any channel is > 0.
        threshold: pixels above this value are the object, e.g. 0.5 for probabilities, or 127 for a JPEG file.
        label: pixels of this value are the object, e.g. 3 in a label map; for color, (r, g, b).

    Raises:
        RegionError: another number of dimensions, more pixels than a frame has or none, NaN, infinity outside logits,
            an alpha channel, values that are not numbers, or values whose meaning is ambiguous.
    """

    __slots__ = ("pixels", "size")
    name = noun = "mask"
    accepted = "a (height, width) mask (array, tensor, PIL image)"
    text_help = "FRAME:PICTURE in which the object is not black."
    text_is_path = True

    def __init__(self, mask: Any, threshold: float | None = None, label: Any = None) -> None:
        self.pixels = object_pixels(mask, threshold, label)
        self.pixels.flags.writeable = False
        self.size = (self.pixels.shape[0], self.pixels.shape[1])

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether the value is an array, a tensor or an image."""
        return isinstance(value, np.ndarray) or is_tensor(value) or is_image(value)

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Open a picture; its file is closed after the pixels are read."""
        from PIL import Image

        path = existing_file(text)
        try:
            return Image.open(path)
        except MemoryError:
            raise
        except Exception as error:  # image readers raise almost anything, also for pictures larger than they accept
            raise RegionError(f"{text} is not a picture that can be read: {error}") from error

    def _pixels(self) -> Silhouette:
        return Part(self.size, 0, 0, self.pixels)


class Rle(_Sized):
    """COCO run lengths: `size` [height, width], and `counts`, compressed (str or bytes) or a list of run lengths.

    Checked when it is made, stored as given, and decoded on demand. `area` is the number of the object's pixels.

    Raises:
        RegionError: malformed counts, or counts that do not add up to height * width.
    """

    __slots__ = ("area", "counts", "size")
    name = "rle"
    noun = "RLE"
    accepted = "a COCO RLE dict"
    text_help = "JSON file: a COCO RLE, or masks by frame; FILE.json#2 is object 2 of SAM 2's files."
    text_is_path = True
    json_key = "segmentation"

    def __init__(self, size: Sequence[int], counts: str | bytes | Sequence[int]) -> None:
        self.size = read_size(size)
        runs = read_runs(counts)
        height, width = self.size
        if int(runs.sum()) != height * width:
            raise RegionError(
                f"RLE counts add up to {int(runs.sum())} pixels, but size [{height}, {width}] (height, width) has "
                f"{height * width}: the counts are truncated or belong to another size"
            )
        self.area = int(runs[1::2].sum())
        self.counts: str | bytes | tuple[int, ...] = (
            bytes(counts)
            if isinstance(counts, (bytes, bytearray))
            else counts
            if isinstance(counts, str)
            else tuple(runs.tolist())
        )

    @classmethod
    def from_mapping(cls, rle: Mapping[str, Any]) -> Rle:
        """Read a COCO RLE dict {"size": [height, width], "counts": ...}; other keys are ignored."""
        if not isinstance(rle, Mapping):
            raise RegionError(f"an RLE is a dict {{'size': [height, width], 'counts': ...}}, got {short(rle)}")
        missing = [key for key in ("size", "counts") if key not in rle]
        if missing:
            hint = "; read annotations with Region.from_annotation" if "segmentation" in rle else ""
            raise RegionError(
                f"an RLE is a dict {{'size': [height, width], 'counts': ...}}, "
                f"{' and '.join(map(repr, missing))} missing from the keys {short(list(rle))}{hint}"
            )
        return cls(rle["size"], rle["counts"])

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether the value is a dict."""
        return isinstance(value, Mapping)

    @classmethod
    def from_value(cls, value: Any) -> Rle:
        """Read a COCO RLE dict."""
        return cls.from_mapping(value)

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Load a JSON file, which may also hold an annotation instead of one RLE."""
        return run_lengths_of(text)

    @classmethod
    def from_json(cls, value: Any, **details: Any) -> Shape:
        """Make the shape of a segmentation: an RLE, polygons, or `ABSENT` where the object is absent."""
        if value is None or (isinstance(value, (list, tuple)) and not value):
            return Absent.from_value(None)
        if isinstance(value, (list, tuple)):
            return Polygons(value)
        if not isinstance(value, Mapping):
            raise RegionError(f"a segmentation is a COCO RLE, a list of polygons, or null, got {short(value)}")
        strange = [key for key in value if key not in ("size", "counts")]
        if strange:
            raise RegionError(f"an RLE has the keys 'size' and 'counts', but here also {listed(map(repr, strange))}")
        return cls.from_mapping(value)

    def _pixels(self) -> Silhouette:
        counts = self.counts  # checked when this was made
        runs = np.array(counts, dtype=np.int64) if isinstance(counts, tuple) else compressed_runs(counts)
        return run_silhouette(runs, *self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the COCO dict with `counts` as a compressed str, as JSON needs it."""
        if isinstance(self.counts, tuple):
            return encode_pixels(self.decode())
        counts = self.counts.decode("ascii") if isinstance(self.counts, bytes) else self.counts
        return {"size": list(self.size), "counts": counts}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode a COCO RLE dict to a bool array of shape (height, width).

    Args:
        rle: {"size": [height, width], "counts": ...} with compressed counts (str or bytes) or a list of run lengths.

    Raises:
        RegionError: the RLE is malformed, or its counts do not add up to height * width.
    """
    return Rle.from_mapping(rle).decode()


def encode_rle(mask: Any, *, threshold: float | None = None, label: Any = None) -> dict[str, Any]:
    """Encode a (height, width) mask as {"size": [height, width], "counts": str}, compressed, ready for JSON.

    Args:
        mask: array, tensor or PIL image; every pixel > 0 counts.
        threshold, label: the pixels that count instead, for masks with several values; see `Mask`.

    Raises:
        RegionError: the mask is not one (see `Mask`).
    """
    return encode_pixels(Mask(mask, threshold, label).pixels)


def encode_pixels(pixels: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a bool array (height, width), which is not checked again, as `encode_rle` does."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
