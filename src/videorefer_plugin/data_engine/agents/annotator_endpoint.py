"""The Annotator with a Video LLM behind an endpoint, which sees frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from videorefer_plugin.chat.base import Message
from videorefer_plugin.chat.pictures import picture_message
from videorefer_plugin.chat.regions import region_message, visual_settings
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.chatting import Asking, Talk
from videorefer_plugin.data_engine.agents.describing import Describing, is_refusal
from videorefer_plugin.data_engine.agents.loading import check_choice, open_source
from videorefer_plugin.data_engine.agents.shown import ShownFrames, fitting, found_of, region_at, scaled
from videorefer_plugin.data_engine.agents.visual_models import FRAMES
from videorefer_plugin.data_engine.items import Drop, Failure, Made, ObjectItem, VideoItem
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.pictures import STYLES
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["EndpointAnnotator", "check_endpoint", "encoded"]

_SEES = ("noun", "drawn", "region")
_FRAMES_OF = "These are {count} frames of a video, in order."


class EndpointAnnotator(Agent):
    """Asks a model behind an OpenAI-compatible endpoint twice about each object, as [`ModelAnnotator`] does.

    Frames are sampled and encoded once per video, or once per object if the object is drawn on them.

    Args:
        model (`str`): name of the model at the endpoint.
        endpoint (`str`): address of the API, or "openai".
        sees (`str`): form of the object: `"noun"` names it; `"drawn"` draws it on the frames and names it; `"region"`
            sends the whole file and the object as a region, to an endpoint of `videorefer serve`.
        dynamic_prompt, appearance_prompt, style, drop_static: see [`ModelAnnotator`].
        num_frames (`int`, *optional*): frames to show. Default: 16, or with regions the checkpoint's number.
        max_side (`int`): most pixels of a frame's longer side; larger frames are scaled down.
        settings: see [`ChatSettings`].
    """

    stage = "annotator"
    threads = True

    def __init__(
        self,
        model: str,
        endpoint: str = "openai",
        *,
        sees: str = "noun",
        dynamic_prompt: str | None = None,
        appearance_prompt: str | None = None,
        style: str = "contour",
        drop_static: bool = False,
        num_frames: int | None = None,
        max_side: int = 1024,
        **settings: Any,
    ):
        check_choice("annotator", "style", style, STYLES)
        if num_frames is not None:
            check_at_least_one(num_frames, "num_frames")
        check_at_least_one(max_side, "max_side")
        self._describing = Describing(sees, dynamic_prompt, appearance_prompt, drop_static, style).checked(_SEES)
        self._num_frames, self._max_side = num_frames, max_side
        if num_frames is None and sees != "region":
            self._num_frames = FRAMES
        check_endpoint("annotator", endpoint)
        extra = visual_settings(num_frames=num_frames) if sees == "region" else None
        self._asking = Asking("annotator 'endpoint'", model, {"endpoint": endpoint, **settings}, 512, extra)

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        shown = {"num_frames": self._num_frames, "max_side": self._max_side}
        return {"backend": "endpoint", **self._describing.identity(), **shown, **self._asking.identity()}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return a [`Description`] for each object; see [`Agent.run`]."""
        return self._asking.each(items, self._annotate)

    def close(self) -> None:
        """See [`Agent.close`]."""
        self._asking.close()

    def _annotate(self, item: VideoItem, talk: Talk) -> list[Any]:
        kind, video = item.source.kind, open_source(item)
        dropped = {} if self._describing.sees == "noun" else fitting(video, item.objects)[1]
        if self._describing.sees == "region":
            return [dropped.get(one.number) or self._describe_region(one, item, video, talk) for one in item.objects]
        shown = ShownFrames.of(video, 1 if kind == "image" else self._num_frames or FRAMES)
        about = "" if kind == "image" else _FRAMES_OF.format(count=len(shown.indices))
        plain = encoded(shown.pictures, self._max_side) if self._describing.sees == "noun" else []
        made: list[Any] = []
        for one in item.objects:
            if one.number in dropped:
                made.append(dropped[one.number])
                continue
            pictures = plain or encoded(shown.marked(found_of(one), self._describing.style).pictures, self._max_side)
            made.append(self._describe(one, kind, about, pictures, talk))
        return made

    def _describe(self, item: ObjectItem, kind: str, about: str, pictures: list[Any], talk: Talk) -> Any:
        def message(question: str) -> Message:
            text = f"{about}\n{question}".strip()
            return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}

        return self._asked(item, kind, message, talk)

    def _describe_region(self, item: ObjectItem, whole: VideoItem, video: Video, talk: Talk) -> Any:
        count = min(self._num_frames or FRAMES, video.num_frames)
        frames = [int(frame) for frame in sample_frame_indices(video.num_frames, num_frames=count)]
        region, source = region_at(found_of(item), frames), whole.source

        def message(question: str) -> Message:
            return region_message(source.kind, source.path, question, [region])

        return self._asked(item, source.kind, message, talk)

    def _asked(self, item: ObjectItem, kind: str, message: Callable[[str], Message], talk: Talk) -> Any:
        """Return the result for an object. The second question is left out if the first answer decides."""
        answers: list[str] = []
        for question in self._describing.questions(item, kind):
            answer = talk.text([message(question)])
            if isinstance(answer, Drop):
                return answer
            answers.append(answer)
            if is_refusal(answer):
                break
        return self._describing.read(item, answers[0], answers[-1])


def encoded(pictures: Iterable[Any], max_side: int) -> list[dict[str, Any]]:
    """Return pictures as parts of a message, scaled down to `max_side` pixels on their longer side."""
    content: list[dict[str, Any]] = picture_message([scaled(one, max_side) for one in pictures], "")["content"]
    return content[:-1]


def check_endpoint(stage: str, endpoint: Any) -> None:
    """Refuse a missing endpoint, since models that are loaded here have another backend.

    Raises:
        ConfigurationError: there is no endpoint.
    """
    if not isinstance(endpoint, str) or not endpoint:
        raise ConfigurationError(
            f"The {stage} 'endpoint' has endpoint={endpoint!r}; expected an address or 'openai'. For a model that is "
            f"loaded here use the {stage} 'model'."
        )
