"""An application in front of an engine: it checks keys, limits the number and time of requests, and logs them."""

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from typing import Any

from videorefer_plugin.errors import ServeError
from videorefer_plugin.serve.errors import error_body, send_error
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.middleware import CHAT_PATH, read_body

__all__ = ["Door"]

logger = logging.getLogger("videorefer_plugin.serve")

_ID = "x-request-id"
_PATHS = {CHAT_PATH: "POST", "/v1/models": "GET", "/health": "GET"}
_OPEN = ("/health",)  # without a key
_RIGHT_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")
_BODIES = 8  # largest number of requests of the largest size in memory
_GONE = 499  # as in logs of other servers: the client did not wait for the answer
_CANCELLED = 5.0  # seconds to wait for the end of a task


class Door:
    """An ASGI application in front of an engine's.

    Args:
        app: the engine's application.
        limits ([`Limits`]): limits of requests.
        api_key (`str`, *optional*): key that clients have to send; none by default.
    """

    def __init__(self, app: Any, limits: Limits, api_key: str | None = None):
        self.app = app
        self.limits = limits
        self._key = None if api_key is None else api_key.encode()
        self._running = 0
        self._bytes = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle an ASGI call."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _Call(self, scope, receive, send).answer()
        else:
            await send({"type": "websocket.close", "code": 1008})

    def lets_in(self, headers: dict[bytes, bytes]) -> bool:
        """Tell whether the key is right, in a time that does not depend on the key."""
        if self._key is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(given.strip(), self._key) and scheme.lower() == b"bearer"

    def enter(self) -> None:
        """Count a request that begins.

        Raises:
            ServeError: the server has as many requests as it takes.
        """
        if self._running >= self.limits.requests:
            raise ServeError(f"This server answers {self.limits.requests} requests at a time. Try again later.", 429)
        self._running += 1

    def leave(self, size: int) -> None:
        """Count a request of a size in bytes that has ended."""
        self._running -= 1
        self._bytes -= size

    def hold(self, size: int) -> None:
        """Count the bytes of a request that are held in memory.

        Raises:
            ServeError: there is no room for these bytes.
        """
        if self._bytes + size > _BODIES * self.limits.request_bytes:
            raise ServeError("This server holds as much of other requests as it can. Try again later.", 429)
        self._bytes += size


