"""The server application of transformers with one model of ours; only this file imports that application.

Routes, replies and streams are those of `transformers serve`. Its model manager has the one model, and its handler of
chat completions passes requests to an [`Answerer`] instead of the processor and `generate`.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from transformers.cli.serving import server
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.utils import GenerateManager, GenerationState, Modality

from videorefer_plugin.errors import ServeError, VideoReferError
from videorefer_plugin.models.tokenizing import answers_of
from videorefer_plugin.serve.answering import Answerer, Job, StoppedError
from videorefer_plugin.serve.errors import error_body, status_of
from videorefer_plugin.serve.request import read_request

__all__ = ["build_app"]

logger = logging.getLogger("videorefer_plugin.serve")

_FAILED = "The server failed to answer; its log says why."
_OPENING = min(4, os.cpu_count() or 1)  # number of visuals that are opened at the same time


def build_app(answerer: Answerer, name: str) -> FastAPI:
    """Return the application of transformers' server for one model.

    Args:
        answerer ([`Answerer`]): answers requests.
        name (`str`): the id of the model.
    """
    state = _State()
    models = _OneModel(answerer, name, state)
    chat = _RegionChat(models, state, answerer, name)
    others = {each: None for each in signature(server.build_server).parameters if each.endswith("_handler")}
    given: dict[str, Any] = {**others, "chat_handler": chat, "generation_state": state}
    app = server.build_server(models, **given)
    app.add_exception_handler(VideoReferError, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


async def _refused(request: Request, error: Any) -> JSONResponse:
    status = status_of(error)
    return JSONResponse(error_body(str(error), status, getattr(error, "parameter", None)), status)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(error_body(_FAILED, 500), 500)


class _OneModel(ModelManager):
    """A model manager with one model, which stays loaded."""

    def __init__(self, answerer: Answerer, name: str, state: "_State"):
        self.loaded_models: dict[str, Any] = {}
        self.force_model = name
        self._state = state
        self._pair = answerer.model, answerer.processor

    def load_model_and_processor(self, model_id_and_revision: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return self._pair

    def get_model_modality(self, model: Any, processor: Any = None) -> Modality:
        return Modality.VLM

    def list_models(self, cache_dir: str | None = None) -> list[dict[str, Any]]:
        return [{"id": self.force_model, "object": "model", "created": 0, "owned_by": "videorefer"}]

    get_gen_models = list_models  # its name before 5.20

    def shutdown(self) -> None:
        self._state.shutdown()


class _OneThread(GenerateManager):
    """Runs all work on one thread; work that waits can be stopped."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="videorefer-generate")

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._pool.submit(fn, *args, **kwargs)

    def async_submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return asyncio.wrap_future(self._pool.submit(fn, *args, **kwargs))

    async def generate_non_streaming(
        self, model: Any, processor: Any, inputs: Any, gen_config: Any, request_id: str
    ) -> tuple[str, int, Any]:
        ids = await self.async_submit(model.generate)
        return answers_of(processor, [ids])[0], inputs["input_ids"].shape[-1], ids

    def stop(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _State(GenerationState):
    """Has one manager for all names of models."""

    def __init__(self) -> None:
        super().__init__()
        self._manager = _OneThread()

    def get_manager(self, model_id: str, use_cb: bool = False) -> Any:
        return self._manager

    def shutdown(self) -> None:
        self._manager.stop()


class _Served:
    """Stands in for the model in the handlers, and answers one request."""

    def __init__(self, answerer: Answerer, job: Job, request_id: str):
        self._request_id = request_id
        self.config, self.generation_config = answerer.model.config, answerer.model.generation_config
        self._answerer, self._job = answerer, job

    def generate(self, streamer: Any = None, **given: Any) -> Any:
        try:
            return self._answerer.generate(self._job, _Stoppable(streamer, self._job) if streamer else None)
        except StoppedError:
            raise
        except VideoReferError as error:
            if streamer is None:
                raise
            raise RuntimeError(json.dumps(str(error))[1:-1]) from error  # the handler inserts it into JSON unchanged
        except Exception:
            if streamer is None or self._job.stop.is_set():
                raise
            logger.exception("%s: the answer broke off", self._request_id)
            raise RuntimeError(_FAILED) from None


class _Stoppable:
    """A streamer that stops the job if its stream was closed."""

    def __init__(self, streamer: Any, job: Job):
        self._streamer, self._job = streamer, job

    def put(self, value: Any) -> None:
        if self._job.stop.is_set():
            self._streamer.cancel()
        self._streamer.put(value)

    def end(self) -> None:
        self._streamer.end()


class _RegionChat(ChatCompletionHandler):
    """Chat completions whose requests may have regions."""

    def __init__(self, models: _OneModel, state: _State, answerer: Answerer, name: str):
        super().__init__(models, state)
        self._answerer, self._name = answerer, name
        self._opening = ThreadPoolExecutor(_OPENING, thread_name_prefix="videorefer-open")

    async def handle_request(self, body: dict[str, Any], request_id: str) -> Any:
        """Answer a request. Errors of the request are raised before the answer begins."""
        answerer, manager = self._answerer, self.generation_state.get_manager(self._name)
        request = read_request(body, answerer.limits, answerer.sources)
        asked = request.answer.get("model")
        if asked is not None and asked != self._name:
            raise ServeError(f"This server has the model {self._name!r} and no other.", 404, "model")
        job = await asyncio.wrap_future(self._opening.submit(answerer.open, request))
        try:
            await manager.async_submit(answerer.prepare, job)
            config = type(answerer.model.generation_config)(max_new_tokens=job.max_new_tokens)
            how = (
                request_id,
                _Served(answerer, job, request_id),
                answerer.processor,
                self._name,
                {"input_ids": job.input_ids},
            )
            if not request.answer.get("stream"):
                return await self._non_streaming(*how, config, gen_manager=manager)
        except asyncio.CancelledError:
            job.stop.set()
            raise
        response = self._streaming(*how, config, gen_manager=manager)
        response.body_iterator = _ended(response.body_iterator, job)
        return response


async def _ended(pieces: Any, job: Job) -> AsyncIterator[str]:
    """Yield a stream, and the last line of OpenAI's streams."""
    try:
        async for piece in pieces:
            yield piece
        yield "data: [DONE]\n\n"
    finally:
        job.stop.set()
        await pieces.aclose()
