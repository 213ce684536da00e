"""Answers requests with one model, and keeps computed features of a visual for later requests about it."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from videorefer_plugin.errors import PromptError, RegionError, ServeError, VideoError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.threads import threads_for
from videorefer_plugin.regions import Region
from videorefer_plugin.serve.fetching import fetch
from videorefer_plugin.serve.kept import Kept, Visual
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.request import ChatRequest
from videorefer_plugin.serve.sources import Sources
from videorefer_plugin.session.conversations import ConversationSession
from videorefer_plugin.session.making import takes
from videorefer_plugin.session.prompts import Prepared

__all__ = ["Answerer", "Job", "StoppedError"]

_MAX_NEW_TOKENS = 256  # the default of `ask`


class StoppedError(Exception):
    """The client does not wait for this answer any more."""


@dataclass
class Job:
    """A request that is being answered.

    Attributes:
        request ([`ChatRequest`]): the request.
        visuals (`list[Visual]`): its opened visuals.
        stop (`threading.Event`): set when the client does not wait for the answer any more.
        input_ids (`torch.LongTensor` of shape `(1, length)`): ids of the prompt, once it is prepared.
    """

    request: ChatRequest
    visuals: list[Visual]
    stop: threading.Event = field(default_factory=threading.Event)
    input_ids: Tensor | None = None
    session: ConversationSession | None = None
    prompt: Prepared | None = None
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def max_new_tokens(self) -> int:
        """Largest number of tokens of the answer."""
        answer = self.request.answer
        return answer.get("max_completion_tokens") or answer.get("max_tokens") or _MAX_NEW_TOKENS


class Answerer:
    """Answers requests in three steps: it opens their visuals, prepares the prompt, and generates the answer.

    The first step may run in any thread, the others need one thread. A session answers requests with one visual at the
    start of their first question, so that frames and the positions before the question are computed once for all
    requests about the visual. Other requests are answered by a call of the processor and `generate`.

    Args:
        model: the model.
        processor: its processor.
        limits ([`Limits`]): limits of requests.
        sources ([`Sources`]): allowed sources of visuals.
        max_bytes (`int`): largest number of bytes to keep between requests.
    """

    def __init__(self, model: Any, processor: Any, limits: Limits, sources: Sources, max_bytes: int):
        self.model, self.processor = model.eval(), processor
        self.limits, self.sources = limits, sources
        self.kept = Kept(model, processor, max_bytes)
        self._in_sessions = takes(model, processor)

    def open(self, request: ChatRequest) -> Job:
        """Open the visuals of a request.

        Raises:
            ServeError: a visual is not allowed, or exceeds a limit.
            VideoError: a visual cannot be read.
        """
        visuals = []
        for number, (kind, address) in enumerate(request.visuals()):
            where = f"{kind} {number} of the request"
            visual = self.kept.visual(kind, fetch(address, self.sources, self.limits, where), where, self.limits)
            self._check_sampling(visual, request.settings)
            visuals.append(visual)
        return Job(request, visuals)

    def _check_sampling(self, visual: Visual, settings: Mapping[str, Any]) -> None:
        if "fps" not in settings or visual.kind == "image":
            return
        frames = visual.video.duration * settings["fps"]
        if min(frames, settings.get("max_frames", frames)) > self.limits.frames:
            raise ServeError(
                f"fps={settings['fps']:g} takes {frames:.0f} frames of the video; this server looks at most at "
                f"{self.limits.frames}. Give a lower one, or max_frames."
            )

    def prepare(self, job: Job) -> Job:
        """Prepare a request. All errors of the request are raised here, before its answer begins.

        Raises:
            VideoReferError: prompt, regions and visuals do not fit together, or a frame cannot be read.
            StoppedError: the client does not wait for the answer any more.
        """
        _go_on(job)
        try:
            return self._prepare(job)
        except (PromptError, RegionError, VideoError) as error:
            raise type(error)(str(error).removeprefix("Sample 0: ")) from error  # there is one

    def _prepare(self, job: Job) -> Job:
        turns = _turns(job.request) if len(job.visuals) == 1 and self._in_sessions else None
        with torch.no_grad(), threads_for(self.model):
            if turns is None:
                self._prepare_whole(job)
            else:
                system, told, question = turns
                session = self.kept.session(job.visuals[0], system, job.request.settings)
                own = [(self._own_tokens(asked), said) for asked, said in told]
                job.session = session
                job.prompt = session.prepare(own, self._own_tokens(question), job.request.regions)
                job.input_ids = job.prompt.input_ids[None]
            self.kept.trim()
        return job

    def _prepare_whole(self, job: Job) -> None:
        conversation, visuals = [], iter(job.visuals)
        for message in job.request.messages:
            parts: list[dict[str, Any]] = []
            for part in message["content"]:
                if part["type"] == "text":
                    parts.append({"type": "text", "text": self._own_tokens(part["text"])})
                else:
                    visual = next(visuals)
                    parts.append({"type": visual.kind, visual.kind: visual.video})
            conversation.append({"role": message["role"], "content": parts})
        regions: dict[str, list[Region]] = {"regions": job.request.regions} if job.request.regions else {}
        inputs = self.processor.apply_chat_template(
            conversation,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **regions,
            **job.request.settings,
        )
        job.inputs = dict(inputs.to(device_of(self.model)))
        job.input_ids = job.inputs["input_ids"]

    def _own_tokens(self, text: str) -> str:
        return text.replace(REGION_TOKEN, getattr(self.processor, "region_token", REGION_TOKEN))

    def generate(self, job: Job, streamer: Any = None) -> Tensor:
        """Answer a prepared request.

        Args:
            job ([`Job`]): the request.
            streamer (*optional*): streamer of `generate`, which gets the tokens as they are generated.

        Returns:
            `torch.LongTensor` of shape `(length,)`: ids of the answer.

        Raises:
            StoppedError: the client does not wait for the answer any more.
        """
        _go_on(job)
        settings = {**self._settings(job), "stopping_criteria": StoppingCriteriaList([_Stop(job.stop)])}
        with torch.no_grad(), threads_for(self.model):
            if job.session is not None:
                assert job.prompt is not None
                ids = job.session.answer(job.prompt, streamer=streamer, **settings)
                self.kept.trim()
            else:
                output = self.model.generate(**job.inputs, streamer=streamer, **settings)
                ids = output[0, job.inputs["input_ids"].shape[1] :].cpu()
        _go_on(job)
        return ids

    def _settings(self, job: Job) -> dict[str, Any]:
        """Return the arguments of `generate`; decoding is greedy unless the request asks for sampling."""
        answer = job.request.answer
        settings: dict[str, Any] = {"max_new_tokens": job.max_new_tokens, "do_sample": False}
        if answer.get("temperature"):
            settings |= {"do_sample": True, "temperature": float(answer["temperature"])}
            settings |= {"top_p": float(answer["top_p"])} if "top_p" in answer else {}
        if "seed" in answer:
            torch.manual_seed(answer["seed"])
        return settings


def _go_on(job: Job) -> None:
    if job.stop.is_set():
        raise StoppedError


def _turns(request: ChatRequest) -> tuple[str | None, list[tuple[str, str]], str] | None:
    """Return system message, earlier turns and question of a conversation with one visual, at its start.

    `None` is returned for other forms.
    """
    messages = list(request.messages)
    system = _text(messages.pop(0)["content"]) if messages[0]["role"] == "system" else None
    if [message["role"] for message in messages] != (["user", "assistant"] * len(messages))[: len(messages)]:
        return None
    first, *rest = messages[0]["content"]
    texts = [_text(parts) for parts in (rest, *(message["content"] for message in messages[1:]))]
    if first["type"] == "text" or len(rest) > 1 or None in texts:
        return None
    said = [str(text) for text in texts]
    return system, list(zip(said[:-1:2], said[1::2], strict=True)), said[-1]


def _text(parts: list[dict[str, Any]]) -> str | None:
    """Return the text of a message, or `None` if it has other parts."""
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else None


class _Stop(StoppingCriteria):
    def __init__(self, event: threading.Event):
        self._event = event

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self._event.is_set(), dtype=torch.bool, device=input_ids.device)
