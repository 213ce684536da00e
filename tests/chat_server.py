"""A small OpenAI-compatible endpoint on loopback, which can be told to misbehave."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-a-key-that-nobody-may-see"


def scores_of(text: str) -> str:
    """Scores that depend on what is judged, and on nothing else."""
    digest = hashlib.sha256(text.encode()).digest()
    return json.dumps({code: digest[place] % 11 / 2 for place, code in enumerate(("SC", "AD", "TD", "HD"))})


class ChatServer:
    """Replies to chat completions.

    Attributes:
        reply: from a request's messages to the reply, or to a status instead of one.
        delay (`float`): seconds before each reply.
        requests (`list`): bodies of the requests so far.
    """

    def __init__(self) -> None:
        self.reply: Callable[[list[dict[str, Any]]], str | int] = lambda messages: scores_of(messages[-1]["content"])
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

    def answer(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        if key != f"Bearer {KEY}":
            # As real ones do, this one repeats the key that it was given.
            return 401, {"error": {"message": f"Incorrect API key provided: {key}"}}
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
        if isinstance(said, int):
            return said, {"error": {"message": "try later"}}
        message = {"role": "assistant", "content": said}
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, value = server.answer(body, self.headers.get("Authorization", ""))
            data = json.dumps(value).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status in (429, 500):
                    self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it did not wait

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