class _Call:
    """One request and its answer."""

    def __init__(self, door: Door, scope: Any, receive: Any, send: Any):
        self.door, self.scope, self._receive, self._send = door, scope, receive, send
        self.headers = dict(scope["headers"])
        self.started = time.monotonic()
        self.status: int | None = None
        self.ended = False
        self._held: int | None = None  # bytes of this request, as long as they are counted
        given = self.headers.get(_ID.encode(), b"").decode("latin-1")
        self.odd_id = bool(given) and not _RIGHT_ID.fullmatch(given)
        self.id = given if given and not self.odd_id else f"chatcmpl-{uuid.uuid4().hex}"

    async def answer(self) -> None:
        try:
            try:
                self._check()
            except ServeError as error:
                await self._refuse(error)
                return
            if self.scope["path"] == CHAT_PATH:
                await self._chat()
            else:
                await self.door.app(self._named(self.scope), self._receive, self.send)
        finally:
            self._note()

    def _check(self) -> None:
        path, method = self.scope["path"], self.scope["method"]
        wanted = _PATHS.get(path)
        if self.odd_id:
            raise ServeError(
                "The header X-Request-ID has characters other than letters, digits and ._:=/+-, or more than 128."
            )
        if path not in _OPEN and not self.door.lets_in(self.headers):
            raise ServeError("The key is missing or wrong. Send it in the header Authorization: Bearer KEY.", 401)
        if wanted is None:
            raise ServeError(f"There is nothing at this address; there are {', '.join(_PATHS)}.", 404)
        if method != wanted:
            raise ServeError(f"{path} is asked with {wanted}.", 405)
        if path != CHAT_PATH:
            return
        kind = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" or self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise ServeError(
                "A request is JSON that is not compressed. Send the header Content-Type: application/json.", 415
            )
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > 4 * self.door.limits.request_bytes:
            most = self.door.limits.request_bytes
            raise ServeError(f"The request has more than {most} bytes, the most that this server takes.", 413)

    async def _chat(self) -> None:
        try:
            self.door.enter()
            self._held = 0
        except ServeError as error:
            await self._refuse(error)
            return
        try:
            body = await asyncio.wait_for(read_body(self._receive, self.door.limits.request_bytes), self._left())
            if body is None:
                self.status = _GONE
                return
            self.door.hold(len(body))
            self._held = len(body)
            await self._watched(body)
        except ServeError as error:
            await self._refuse(error)
        except asyncio.TimeoutError:
            await self._refuse(ServeError("The request did not arrive in time.", 408))
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._held is not None:
            self.door.leave(self._held)
            self._held = None

    def _left(self) -> float:
        return max(self.started + self.door.limits.seconds - time.monotonic(), 0.001)

    async def _watched(self, body: bytes) -> None:
        """Let the engine answer, as long as the client waits and time is left."""
        gone = asyncio.ensure_future(self._gone())
        told = False

        async def receive() -> Any:
            nonlocal told
            if told:
                await asyncio.shield(gone)
                return {"type": "http.disconnect"}
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        work = asyncio.ensure_future(self.door.app(self._named(self.scope), receive, self.send))
        try:
            await asyncio.wait({work, gone}, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            if self.ended:  # the answer is complete; a client that left does not matter
                await asyncio.wait({work}, timeout=_CANCELLED)
            if work.done():
                work.result()
                return
            if self.ended:
                return
            late = not gone.done()
            work.cancel()
            await asyncio.wait({work}, timeout=_CANCELLED)
            if late:
                await self._too_late()
            else:
                self.status = _GONE
        finally:
            for task in (gone, work):
                task.cancel()
            if work.done() and not work.cancelled():
                work.exception()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _too_late(self) -> None:
        message = f"The answer took longer than {self.door.limits.seconds:g} s, the most that this server takes."
        if self.status is None:
            await self._refuse(ServeError(message, 504))
        elif not self.ended:  # of a stream
            line = f"data: {json.dumps(error_body(message, 504))}\n\n"
            await self.send({"type": "http.response.body", "body": line.encode(), "more_body": False})

    def _named(self, scope: Any) -> Any:
        """Return the scope with the id of the request, given by the client or made here."""
        others = [(name, value) for name, value in scope["headers"] if name.lower() != _ID.encode()]
        return {**scope, "headers": [*others, (_ID.encode(), self.id.encode())]}

    async def send(self, message: Any) -> None:
        """Send a part of the answer, the first part with the id of the request."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [(name, value) for name, value in message.get("headers", ()) if name.lower() != _ID.encode()]
            message = {**message, "headers": [*own, (_ID.encode(), self.id.encode())]}
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body")
            if self.ended:
                self._leave()  # before the client gets it, which may send the next request at once
        await self._send(message)

    async def _refuse(self, error: ServeError) -> None:
        if self.status is not None:
            return
        headers: dict[int, tuple[tuple[str, str], ...]] = {
            401: (("www-authenticate", "Bearer"),),
            405: (("allow", _PATHS.get(self.scope["path"], "")),),
            413: (("connection", "close"),),
            429: (("retry-after", "1"),),
        }
        await send_error(self.send, str(error), error.status, error.parameter, headers.get(error.status, ()))

    def _note(self) -> None:
        path = self.scope["path"] if self.scope["path"] in _PATHS else "(another address)"
        seconds = time.monotonic() - self.started
        logger.info("%s %s %s %s %.3f s", self.id, self.scope["method"], path, self.status or "-", seconds)
