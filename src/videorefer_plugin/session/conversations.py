"""A session for whole conversations, as servers receive them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from videorefer_plugin.inputs.questions import check_question, question_regions, without_placeholders
from videorefer_plugin.regions import Region
from videorefer_plugin.session.prompts import Prepared
from videorefer_plugin.session.video_session import VideoSession

__all__ = ["ConversationSession"]


class ConversationSession(VideoSession):
    """A [`VideoSession`] that answers whole conversations, which a caller keeps.

    Preparing and answering are two steps, so that errors of a conversation are raised before its answer begins. A
    prepared conversation can be answered until the session is closed.

    Args:
        system (`str`, *optional*): text of a system message in front of every conversation.
        args, kwargs: see [`VideoSession`].
    """

    def __init__(self, *args: Any, system: str | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if system is not None:
            self._before = [{"role": "system", "content": [{"type": "text", "text": system}]}]

    def prepare(
        self, told: Sequence[tuple[str, str]], question: str, regions: Sequence[Region | dict[str, Any]] = ()
    ) -> Prepared:
        """Make a conversation ready to be answered.

        Args:
            told (`Sequence[tuple[str, str]]`): earlier questions and their answers.
            question (`str`): the last question.
            regions (`Sequence[Region]`): the regions of all questions, in their order.

        Raises:
            PromptError, RegionError, VideoError: see [`VideoSession.ask`].
            SessionError: the session was closed.
        """
        for one in (*(asked for asked, _ in told), question):
            check_question(one, self._placeholders)
        given = question_regions(regions)
        turns = [(asked, without_placeholders(said, self._reserved)) for asked, said in told]
        with self.answering():
            (prompt,) = self._prepare([self._text([*turns, (question, None)])], [given])
            return prompt

    def answer(self, prompt: Prepared, **generate_kwargs: Any) -> Tensor:
        """Answer a prepared conversation.

        Args:
            prompt ([`Prepared`]): the conversation, from `prepare`.
            generate_kwargs: see [`VideoSession.ask`]; also a `streamer`.

        Returns:
            `torch.LongTensor` of shape `(length,)`: ids of the answer.

        Raises:
            ConfigurationError: an argument of `generate` is one that the session gives itself.
            SessionError: the session was closed.
        """
        streamer = generate_kwargs.pop("streamer", None)
        settings = self.checked(generate_kwargs, streams=streamer is not None)
        with self.answering():
            (ids,) = self._runner.generate([prompt], self._tail, {**settings, "streamer": streamer})
            self.trim()
            return ids
