"""A small OpenAI-compatible endpoint on loopback, which can be told to misbehave."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-a-key-that-nobody-may-see"


def scores_of(text: str) -> str:
    """Scores that depend on what is judged, and on nothing else."""
    digest = hashlib.sha256(text.encode()).digest()
    return json.dumps({code: digest[place] % 11 / 2 for place, code in enumerate(("SC", "AD", "TD", "HD"))})


@dataclass
class Raw:
    """What a server sends that does not behave.

    Attributes:
        body: bytes, or a value for JSON.
        status (`int`): of the response.
        headers (`dict`): besides the usual ones.
        drip (`float`): seconds between any two bytes.
        cut (`int`): bytes at the end that are promised, and not sent.
    """

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    cut: int = 0


class ChatServer:
    """Replies to chat completions.

    Attributes:
        reply: from a request's messages to the reply, to a status instead of one, or to whatever is sent.
        delay (`float`): seconds before each reply.
        requests (`list`): bodies of the requests so far.
    """

    def __init__(self) -> None:
        self.reply: Callable[[list[dict[str, Any]]], str | int | Raw] = lambda said: scores_of(said[-1]["content"])
        self.delay = 0.0
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._httpd.server_address[1]}/v1"
        threading.Thread(target=self._httpd.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()

    def answer(self, body: dict[str, Any], key: str) -> Raw:
        if key != f"Bearer {KEY}":
            # As real ones do, this one repeats the key that it was given.
            return Raw({"error": {"message": f"Incorrect API key provided: {key}"}}, 401)
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay)
            said = self.reply(body["messages"])
        finally:
            with self._lock:
                self._at_once -= 1
        if isinstance(said, Raw):
            return said
        return Raw({"error": {"message": "try later"}}, said) if isinstance(said, int) else Raw(completion(said))


def completion(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """The body of a reply, with what else its message has."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "a-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            raw = server.answer(body, self.headers.get("Authorization", ""))
            data = raw.body if isinstance(raw.body, bytes) else json.dumps(raw.body).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data) + raw.cut)}
            if raw.status in (429, 500):
                headers["Retry-After-Ms"] = "1"
            try:
                self.send_response(raw.status)
                for name, value in {**headers, **raw.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not raw.drip:
                    self.wfile.write(data)
                for place in range(len(data) if raw.drip else 0):
                    self.wfile.write(data[place : place + 1])
                    time.sleep(raw.drip)
                if raw.cut:
                    self.close_connection = True
            except (BrokenPipeError, ConnectionResetError):
                pass  # it did not wait

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
