"""Records without paths of this machine, which are nobody else's business and of no use to anybody."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import PublishError

__all__ = ["LocalNames"]

_PATH = re.compile(r"(?:file://|(?<![\w/.:~-]))~?(?:/[^\s/'\"]+)+/([^\s/'\"]+)")  # none within an address


class LocalNames:
    """Turns names of videos into such that start from a folder of videos, and takes paths out of all else.

    Args:
        folder (`Path`): of the records, from which relative names start.
        names (`Iterable[str]`): of all videos and images.
        media_root (`Path`, *optional*): the folder of videos; the deepest one that holds all of them by default.

    Raises:
        PublishError: a video does not lie in the folder of videos, or none is given, and only the root of the disk or
            what holds the home folder has all of them.
    """

    def __init__(self, folder: Path, names: Iterable[str], media_root: Path | None = None):
        self.folder = os.path.abspath(folder)
        given = None if media_root is None else os.path.abspath(media_root)
        root, outside, count = given, "", 0
        for name in names:
            parent = os.path.dirname(self._whole(name))
            if given is None:
                root = parent if root is None else _common(root, parent)
            elif not Path(self._whole(name)).is_relative_to(given):
                outside, count = outside or name, count + 1
        if count:
            raise PublishError(
                f"{count} record(s) are about videos outside of {given}, such as {outside!r}. Names of videos are "
                "published as paths that start from one folder; give one that holds all of them (--media-root)."
            )
        home = Path(os.path.expanduser("~"))
        if given is None and root and (root == os.path.dirname(root) or home.is_relative_to(root)):
            raise PublishError(
                f"The deepest folder that holds all videos is {root}, so that names of videos would tell how this "
                "machine is laid out. Give the folder that they start from (--media-root), or move them together."
            )
        self.root = root or self.folder
        places = {self.root, self.folder, os.getcwd(), os.path.expanduser("~")} - {os.sep, ""}
        longest = sorted((re.escape(place.rstrip(os.sep)) for place in places), key=len, reverse=True)
        self._places = re.compile(rf"(?<![\w/\\.-])(?:{'|'.join(longest)})(?:{re.escape(os.sep)}|(?![\w.-]))")

    def name(self, name: str) -> str:
        """The name of a video, starting from the folder of videos; with slashes on every system."""
        return Path(os.path.relpath(self._whole(name), self.root)).as_posix()

    def clean(self, value: Any, *, paths: bool = False) -> Any:
        """A value of JSON without the folders of this machine, wherever in it they stand.

        Args:
            value: the value; tuples become lists.
            paths (`bool`): shorten also other paths to their last part. Not for what a model is to learn, in which
                something else may look like one.
        """
        if isinstance(value, dict):
            return {self.clean(key, paths=paths): self.clean(item, paths=paths) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(item, paths=paths) for item in value]
        if not isinstance(value, str):
            return value
        return self._places.sub("", _PATH.sub(lambda found: found.group(1), value) if paths else value)

    def _whole(self, name: str) -> str:
        return os.path.normpath(os.path.join(self.folder, name))


def _common(one: str, other: str) -> str:
    try:
        return os.path.commonpath([one, other])
    except ValueError as error:  # on two drives
        raise PublishError(
            f"The videos lie in {one} and in {other}, which no folder holds together; give records of one place."
        ) from error
