"""Runs the code blocks of a page, as a reader would paste them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSTALLS = "python -m pip install "
_FILE = re.compile(r'\w+ title="([\w.-]+)"')  # a block that shows a file, under its name


def read_blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of each block; of one that shows a file, its title behind the language."""
    return re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def run_blocks(blocks: Iterable[tuple[str, str]], name: str) -> dict[str, Any]:
    """In order, Python in one interpreter, whose names are returned, and commands in a shell.

    A block with a title is written to the file of that name, as a reader would save it; Python imports it from there.
    Lines that install are left out: everything is installed here.
    """
    namespace: dict[str, Any] = {}
    with _importing_from(Path.cwd()):
        for language, body in blocks:
            if file := _FILE.fullmatch(language):
                Path(file[1]).write_text(body, encoding="utf-8")
            elif language == "python":
                exec(compile(body, name, "exec"), namespace)
            elif language == "bash":
                run_commands("".join(line for line in body.splitlines(True) if not line.startswith(INSTALLS)))
    return namespace


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Modules in a folder can be imported meanwhile, as those beside a script are; they are forgotten afterwards."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").parent == folder:
                del sys.modules[name]


def run_commands(body: str) -> None:
    """Run commands in a shell that ends at the first that fails."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    shell = ["bash", "-euo", "pipefail", "-c", body]
    done = subprocess.run(shell, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{body}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
