"""Image models on videos: they answer about single frames, and a language model merges the answers (4.2.1)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from videorefer_plugin.bench.answerers import FRAMES
from videorefer_plugin.bench.boxes import box_text, frame_words, known_format, words_of
from videorefer_plugin.bench.marks import MarkedClip, colors_of, known_style, mark_frame
from videorefer_plugin.bench.prompts import SUMMARY_PROMPT, boxed_prompt, one_frame_prompt, summary_prompt
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.runner import OF_ONE, ItemError, failure_of
from videorefer_plugin.bench.seeing import Seer
from videorefer_plugin.bench.store import text_hash
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.inputs.clips import Clip, Sampling, open_clip, show_frames
from videorefer_plugin.inputs.masks import evenly, region_frames
from videorefer_plugin.inputs.matching import Source
from videorefer_plugin.regions import Region

__all__ = ["FramesThenSummary"]


class FramesThenSummary:
    """An image model that sees annotated frames one by one, and a chat model that merges its answers.

    In multi-frame mode, the frames are annotated ones, spread evenly, and each object is on at least one of them. In
    single-frame mode, and for pictures, there is one frame, and the answer about it is the answer. For an item without
    objects, frames of the whole video are shown.

    Args:
        seer (`Seer`): the image model, a [`FrameModel`] or a [`FrameEndpoint`].
        summary ([`Chat`], *optional*): model that merges the answers. Default: the image model.
        style (`str`, *optional*): style of the marks on the frames: `"contour"` (the default), `"mask"` or `"box"`.
        box_format (`str`, *optional*): give boxes as text instead of marks; see [`BoxText`].
        num_frames (`int`, *optional*): most frames to show; 16 by default. There are more only if objects that are
            never seen together need them.
    """

    def __init__(
        self,
        seer: Seer,
        summary: Chat | None = None,
        *,
        style: str | None = None,
        box_format: str | None = None,
        num_frames: int | None = None,
    ):
        self.seer, self.summary = seer, summary
        self.style = None if box_format else known_style(style or "contour")
        self.box_format = known_format(box_format) if box_format else None
        self.num_frames = num_frames or FRAMES
        self.workers = seer.workers if summary is None else min(seer.workers, summary.workers)

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        how = f"marks: {self.style}" if self.style else f"boxes as text: {self.box_format}"
        return {
            "sees": f"frames, then a summary ({how})",
            **self.seer.settings(self.num_frames),
            "summary": "the model itself" if self.summary is None else self.summary.settings(),
            "summary_prompt_hash": text_hash(SUMMARY_PROMPT),
        }

    def answer(self, items: Sequence[Item], mode: str) -> list[str | ItemError]:
        """Answer items; see [`Answerer`]. The number of frames in a batch is that of the items."""
        return [self._answer_apart(item, mode, len(items)) for item in items]

    def _answer_apart(self, item: Item, mode: str, at_once: int) -> str | ItemError:
        try:
            return self._answer(item, mode, at_once)
        except OF_ONE as error:
            return failure_of(item, error)  # the paid answers to others are kept

    def _answer(self, item: Item, mode: str, at_once: int) -> str:
        clip, objects = _frames_of(item, mode, self.num_frames)
        told = [frame_words(clip, place, frame) for place, frame in enumerate(clip.sampled)]
        shown = list(self._shown(item, clip, objects, told))
        said: list[str] = []
        for start in range(0, len(shown), at_once):
            said += self._look(item, shown[start : start + at_once], told[start : start + at_once])
        return said[0] if len(said) == 1 else self._merge(item, len(objects), list(zip(told, said, strict=True)))

    def _shown(self, item: Item, clip: Clip, objects: Sequence[Region], told: Sequence[str]) -> Iterator[MarkedClip]:
        for frame, words in zip(clip.sampled, told, strict=True):
            picture = clip.read([frame])[0]
            if self.box_format is None:
                picture, masks = mark_frame(picture, frame, objects, str(self.style))
                seen = [masks[number].any() if number in masks else False for number in range(1, len(objects) + 1)]
                colors = [name if on else None for name, on in zip(colors_of(len(objects)), seen, strict=True)]
                prompt = one_frame_prompt(item.prompt, colors, str(self.style))
            else:
                boxes = [box_text(region, frame, clip.size, self.box_format) for region in objects]
                listed = [[] if box is None else [("", box)] for box in boxes]
                prompt = boxed_prompt(item.prompt, listed, words_of(self.box_format, clip.size))
            if words:
                prompt = f"This picture is {words}, taken from a video.\n{prompt}"
            yield MarkedClip(picture[None].copy(), {}, prompt, "image")

    def _look(self, item: Item, shown: Sequence[MarkedClip], told: Sequence[str]) -> Iterator[str]:
        for words, said in zip(told, self.seer.look(shown), strict=True):
            if isinstance(said, ReplyError):
                raise ItemError(f"item {item.id!r}: {words or 'the picture'}: {said}") from said
            yield said

    def _merge(self, item: Item, objects: int, answers: Sequence[tuple[str, str]]) -> str:
        prompt = summary_prompt(item.prompt, objects, answers)
        try:
            if self.summary is None:
                return self.seer.say(prompt)
            return self.summary.complete([{"role": "user", "content": prompt}]).text
        except ReplyError as error:
            raise ItemError(f"item {item.id!r}: the summary of {len(answers)} frames: {error}") from error


def _frames_of(item: Item, mode: str, num_frames: int) -> tuple[Clip, list[Region]]:
    """Return an item's video with the chosen frames, all of which have an object, and the objects.

    Frames are spread evenly. If an object would be on none of them, frames that show all objects replace the nearest
    ones, as for models that see all frames at once.
    """
    clip = open_clip(Source(item.kind, item.video, 0), 0, Sampling(num_frames=num_frames))
    objects = [region.at_frames(clip.frame_at) for region in item.regions(mode)]
    seen = [set(region_frames(region, clip, "keep", None).frames) for region in objects]
    used = sorted(set().union(*seen))
    clip.sampled = evenly(used, num_frames) if used else sorted(set(clip.sampled))
    if any(frames.isdisjoint(clip.sampled) for frames in seen):
        show_frames(clip, _showing_all(seen, clip.sampled), True)
    return clip, objects


def _showing_all(seen: Sequence[set[int]], preferred: Sequence[int]) -> list[int]:
    """Return a few frames that show each object: always the one with the most objects that are not shown yet."""
    chosen: list[int] = []
    lacking = list(seen)
    while lacking:
        counts = Counter(frame for frames in lacking for frame in frames)
        best = max(counts, key=lambda frame: (counts[frame], frame in preferred, -frame))
        chosen.append(best)
        lacking = [frames for frames in lacking if best not in frames]
    return chosen
