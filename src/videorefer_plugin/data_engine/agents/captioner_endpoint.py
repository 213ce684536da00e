"""The region captioner with a model behind an endpoint, which sees one frame with the object drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.bench.prompts import MARK_WORDS
from videorefer_plugin.chat.base import Message
from videorefer_plugin.chat.regions import region_message
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.annotator_endpoint import check_endpoint, encoded
from videorefer_plugin.data_engine.agents.captioner_model import caption_made
from videorefer_plugin.data_engine.agents.chatting import Asking, Talk, prompt_identity
from videorefer_plugin.data_engine.agents.describing import check_prompt
from videorefer_plugin.data_engine.agents.loading import check_choice, open_source
from videorefer_plugin.data_engine.agents.shown import cropped, fitting, found_of, frame_of, region_at
from videorefer_plugin.data_engine.items import Drop, Failure, Found, Made, VideoItem
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.inputs.wording import description_prompt
from videorefer_plugin.pictures import STYLES, draw_marks
from videorefer_plugin.video import Video

__all__ = ["EndpointCaptioner"]

_PROMPT_VERSION = 1  # raise it when one of the prompts changes
_SHOWS = ("drawn", "crop", "both", "region")
_PROMPTS = {
    "drawn": "One object is {marked} red in this picture. ",
    "crop": "This picture shows one object, with a little of what is around it. ",
    "both": "One object is {marked} red in the first picture. The second picture shows the same object, larger. ",
}
_ASKED = (
    "Describe this object alone, in detail: what it is, what it looks like, and what it does. Do not speak of how it "
    "is marked or cut out."
)


class EndpointCaptioner(Agent):
    """Asks a model behind an OpenAI-compatible endpoint to describe each mask, in the frame in which it was found.

    Args:
        model (`str`): name of the model at the endpoint.
        endpoint (`str`): address of the API, or "openai".
        shows (`str`): form of the object: `"drawn"` shows the frame with the object drawn on it; `"crop"` shows the
            object and its surroundings; `"both"` shows both; `"region"` sends the whole file and the object as a
            region in that frame, to an endpoint of `videorefer serve`.
        style (`str`): style of the drawing: `"contour"`, `"mask"` or `"box"`.
        prompt (`str`, *optional*): prompt that replaces "Describe this object ..." after the description of the
            pictures. With `shows="region"`, it needs one `<region>`, and may have {visual} for "video" or "image", as
            in [`ModelCaptioner`].
        max_side (`int`): most pixels of a picture's longer side; larger pictures are scaled down.
        settings: see [`ChatSettings`].
    """

    stage = "captioner"
    threads = True

    def __init__(
        self,
        model: str,
        endpoint: str = "openai",
        *,
        shows: str = "drawn",
        style: str = "contour",
        prompt: str | None = None,
        max_side: int = 1024,
        **settings: Any,
    ):
        check_choice("captioner", "shows", shows, _SHOWS)
        check_choice("captioner", "style", style, STYLES)
        region = shows == "region"
        check_prompt("captioner", "prompt", prompt, wants_region=region, fields=("visual",) if region else ())
        check_at_least_one(max_side, "max_side")
        check_endpoint("captioner", endpoint)
        self._shows, self._style, self._max_side = shows, style, max_side
        if region:
            self._prompt = description_prompt("{visual}") if prompt is None else prompt
        else:
            asked = _ASKED if prompt is None else prompt.format()
            self._prompt = _PROMPTS[shows].format(marked=MARK_WORDS[style]) + asked
        self._asking = Asking("captioner 'endpoint'", model, {"endpoint": endpoint, **settings}, max_tokens=512)

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {
            "backend": "endpoint",
            "shows": self._shows,
            "style": self._style,
            "max_side": self._max_side,
            "prompt": prompt_identity(_PROMPT_VERSION, self._prompt),
            **self._asking.identity(),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return a [`RegionCaption`] for each object; see [`Agent.run`]."""
        return self._asking.each(items, self._describe)

    def close(self) -> None:
        """See [`Agent.close`]."""
        self._asking.close()

    def _describe(self, item: VideoItem, talk: Talk) -> list[Any]:
        video = open_source(item)
        dropped = fitting(video, item.objects)[1]
        made: list[Any] = []
        for one in item.objects:
            if one.number in dropped:
                made.append(dropped[one.number])
                continue
            found = found_of(one)
            said = talk.text([self._message(item, video, found)])
            made.append(said if isinstance(said, Drop) else caption_made(said, frame_of(found)))
        return made

    def _message(self, item: VideoItem, video: Video, found: Found) -> Message:
        if self._shows == "region":
            kind, question = item.source.kind, self._prompt.format(visual=item.source.kind)
            return region_message(kind, item.source.path, question, [region_at(found, [])])
        pictures = encoded(self._pictures(video, found), self._max_side)
        return {"role": "user", "content": [*pictures, {"type": "text", "text": self._prompt}]}

    def _pictures(self, video: Video, found: Found) -> list[NDArray[np.uint8]]:
        frame = frame_of(found)
        picture = video.read([frame])[0]
        mask = found.region.mask(frame, video.height, video.width)
        drawn = draw_marks(picture, {1: mask}, self._style, letters=0)
        return {"drawn": [drawn], "crop": [cropped(picture, mask)], "both": [drawn, cropped(picture, mask)]}[
            self._shows
        ]
