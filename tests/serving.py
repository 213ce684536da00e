"""A served model in a process of its own, and what asks it."""

import base64
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import videorefer_plugin as vr
from videorefer_plugin import world

_START = "from videorefer_plugin.cli import app; app()"
_SECONDS = 120.0
_START_OF_VLLM = 600.0


class Served:
    """`videorefer serve` with these options, at a free port of this machine.

    Attributes:
        url (`str`): address of its API.
        log (`list[str]`): what it has said so far.
        process (`subprocess.Popen`): the process.
    """

    def __init__(self, *options: str, key: str | None = None, seconds: float = _SECONDS):
        given = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MKL_CBWR": "AVX2,STRICT"}
        given |= {"PYTHONPATH": os.pathsep.join(sys.path), "VIDEOREFER_API_KEY": key or ""}
        env = {name: value for name, value in {**os.environ, **given}.items() if value}
        command = [sys.executable, "-c", _START, "serve", "--port", "0", *options]
        self.key, self.log = key, list[str]()
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        told: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(told,), daemon=True).start()
        address = told.get(timeout=seconds)
        assert address is not None, "".join(self.log)
        self.url = address
        self.port = int(address.split(":")[2].split("/")[0])

    @classmethod
    def vllm(cls, *options: str, key: str | None = None) -> "Served":
        """One with vLLM's engine, which says where it listens long before it does."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        more = ("--engine", "vllm", "--port", str(port), "--dtype", "float32")
        server = cls(*more, *options, key=key, seconds=_START_OF_VLLM)
        until = time.monotonic() + _START_OF_VLLM
        while True:
            try:
                server.ask(None, "/models")
                return server
            except urllib.error.URLError:
                if server.process.poll() is not None or time.monotonic() > until:
                    server.close()
                    raise AssertionError("".join(server.log[-40:])) from None
                time.sleep(1)

    def _listen(self, told: "queue.Queue[str | None]") -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "Listening at " in line:
                told.put(line.split("Listening at ")[1].strip())
        told.put(None)

    def request(self, body: Any, path: str = "/chat/completions", **headers: str) -> urllib.request.Request:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **key, **headers}, method=None
        )

    def ask(self, body: Any, path: str = "/chat/completions", **headers: str) -> tuple[int, Any]:
        """Status, and what the JSON of the reply says."""
        try:
            with urllib.request.urlopen(self.request(body, path, **headers), timeout=_SECONDS) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def answer(self, body: Any) -> str:
        """The text of an answer, also of one in pieces."""
        with urllib.request.urlopen(self.request(body), timeout=_SECONDS) as reply:
            if not body.get("stream"):
                return json.load(reply)["choices"][0]["message"]["content"]
            lines = [line[6:].strip() for line in reply if line.startswith(b"data: ")]
        assert lines[-1] == b"[DONE]"
        pieces = [json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines[:-1]]
        return "".join(pieces).strip()

    def memory(self) -> int:
        """Bytes that the process holds."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """Ask it to end, as a scheduler does; what it ends with."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        """End it: vLLM's, which has processes of its own, by asking it first."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def data_url(path: Path) -> str:
    """The file itself, as an address."""
    kind = {".mp4": "video/mp4", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def visual(path: Path) -> dict[str, Any]:
    kind = "image_url" if path.suffix == ".png" else "video_url"
    return {"type": kind, kind: {"url": data_url(path)}}


def conversation(*turns: str, shown: Sequence[Path] = (), system: str | None = None) -> list[dict[str, Any]]:
    """A conversation as the processor takes it: questions and answers in turn, with `<region>` in the questions."""
    messages = [] if system is None else [{"role": "system", "content": [{"type": "text", "text": system}]}]
    for number, words in enumerate(turns):
        kinds = [("image" if path.suffix == ".png" else "video", path) for path in (() if number else shown)]
        content: list[dict[str, Any]] = [{"type": kind, kind: path} for kind, path in kinds]
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": [*content, {"type": "text", "text": words}]})
    return messages


def as_request(asked: Sequence[dict[str, Any]], regions: Sequence[vr.Region] = (), **fields: Any) -> dict[str, Any]:
    """A conversation as a request: visuals in the request itself, and each region in its place."""
    left = iter(regions)
    messages = []
    for message in asked:
        content: list[dict[str, Any]] = []
        for item in message["content"]:
            if item["type"] != "text":
                content.append(visual(item[item["type"]]))
            elif message["role"] == "user":
                content += _parts(item["text"], left)
            else:
                content.append(item)
        messages.append({"role": message["role"], "content": content})
    return {"messages": messages, "max_tokens": 24, **fields}


def _parts(words: str, regions: Iterator[vr.Region]) -> Iterator[dict[str, Any]]:
    first, *rest = words.split("<region>")
    yield {"type": "text", "text": first}
    for more in rest:
        yield {"type": "region", "region": next(regions).to_json()}
        yield {"type": "text", "text": more}


def asking(shown: Path | None, question: str, regions: Sequence[vr.Region] = (), **fields: Any) -> dict[str, Any]:
    """A request with one question."""
    return as_request(conversation(question, shown=[shown] if shown else []), regions, **fields)


def write_clip(folder: Path, number: int) -> tuple[Path, list[vr.Region]]:
    """A clip of the shapes world, and a region for each of its objects."""
    made = world.make_clip(number, "heldout", objects=3, theme="mixed", distinct=True)
    path = folder / f"{number}.mp4"
    world.encode_video(path, made.frames)
    return path, [made.region(index) for index in range(len(made))]


def one_frame(region: vr.Region) -> vr.Region:
    """A region in the first of its frames."""
    place, shape = next(iter(region.to_json().items()))
    return vr.Region.from_json({place: shape})
