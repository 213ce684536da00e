"""Runs the code blocks of a page, as a reader would paste them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

INSTALLS = "python -m pip install "


def read_blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of each block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def run_blocks(blocks: Iterable[tuple[str, str]], name: str) -> dict[str, Any]:
    """In order, Python in one interpreter, whose names are returned, and commands in a shell.

    Lines that install are left out: everything is installed here.
    """
    namespace: dict[str, Any] = {}
    for language, body in blocks:
        if language == "python":
            exec(compile(body, name, "exec"), namespace)
        elif language == "bash":
            run_commands("".join(line for line in body.splitlines(True) if not line.startswith(INSTALLS)))
    return namespace


def run_commands(body: str) -> None:
    """Run commands in a shell that ends at the first that fails."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    shell = ["bash", "-euo", "pipefail", "-c", body]
    done = subprocess.run(shell, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{body}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
