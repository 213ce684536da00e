"""The Annotator with a Video LLM of this library, or any other of transformers, that is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.describing import Describing
from videorefer_plugin.data_engine.agents.loading import check_choice, each, open_source
from videorefer_plugin.data_engine.agents.shown import ShownFrames, fitting, found_of, region_at, with_dropped
from videorefer_plugin.data_engine.agents.visual_models import EMBEDDED, FRAMES, VisualModel
from videorefer_plugin.data_engine.items import Failure, Made, ObjectItem, Spent, VideoItem
from videorefer_plugin.pictures import STYLES
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["ModelAnnotator"]

SEES = ("noun", "drawn", "region")


class ModelAnnotator(Agent):
    """Asks a Video LLM twice about each object: for its actions and movements, and for its appearance and state.

    Args:
        checkpoint (`str`): folder or Hub id of a model of `AutoModelForImageTextToText` or of this library, or
            "embedded".
        sees (`str`): form of the object: `"noun"` names it; `"drawn"` draws it on the frames and names it; `"region"`
            gives it as a region and names it.
        dynamic_prompt, appearance_prompt (`str`, *optional*): prompts that replace the default ones. They may have the
            fields {noun}, {expression} and {visual}, and need one `<region>` if the model sees regions.
        style (`str`): style of the drawing: `"contour"`, `"mask"` or `"box"`.
        drop_static (`bool`): whether to drop objects with static actions only.
        object_encoder, revision, num_frames, max_new_tokens, batch_size, device, dtype: see [`VisualModel`].
    """

    stage = "annotator"

    def __init__(
        self,
        checkpoint: str = EMBEDDED,
        *,
        sees: str = "noun",
        dynamic_prompt: str | None = None,
        appearance_prompt: str | None = None,
        style: str = "contour",
        drop_static: bool = False,
        object_encoder: str | None = None,
        revision: str | None = None,
        num_frames: int | None = None,
        max_new_tokens: int = 256,
        batch_size: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        check_choice("annotator", "style", style, STYLES)
        self._describing = Describing(sees, dynamic_prompt, appearance_prompt, drop_static, style).checked(SEES)
        self._model = VisualModel(
            "annotator",
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
        return {"backend": "model", **self._describing.identity(), **self._model.identity()}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return a [`Description`] for each object; see [`Agent.run`]."""
        self._model.load()
        if self._describing.sees == "region":
            self._model.check_regions()
        return each(items, self._annotate)

    def close(self) -> None:
        """See [`Agent.close`]."""
        self._model.close()

    def _annotate(self, item: VideoItem) -> Made | Failure:
        video, is_image = open_source(item), item.source.kind == "image"
        named = self._describing.sees == "noun"
        objects, dropped = (list(item.objects), {}) if named else fitting(video, item.objects)
        answers = self._answers(video, objects, is_image) if objects else []
        made = self._describing.made(objects, answers, Spent(calls=len(answers), uncounted=len(answers)))
        return with_dropped(item.objects, dropped, made)

    def _answers(self, video: Video, objects: Sequence[ObjectItem], is_image: bool) -> list[str]:
        asked = [self._describing.questions(one, "image" if is_image else "video") for one in objects]
        if self._describing.sees == "drawn":
            return self._about_drawn(video, objects, asked, is_image)
        regions = [self._regions(video, one) for one in objects]
        questions = [(text, own) for both, own in zip(asked, regions, strict=True) for text in both]
        return self._model.ask(video, questions, is_image=is_image)

    def _regions(self, video: Video, item: ObjectItem) -> list[Region]:
        if self._describing.sees != "region":
            return []
        count = min(self._model.num_frames or FRAMES, video.num_frames)
        frames = sample_frame_indices(video.num_frames, num_frames=count)
        return [region_at(found_of(item), [int(frame) for frame in frames])]

    def _about_drawn(
        self, video: Video, objects: Sequence[ObjectItem], asked: Sequence[tuple[str, str]], is_image: bool
    ) -> list[str]:
        shown = ShownFrames.of(video, self._model.num_frames or FRAMES)
        answers: list[str] = []
        for one, questions in zip(objects, asked, strict=True):
            marked = shown.marked(found_of(one), self._describing.style)
            answers += self._model.ask_frames(marked, questions, is_image=is_image)
        return answers
