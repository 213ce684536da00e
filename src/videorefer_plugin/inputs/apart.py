"""Protecting input files from being overwritten by output files."""

import os
from collections.abc import Sequence
from pathlib import Path

from videorefer_plugin._places import same_file
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.regions.text import region_files
from videorefer_plugin.video.images import IMAGE_SUFFIXES

__all__ = ["check_apart"]


def check_apart(
    option: str,
    path: str | os.PathLike,
    visual: str | os.PathLike,
    regions: Sequence[tuple[str, str]] = (),
    *,
    what: str = "video",
) -> None:
    """Make sure that writing a file does not overwrite an input.

    Args:
        option: the option with the path, such as "--save", for messages.
        path: of the file.
        visual: path of the video or image that is read.
        regions: kind and text of each region, as [`read_region`] takes them; some are files.
        what: the kind of the visual, for messages.

    Raises:
        ConfigurationError: the file is the visual or one of a region, or would become a frame of a folder of frames.
    """
    given = f"{option} {os.fspath(path)!r}"
    if same_file(path, visual):
        raise ConfigurationError(f"{given} is the {what} itself; choose another file.")
    if Path(path).suffix.lower() in IMAGE_SUFFIXES and os.path.isdir(visual) and same_file(Path(path).parent, visual):
        raise ConfigurationError(
            f"{given} would be a frame of the {what}, the folder {os.fspath(visual)!r}; choose another folder."
        )
    for kind, text in regions:
        if any(same_file(path, file) for file in region_files(kind, text)):
            raise ConfigurationError(f"{given} is a file that --{kind} {text!r} reads; choose another file.")
