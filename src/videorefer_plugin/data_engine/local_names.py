"""Removal of this machine's paths from records, which are private and do not help anyone else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import PublishError

__all__ = ["LocalNames"]

_PATH = re.compile(r"(?:file://|(?<![\w/.:~-]))~?(?:/[^\s/'\"]+)+/([^\s/'\"]+)")  # not within an address


class LocalNames:
    """Makes names of videos relative to a folder of videos, and removes paths from all other texts.

    Args:
        folder (`Path`): folder of the records, which relative names refer to.
        names (`Iterable[str]`): names of all videos and images.
        media_root (`Path`, *optional*): folder of videos. Default: the deepest folder that holds all of them.

    Raises:
        PublishError: a video is outside the folder of videos, or no folder is given, and only the root of the disk or
            a folder with the home folder in it holds all videos.
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
        """Return the name of a video relative to the folder of videos, with slashes on every system."""
        return Path(os.path.relpath(self._whole(name), self.root)).as_posix()

    def clean(self, value: Any, *, paths: bool = False) -> Any:
        """Return a value of JSON without the folders of this machine.

        Args:
            value: the value; tuples become lists.
            paths (`bool`): also shorten other paths to their last part. Do not use it for training texts, in which
                other things may look like paths.
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
            f"The videos lie in {one} and in {other}, which no folder holds together; give records of one drive."
        ) from error
