"""The folder of a run: its lock, its settings, and differences from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from videorefer_plugin._addresses import without_secrets
from videorefer_plugin._files import UNFINISHED, write_whole
from videorefer_plugin._json import read_object
from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.recipe import EngineRecipe, SourceSettings, recipe_of
from videorefer_plugin.data_engine.sources import SourceList
from videorefer_plugin.errors import EngineError

__all__ = [
    "RunFolder",
    "changed_settings",
    "changed_sources",
    "files_digest",
    "read_summary",
    "refuse_changes",
]

_MOST_NAMED = 6  # differences in a message
_OWN = "sources.jsonl"  # may exist before run.json


class RunFolder:
    """The folder of a run, which one process at a time may use.

    `run.json` describes the run, `sources.jsonl` has its sources, `stages/` is the ledger, and `failed.jsonl` has the
    dead letters.

    Args:
        path (`Path`): path of the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.run, self.sources = path / "run.json", path / _OWN
        self.stages, self.failed = path / "stages", path / "failed.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            EngineError: another process uses the folder, it cannot be written, or it holds something else.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".run.lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise EngineError(
                f"Another process works in {self.path}. Wait for it, or give another output.folder."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._check_own()
            self._tidy()
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> EngineError:
        return EngineError(
            f"The folder {self.path} cannot be written ({error.strerror or error}). Make room or rights and start the "
            "same run again, or give another output.folder."
        )

    def _check_own(self) -> None:
        if self.run.is_file():
            return
        foreign = sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))
        if set(foreign) - {_OWN}:
            raise EngineError(
                f"The folder {self.path} is not empty and is not of a run: it holds {listed(foreign)}. Give a new or "
                "empty folder as output.folder."
            )

    def _tidy(self) -> None:
        """Remove the temporary files and locks of a process that was killed."""
        for item in self.path.iterdir():
            if UNFINISHED.fullmatch(item.name):
                item.unlink(missing_ok=True)
        for item in self.stages.glob(".*.jsonl.lock"):
            item.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """Return the contents of `run.json`; `None` if there is no run yet.

        Raises:
            EngineError: the file cannot be read, or is something else.
        """
        if not self.run.is_file():
            return None
        said = read_object(self.run, EngineError, "the object of a run of the data engine. Give another output.folder")
        wanted = {"recipe": dict, "identities": dict, "keys": dict, "read": dict}
        if any(not isinstance(said.get(name), kind) for name, kind in wanted.items()):
            raise EngineError(f"{self.run} is not of a run of the data engine. Give another output.folder.")
        return said

    def recipe(self) -> EngineRecipe:
        """Return the recipe of the folder's run.

        Raises:
            EngineError: there is no run.
        """
        said = self.read()
        if said is None:
            raise EngineError(
                f"{self.path} holds no run.json; expected the folder of a run (videorefer data run RECIPE --out ...)."
            )
        return recipe_of({**said["recipe"], "output": {**said["recipe"].get("output", {}), "folder": str(self.path)}})

    def ledger_bytes(self) -> int:
        """Return the size of the ledger, which grows with all work."""
        return sum(shard.stat().st_size for shard in self.stages.glob("*.jsonl"))

    def write(self, path: Path, lines: Iterator[str]) -> None:
        """Write a file, which appears whole.

        Raises:
            EngineError: the file cannot be written.
        """

        def into(name: str) -> None:
            with open(name, "w", encoding="utf-8") as stream:
                stream.writelines(lines)

        try:
            write_whole(path, into)
        except OSError as error:
            raise self._unwritable(error) from error

    def write_run(
        self, recipe: EngineRecipe, identities: Mapping[str, Any], keys: Mapping[str, str], read: Mapping[str, Any]
    ) -> None:
        """Write `run.json`, without passwords in addresses of the recipe."""
        said = {
            "version": version("videorefer-plugin"),
            "recipe": without_secrets(recipe.to_dict()),
            "identities": identities,
            "keys": keys,
            "read": without_secrets(read),
        }
        self.write(self.run, iter([json.dumps(said, indent=1) + "\n"]))

    def write_sources(self, sources: Sequence[Source]) -> None:
        """Write the snapshot of the sources."""
        self.write(self.sources, _source_lines(sources))

    def sources_digest(self) -> str | None:
        """Return a digest of the snapshot of the sources; `None` if there is none.

        Raises:
            EngineError: the snapshot cannot be read.
        """
        digest = hashlib.sha256()
        try:
            _add_file(digest, self.sources)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EngineError(f"{self.sources} cannot be read ({error.strerror or error}).") from error
        return digest.hexdigest()[:16]


def _source_lines(sources: Sequence[Source]) -> Iterator[str]:
    return (json.dumps(source.to_json()) + "\n" for source in sources)


def files_digest(settings: SourceSettings) -> str:
    """Return a digest of the files that sources are read from: contents of tables, and lists of folders."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for name in [*settings.files, *settings.exclude]:
        path = Path(name)
        try:
            if path.is_dir():
                for item in sorted(path.rglob("*")):
                    said = f"{item.relative_to(path)} {item.stat().st_size if item.is_file() else ''}\n"
                    digest.update(os.fsencode(said))  # names of files may not be UTF-8
            elif path.is_file():
                _add_file(digest, path)
        except OSError as error:
            raise EngineError(f"The source {name} cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()[:16]


def _add_file(digest: Any, path: Path) -> None:
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def read_summary(found: SourceList, files: str) -> dict[str, Any]:
    """Return the entry of `run.json` about the sources."""
    digest = hashlib.sha256()
    for line in _source_lines(found.sources):
        digest.update(line.encode())
    sources = digest.hexdigest()[:16]  # equal to `RunFolder.sources_digest`
    return {"files": files, "sources": sources, "counts": dict(found.counts), "notes": list(found.notes)}


def changed_settings(before: Mapping[str, Any], recipe: EngineRecipe, identities: Mapping[str, Any]) -> list[str]:
    """Return sentences about changed settings that a run depends on."""
    old = {name: before["recipe"].get(name) for name in ("product", "seed")} | before["identities"]
    new = {"product": recipe.product, "seed": recipe.seed, **identities}
    return list(_differences(old, new, ""))


def _differences(old: Any, new: Any, where: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), f"{where}.{name}" if where else str(name))
    elif old != new:
        yield f"{where} was {short(old)} and is {short(new)}"


def changed_sources(snapshot: Path, sources: Sequence[Source]) -> list[str]:
    """Return sentences about the differences of the sources from those of the snapshot."""
    try:
        with open(snapshot, encoding="utf-8") as stream:
            before = {one.id: one.digest for one in map(Source.from_json, map(json.loads, stream))}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return [f"the sources are others, and the earlier ones cannot be read from {snapshot}"]
    now = {source.id: source.digest for source in sources}
    kinds = {
        "new": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    said = [f"{len(names)} source(s) are {kind} ({listed(names)})" for kind, names in kinds.items() if names]
    return said or ["the sources are others, or in another order"]


def refuse_changes(folder: Path, changes: Sequence[str]) -> EngineError:
    """Return the error about a folder that holds another run."""
    said = listed(changes, _MOST_NAMED, "; ")
    return EngineError(
        f"{folder} holds a run that differs: {said}. Give another output.folder (--out) for a run of its own, or "
        "accept the changes (--accept-changes): work that does not depend on them is kept, and the rest is done again."
    )
