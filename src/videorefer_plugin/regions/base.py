"""What every kind of shape can do, and the shape of an object that is not there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.silhouettes import Part, Silhouette, pack


class Shape:
    """The shape of one object in one frame. Instances are not changed after they are made.

    A kind of shape is a subclass which gives itself a `name` and stands in `kinds.SHAPES`. All else is up to it:
    plain values may stand for it (`accepts`, in words `accepted`), it may be written on a command line (`read_text`,
    with `text_help` there), and in JSON (`to_json`; `from_json` reads what stands under `json_key`).
    """

    __slots__ = ()
    name: ClassVar[str]  # also of the option on a command line
    accepted: ClassVar[str] = ""  # what stands for it, for messages; empty: only instances do
    text_help: ClassVar[str] = ""  # for `--help`; empty: it is not written on a command line
    text_is_path: ClassVar[bool] = False  # of a file; options with numbers are listed before these
    json_key: ClassVar[str] = ""  # empty: it has none of its own
    json_details: ClassVar[tuple[str, ...]] = ()  # keys that may stand beside it
    only_excludes: bool = False  # whether it says where the object is not, and nothing else

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rasterise" in vars(cls) and "silhouette" not in vars(cls):  # what it draws in its own way is what counts
            cls.silhouette = Shape.silhouette  # type: ignore[method-assign]

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether a plain Python value stands for this kind of shape; at most one kind may say so."""
        return False

    @classmethod
    def from_value(cls, value: Any) -> Shape:
        """Make the shape of a value that it accepts, or that `read_text` returned.

        Raises:
            RegionError: the value is malformed.
        """
        return cls(value)  # type: ignore[call-arg]

    @classmethod
    def read_text(cls, text: str) -> Any:
        """The value, for `from_value`, which a text on a command line stands for.

        Raises:
            RegionError: the text cannot be read, or a file is missing.
        """
        raise NotImplementedError

    @classmethod
    def from_json(cls, value: Any, **details: Any) -> Shape:
        """Make the shape of what stands under its key in the JSON form, and of what stands beside it.

        Raises:
            RegionError: the value is malformed.
        """
        return cls(value, **details)  # type: ignore[call-arg]

    def to_json(self) -> dict[str, Any]:
        """Write the shape as the JSON form has it, always the same for equal shapes of one kind.

        Raises:
            RegionError: the JSON form has no such shape.
        """
        raise RegionError(f"{self!r} has no JSON form")

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the shape on a frame of `height` x `width` pixels; a new bool array of shape (height, width).

        Raises:
            RegionError: the shape does not fit on a frame of this size.
        """
        raise NotImplementedError

    def silhouette(self, height: int, width: int) -> Silhouette:
        """The pixels that `rasterise` draws, kept small and read in parts; without drawing them all, where it can.

        Raises:
            RegionError: the shape does not fit on a frame of this size.
        """
        return pack(self.rasterise(height, width))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and bool(self._values() == other._values())

    def _values(self) -> Any:
        """What two equal shapes of one kind share."""
        raise NotImplementedError


class DrawnShape(Shape):
    """A shape that is drawn as a silhouette."""

    __slots__ = ()

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the shape on a frame of `height` x `width` pixels; a new bool array of shape (height, width)."""
        return self._draw(height, width).mask()

    def silhouette(self, height: int, width: int) -> Silhouette:
        """The pixels that `rasterise` draws, kept small and read in parts."""
        return self._draw(height, width)

    def _draw(self, height: int, width: int) -> Silhouette:
        raise NotImplementedError


class Absent(DrawnShape):
    """The object is known not to be visible in the frame. Rasterises to zeros."""

    __slots__ = ()
    name = "absent"
    accepted = "None where the object is absent"

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether it is None."""
        return value is None

    @classmethod
    def from_value(cls, value: Any) -> Absent:
        """Return `ABSENT`."""
        return ABSENT

    def to_json(self) -> dict[str, Any]:
        """Write that there is no mask."""
        return {"segmentation": None}

    def _draw(self, height: int, width: int) -> Silhouette:
        return Part((height, width), 0, 0, np.zeros((0, 0), dtype=bool))

    def __repr__(self) -> str:
        return "ABSENT"

    def _values(self) -> Any:
        return ()


ABSENT = Absent()
