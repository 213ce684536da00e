"""The region captioner with a model that is loaded here: it sees a mask without the object's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.chatting import prompt_identity
from videorefer_plugin.data_engine.agents.describing import PROMPT_VERSION, check_prompt, is_refusal
from videorefer_plugin.data_engine.agents.loading import check_choice, each, open_source
from videorefer_plugin.data_engine.agents.shown import fitting, found_of, frame_of, region_at, with_dropped
from videorefer_plugin.data_engine.agents.visual_models import EMBEDDED, FRAMES, VisualModel
from videorefer_plugin.data_engine.items import Drop, Failure, Made, RegionCaption, Spent, VideoItem
from videorefer_plugin.inputs.wording import description_prompt
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["ModelCaptioner", "caption_made", "captions_made"]

_FRAMES = ("one", "all")


class ModelCaptioner(Agent):
    """Asks a model of this library, or a host with an object encoder, to describe each mask.

    Args:
        checkpoint (`str`): folder or Hub id, or "embedded".
        object_encoder (`str`, *optional*): for a host, folder of the saved object encoder.
        prompt (`str`, *optional*): prompt with one `<region>`, and {visual} for "video" or "image". Default: that of
            VideoRefer-Bench-D.
        frames (`str`): frames of the mask: `"one"` for the frame in which the object was found; `"all"` for all frames
            that the model sees.
        revision, num_frames, max_new_tokens, batch_size, device, dtype: see [`VisualModel`].
    """

    stage = "captioner"

    def __init__(
        self,
        checkpoint: str = EMBEDDED,
        *,
        object_encoder: str | None = None,
        prompt: str | None = None,
        frames: str = "one",
        revision: str | None = None,
        num_frames: int | None = None,
        max_new_tokens: int = 256,
        batch_size: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        check_choice("captioner", "frames", frames, _FRAMES)
        check_prompt("captioner", "prompt", prompt, wants_region=True, fields=("visual",))
        self._prompt, self._frames = prompt, frames
        self._model = VisualModel(
            "captioner",
            checkpoint,
            object_encoder=object_encoder,
            revision=revision,
            num_frames=num_frames,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
        )

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {
            "backend": "model",
            "frames": self._frames,
            "prompt": prompt_identity(PROMPT_VERSION, self._question("video")),
            **self._model.identity(),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return a [`RegionCaption`] for each object; see [`Agent.run`]."""
        self._model.check_regions()
        return each(items, self._describe)

    def close(self) -> None:
        """See [`Agent.close`]."""
        self._model.close()

    def _describe(self, item: VideoItem) -> Made | Failure:
        video, is_image = open_source(item), item.source.kind == "image"
        objects, dropped = fitting(video, item.objects)
        question = self._question(item.source.kind)
        asked = [(question, [self._region(video, found_of(one))]) for one in objects]
        answers = self._model.ask(video, asked, is_image=is_image) if asked else []
        frames = [frame_of(found_of(one)) for one in objects]
        return with_dropped(
            item.objects, dropped, captions_made(answers, frames, Spent(calls=len(answers), uncounted=len(answers)))
        )

    def _region(self, video: Video, found: Any) -> Region:
        if self._frames == "one":
            return region_at(found, [])
        count = min(self._model.num_frames or FRAMES, video.num_frames)
        return region_at(found, [int(frame) for frame in sample_frame_indices(video.num_frames, num_frames=count)])

    def _question(self, kind: str) -> str:
        return description_prompt(kind) if self._prompt is None else self._prompt.format(visual=kind)


def captions_made(answers: Sequence[str], frames: Sequence[int], spent: Spent) -> Made | Failure:
    """Return the result for the answers of a region captioner; a failure if all of them are empty."""
    if answers and not any(answer.strip() for answer in answers):
        return Failure("reply", "The captioner gave empty answers.", spent)
    return Made(tuple(map(caption_made, answers, frames)), spent)


def caption_made(answer: str, frame: int) -> RegionCaption | Drop:
    """Return the result for an answer of a region captioner."""
    if not answer.strip():
        return Drop("empty", "The captioner gave an empty answer, beside others about this video that are not.")
    if is_refusal(answer):
        return Drop("refused", f"The captioner refused to describe it: {short(answer)}.")
    return RegionCaption(" ".join(answer.split()), frame)
