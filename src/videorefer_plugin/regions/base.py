"""The interface of all shapes, and the shape of an absent object."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.silhouettes import Part, Silhouette, pack


class Shape:
    """The shape of one object in one frame. Instances are immutable.

    A kind of shape is a subclass that sets its `name` and is listed in `kinds.SHAPES`. The rest is optional: it may
        accept
    plain values (`accepts`, described by `accepted`), be written on a command line (`read_text`, with `text_help` for
    the option), and be written in JSON (`to_json`; `from_json` reads the value of `json_key`).
    """

    __slots__ = ()
    name: ClassVar[str]  # also the name of the command-line option
    accepted: ClassVar[str] = ""  # the plain values that it accepts, for messages; empty: only instances
    text_help: ClassVar[str] = ""  # for `--help`; empty: it cannot be written on a command line
    text_is_path: ClassVar[bool] = False  # the text is a path; options with numbers are listed before these
    json_key: ClassVar[str] = ""  # empty: it has no JSON form
    json_details: ClassVar[tuple[str, ...]] = ()  # further keys that it accepts
    only_excludes: bool = False  # whether it only marks points that are not on the object

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rasterize" in vars(cls) and "silhouette" not in vars(cls):  # a class that draws in its own way
            cls.silhouette = Shape.silhouette  # type: ignore[method-assign]

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether this kind accepts a plain Python value; at most one kind may accept it."""
        return False

    @classmethod
    def from_value(cls, value: Any) -> Shape:
        """Make the shape from a value that it accepts, or that `read_text` returned.

        Raises:
            RegionError: the value is malformed.
        """
        return cls(value)  # type: ignore[call-arg]

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Return the value, for `from_value`, of a text on a command line.

        Raises:
            RegionError: the text cannot be read, or a file is missing.
        """
        raise NotImplementedError

    @classmethod
    def from_json(cls, value: Any, **details: Any) -> Shape:
        """Make the shape from the value of its key in the JSON form, and from the further keys.

        Raises:
            RegionError: the value is malformed.
        """
        return cls(value, **details)  # type: ignore[call-arg]

    def to_json(self) -> dict[str, Any]:
        """Write the shape in the JSON form; equal shapes of one kind are always written alike.

        Raises:
            RegionError: the shape has no JSON form.
        """
        raise RegionError(f"{self!r} has no JSON form")

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the shape on a frame of `height` x `width` pixels; returns a new bool array of shape (height, width).

        Raises:
            RegionError: the shape does not fit on a frame of this size.
        """
        raise NotImplementedError

    def silhouette(self, height: int, width: int) -> Silhouette:
        """Return the pixels that `rasterize` draws, stored compactly and read in parts, if possible without drawing
        all.

        Raises:
            RegionError: the shape does not fit on a frame of this size.
        """
        return pack(self.rasterize(height, width))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and bool(self._values() == other._values())

    def _values(self) -> Any:
        """The values that two equal shapes of one kind share."""
        raise NotImplementedError


class DrawnShape(Shape):
    """A shape that is drawn as a silhouette."""

    __slots__ = ()

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the shape on a frame of `height` x `width` pixels, as a new bool array of shape (height, width)."""
        return self._draw(height, width).mask()

    def silhouette(self, height: int, width: int) -> Silhouette:
        """Return the pixels that `rasterize` draws, stored compactly and read in parts."""
        return self._draw(height, width)

    def _draw(self, height: int, width: int) -> Silhouette:
        raise NotImplementedError


class Absent(DrawnShape):
    """The object is known to be invisible in the frame. It is drawn as zeros."""

    __slots__ = ()
    name = "absent"
    accepted = "None where the object is absent"

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether the value is None."""
        return value is None

    @classmethod
    def from_value(cls, value: Any) -> Absent:
        """Return `ABSENT`."""
        return ABSENT

    def to_json(self) -> dict[str, Any]:
        """Write a segmentation of None."""
        return {"segmentation": None}

    def _draw(self, height: int, width: int) -> Silhouette:
        return Part((height, width), 0, 0, np.zeros((0, 0), dtype=bool))

    def __repr__(self) -> str:
        return "ABSENT"

    def _values(self) -> Any:
        return ()


ABSENT = Absent()
