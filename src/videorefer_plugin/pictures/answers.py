"""Pictures of questions and answers: frames with the objects outlined, and the answers beside them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._kinds import PATH, check_kind, instances, lists
from videorefer_plugin._places import check_file_place, writing
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.pictures.sheets import INK, Piece, beside, dark, grid, tiles, write
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["Line", "check_picture", "picture_answers", "picture_lines", "save_picture"]

_FRAMES = 4  # shown at most
_LEAST, _MOST = 280, 840  # pixels of the longer side of a frame
_TEXT_WIDTH = 460
_RIGHT, _WRONG = (20, 130, 60), (190, 40, 40)


@dataclass(frozen=True)
class Line:
    """A question and its answer.

    Attributes:
        question (`str`): with `<region>` for each object.
        answer (`str`): of the model.
        objects (`tuple[int, ...]`): indices of the objects, in the order of the question.
        truth (`str`, *optional*): the right answer, if it is known.
            right (`bool`, *optional*): whether the answer is right.
    """

    question: str
    answer: str
    objects: tuple[int, ...]
    truth: str | None = None
    right: bool | None = None

    @property
    def numbered(self) -> str:
        """The question with the objects' numbers in the picture, from 1."""
        text = self.question
        for index in self.objects:
            text = text.replace(REGION_TOKEN, f"[{index + 1}]", 1)
        return text


def check_picture(path: str | os.PathLike) -> None:
    """Make sure that a picture can be written.

    Raises:
        ConfigurationError: the ending of the name is not that of a picture, or the file cannot be written.
    """
    check_kind(ConfigurationError, PATH, path=path)
    from PIL import Image

    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in Image.registered_extensions() or Image.registered_extensions()[ending] not in Image.SAVE:
        raise ConfigurationError(
            f"{os.fspath(path)!r} is not the name of a picture; use an ending such as .png or .jpg."
        )
    check_file_place(path, ConfigurationError)


def save_picture(picture: Any, path: str | os.PathLike) -> None:
    """Write a picture of Pillow as a whole file or not at all.

    Raises:
        ConfigurationError: see [`check_picture`], or the file cannot be written.
    """
    from PIL import Image

    check_picture(path)
    kind = Image.registered_extensions()[os.path.splitext(os.fspath(path))[1].lower()]
    with writing(path, ConfigurationError):
        write_whole(Path(path), lambda name: picture.save(name, format=kind))


def picture_answers(video: Video, regions: Sequence[Region], lines: Sequence[Line]) -> Any:
    """Draw frames of a video with objects outlined in colors and numbered, and the questions and answers.

    Args:
        video (`Video`): the video.
        regions (`Sequence[Region]`): the objects. The frames are some of those in which they are given, if any.
        lines (`Sequence[Line]`): the questions and answers.

    Returns:
        `PIL.Image.Image`: the picture.
    """
    check_kind(ConfigurationError, instances(Video, hint="Open it with open_video()."), video=video)
    check_kind(ConfigurationError, lists(instances(Region), "Regions"), regions=regions)
    check_kind(ConfigurationError, lists(instances(Line), "Lines"), lines=lines)
    regions = [region.at_frames(video.frame_at) for region in regions]
    given = sorted({frame for region in regions for frame in region.present}) or range(video.num_frames)
    chosen = [given[place] for place in sample_frame_indices(len(given), num_frames=min(_FRAMES, len(given)))]
    shown = tiles(video, regions, chosen, _LEAST, _MOST, "contour")
    return beside(grid(shown, columns=2), picture_lines(lines))


def picture_lines(lines: Sequence[Line], width: int = _TEXT_WIDTH) -> Any:
    """Write questions and answers, in the colors of the objects.

    Returns:
        `PIL.Image.Image`: the picture.
    """
    written: list[list[Piece]] = []
    for line in lines:
        written.append([(line.numbered, dark(line.objects[0] + 1) if line.objects else INK)])
        written.append([(line.answer or "(no answer)", {True: _RIGHT, False: _WRONG, None: INK}[line.right])])
        if line.right is False:
            written.append([(f"(truth: {line.truth})", INK)])
        written.append([])
    return write(written, width)
