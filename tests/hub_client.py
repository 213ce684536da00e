"""Code that talks to the test's Hub, in processes of its own, since clients read their endpoint when imported."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import videorefer_plugin
from tests.hub_server import WRITER

SOURCE = Path(videorefer_plugin.__file__).resolve().parents[1]

# Runs pieces of code that arrive as lines of JSON, each in a namespace of its own.
_WORKER = """
import contextlib, io, json, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    call = json.loads(line)
    names = dict(call["names"])
    said = io.StringIO()
    answer = {"value": None, "error": None, "traceback": ""}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            exec(compile(call["code"], "<test>", "exec"), names)
            answer["value"] = names.get("value")
        except BaseException as error:
            answer["error"] = [type(error).__name__, str(error)]
            answer["traceback"] = traceback.format_exc()
    answer["said"] = said.getvalue()
    print(json.dumps(answer), file=answers, flush=True)
"""


def environment(home: Path, endpoint: str, *, with_plugin: bool = True) -> dict[str, str]:
    """What a client's process sees: the test's Hub, a cache of its own, and nothing of the user's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    env |= {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": WRITER,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }
    if with_plugin:
        env["PYTHONPATH"] = str(SOURCE)
    return env


def start(code: str, env: dict[str, str], folder: Path, *flags: str) -> "subprocess.Popen[str]":
    """Start a fresh interpreter on a piece of code."""
    return subprocess.Popen(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,  # or transformers waits for somebody to say whether the code is trusted
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


class Answer:
    """What a piece of code left behind."""

    def __init__(self, answer: dict[str, Any]):
        self.value: Any = answer["value"]
        self.kind, self.message = answer["error"] or ("", "")
        self.said: str = answer["said"]
        self.traceback: str = answer["traceback"]

    @property
    def everything(self) -> str:
        return f"{self.message}\n{self.said}\n{self.traceback}"


class Client:
    """An interpreter that stays, so that every test need not import torch and transformers anew."""

    def __init__(self, env: dict[str, str], folder: Path):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            env=env,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def tries(self, code: str, **names: Any) -> Answer:
        """Run code with some names set; what it leaves in `value`, or the error it ends with."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"code": textwrap.dedent(code), "names": names}) + "\n")
        stdin.flush()
        return Answer(json.loads(stdout.readline()))

    def runs(self, code: str, **names: Any) -> Any:
        """The same for code that must not fail."""
        answer = self.tries(code, **names)
        assert not answer.kind, answer.everything
        return answer.value

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
