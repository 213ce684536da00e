"""Follows the objects of questions through the video before the questions are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from videorefer_plugin.asking import Question
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.masks import evenly
from videorefer_plugin.regions import Region
from videorefer_plugin.segment.collecting import Progress
from videorefer_plugin.segment.prompts import read_prompts
from videorefer_plugin.segment.registry import entry_of, load_segmenter, refuse
from videorefer_plugin.segment.summaries import doubts_of, losses_of

__all__ = ["track_questions"]

_FRAMES = 16  # frames of an object for a model, as many as the paper's clips have


def track_questions(
    questions: Sequence[Question],
    segmenter: str | None = "classical",
    checkpoint: str | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[list[Question], list[str]]:
    """Follow the objects of questions through their video, all objects at once.

    Args:
        questions: questions about one video.
        segmenter: name of the segmenter; `None` raises an error, since `checkpoint` needs a name.
        checkpoint: folder or Hub id of its weights; a published one by default.
        progress: called after each frame with the numbers of frames done and of all frames.

    Returns:
        The questions about the masklets, each with at most 16 frames, evenly spread over those in which the object is
        visible; and a sentence for each loss, and for each object with low scores.

    Raises:
        ConfigurationError: there is no such segmenter, nothing to follow, or no video; or the segmenter cannot be
            loaded.
        SegmentError: the segmenter cannot follow objects, or finds nothing to follow.
        RegionError, VideoError: a region does not show where its object is.
        CheckpointError: the checkpoint cannot be loaded.
    """
    objects = _objects(questions)
    loaded: Any = load_segmenter(_check(questions[0], list(objects.values()), segmenter), checkpoint)
    masklets = loaded.propagate(questions[0].video, list(objects.values()), progress=progress)
    followed = {place: _shown(masklet.region) for place, masklet in zip(objects, masklets, strict=True)}
    asked = [replace(one, regions=[followed[place] for place in one.objects]) for one in questions]
    return asked, [*losses_of(masklets), *doubts_of(masklets)]


def _objects(questions: Sequence[Question]) -> dict[int, Region]:
    """Return the objects of all questions by their position on the command line, each once."""
    pairs = (pair for one in questions for pair in zip(one.objects, one.regions, strict=True))
    return dict(sorted(dict(pairs).items()))


def _shown(region: Region) -> Region:
    return region.select(evenly(region.present, _FRAMES))


def _check(first: Question, regions: Sequence[Region], segmenter: str | None) -> str:
    """Check that the segmenter can follow these objects, without loading it, and return its name."""
    if segmenter is None:
        raise ConfigurationError("--track-checkpoint is given without --track; name the segmenter of these weights.")
    if first.image:
        raise ConfigurationError("An image has nothing to follow an object through; leave out --track or --image.")
    if "propagate" not in entry_of(segmenter).abilities:
        raise refuse(segmenter, "propagate")
    if not regions:
        raise ConfigurationError("There is no region to follow; leave out --track, or point at an object.")
    for region in regions:
        read_prompts(region, first.video)
    return segmenter
