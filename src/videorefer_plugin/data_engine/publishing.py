"""Publishing of a run's records, their provenance, and a card as a data set on the Hub, without videos."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from videorefer_plugin._addresses import without_secrets
from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import STAGES
from videorefer_plugin.data_engine.items import token_words
from videorefer_plugin.data_engine.local_names import LocalNames
from videorefer_plugin.data_engine.record_output import FORMATS, record_output
from videorefer_plugin.data_engine.records import REPORT, RUN, is_unknown_license, read_report, record_files
from videorefer_plugin.data_engine.review import is_of, read_filled
from videorefer_plugin.errors import ConfigurationError, EngineError, PublishError
from videorefer_plugin.hub.card_files import CARD_CHOICES, compose
from videorefer_plugin.hub.cards import engine_card
from videorefer_plugin.hub.client import check_repo_id, explained, hub_api
from videorefer_plugin.hub.contents import read_json
from videorefer_plugin.hub.folder import CARD
from videorefer_plugin.hub.publish import PublishReport, kept_card
from videorefer_plugin.hub.selection import check_secrets, link_fault
from videorefer_plugin.training.record_files import open_record_file

__all__ = ["card_facts", "publish_data"]

AGENTS = "agents.json"
_SHORTEST = 60  # characters of a setting that a card shows; agents.json has all of them


def publish_data(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    media_root: str | os.PathLike | None = None,
    allow_unknown_licenses: bool = False,
    private: bool | None = None,
    dry_run: bool = False,
    card: str = "auto",
    token: str | bool | None = None,
) -> PublishReport:
    """Publish the records of a run as a data set, in one commit. The folder is not changed.

    The repository gets the kept records, with names of videos relative to a folder of videos, `provenance.jsonl`,
    `agents.json` with the identities of the agents, and a card. Videos, discarded records and paths of this machine
    are not uploaded.

    Args:
        folder (`str` or `os.PathLike`): folder of a finished run.
        repo_id (`str`): repository to publish to, which is created if necessary.
        media_root (`str` or `os.PathLike`, *optional*):
            Folder that the published names of videos are relative to. Default: the deepest one that holds all videos.
        allow_unknown_licenses (`bool`): publish also if some sources name no license.
        private (`bool`, *optional*): whether a new repository is private.
        dry_run (`bool`): check everything and report, without asking the Hub for anything.
        card (`str`): treatment of a card on the Hub that was written by hand; see [`publish`].
        token (`str` or `bool`, *optional*): access token. Default: that of `hf auth login` or `HF_TOKEN`.

    Raises:
        PublishError: a file of the run is a link that leads out of its folder, licenses are unknown, there are no
            records, the card or an agent's settings seem to hold a key, or the Hub refused them.
        EngineError: the folder is not that of a finished run.
        ConfigurationError: `card` is unknown.
    """
    if card not in CARD_CHOICES:
        raise ConfigurationError(f"card must be one of {', '.join(map(repr, CARD_CHOICES))}, but is {card!r}.")
    check_repo_id(repo_id)
    check_kind(PublishError, PATH, folder=folder)
    check_kind(PublishError, PATH, optional=True, media_root=media_root)
    folder = Path(folder)
    records, provenance = record_files(folder)
    _check_own(folder, records, provenance)
    unknown = _check(folder, provenance, allow_unknown_licenses)
    names = LocalNames(folder, _media(records), None if media_root is None else Path(media_root))
    with tempfile.TemporaryDirectory(prefix="videorefer-publish-") as scratch:
        paths = _write(Path(scratch), records, provenance, folder, names)
        facts = card_facts(folder, names, [path.name for path in paths], unknown)
        metadata, text = engine_card(facts, repo_id)
        new = compose(metadata, text, [])
        check_secrets(Path(scratch), [path.name for path in paths if path.name == AGENTS], {CARD: new})
        if dry_run:
            return PublishReport(repo_id, _sizes(paths, new), _left_out(folder, paths), new)
        api, token = hub_api(token)
        with explained(repo_id, token):
            repo_id = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True).repo_id
            remote = api.list_repo_files(repo_id, repo_type="dataset")
            there = None
            if CARD in remote:
                found = api.hf_hub_download(repo_id, CARD, repo_type="dataset")
                there = Path(found).read_text(encoding="utf-8")
        kept = kept_card(Path(CARD), None, there, card)
        if kept is None:
            new = compose(metadata, text, [there] if there is not None else [])
        stale = [name for form in FORMATS if (name := f"records.{form}") in remote and name != records.name]
        additions = [CommitOperationAdd(path.name, path) for path in paths]
        additions += [CommitOperationAdd(CARD, new.encode())] if kept is None else []
        with explained(repo_id, token):
            commit = api.create_commit(
                repo_id,
                [*additions, *(CommitOperationDelete(name) for name in stale)],
                repo_type="dataset",
                commit_message="Publish records of the data engine with videorefer-plugin",
            )
        return PublishReport(
            repo_id,
            _sizes(paths, new if kept is None else None),
            _left_out(folder, paths),
            kept or new,
            stale,
            commit,
        )


def _check_own(folder: Path, records: Path, provenance: Path) -> None:
    """Make sure that the files to publish are in this folder."""
    for path in (records, provenance, folder / RUN, folder / REPORT):
        if os.path.lexists(path) and (fault := link_fault(folder, path)):
            raise PublishError(f"{path} is {fault}. Put the file itself there.")


def _check(folder: Path, provenance: Path, allow: bool) -> int:
    """Make sure that there are records, and that their licenses are known; return the number of unknown ones."""
    total = unknown = 0
    examples: dict[str, None] = {}
    for line in _lines(provenance):
        total += 1
        if is_unknown_license(line["source"].get("license")):
            unknown += 1
            if len(examples) < 3:
                examples[str(line["source"]["id"])] = None
    if not total:
        raise PublishError(f"{folder} holds no records that were kept, so there is nothing to publish.")
    if unknown and not allow:
        raise PublishError(
            f"The license of the sources of {unknown} of {total} record(s) is unknown, such as of "
            f"{', '.join(map(repr, examples))}. Give it in the table of sources (source.columns, or source.license of "
            "the recipe), or publish all the same with --allow-unknown-licenses; the card then says so."
        )
    return unknown


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with open(path, encoding="utf-8") as stream:
            for number, text in enumerate(stream, 1):  # noqa: B007 - named in the error
                line = json.loads(text)
                _check_shapes(line, {"record": str, "source": dict, "objects": list})
                _check_shapes(line["source"], {"id": str})
                yield line
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise EngineError(
            f"Line {number or 1} of {path} cannot be read ({error!r}); write the records again."
        ) from error


def _check_shapes(value: Any, wanted: Mapping[str, type]) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"it is {short(value)}")
    for name, kind in wanted.items():
        if not isinstance(value.get(name), kind):
            raise TypeError(f"its {name!r} is {short(value.get(name))}")


def _records(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each record, and whether it is about a "video" or an "image"."""
    for entry in open_record_file(path).scan():
        value = entry.value
        try:
            _check_shapes(value, {"id": str, "annotation": list})
            (kind,) = {"video", "image"} & value.keys()
            _check_shapes(value, {kind: str})
        except (TypeError, ValueError) as error:
            raise EngineError(
                f"{path}, line {entry.line}, holds no record of the data engine, which has an id, a video or an "
                f"image, and objects ({entry.reason or error}); write the records again (videorefer data run)."
            ) from error
        yield value, kind


def _media(records: Path) -> Iterator[str]:
    for value, kind in _records(records):
        yield value[kind]


def _write(scratch: Path, records: Path, provenance: Path, folder: Path, names: LocalNames) -> list[Path]:
    """Write the files to publish, except the card, to a separate folder."""
    target = scratch / records.name
    with (
        record_output(str(target), records.suffix[1:]) as output,
        open(scratch / provenance.name, "w", encoding="utf-8") as lines,
    ):
        for entry, line in itertools.zip_longest(_records(records), _lines(provenance)):
            if entry is None or line is None or entry[0]["id"] != line["record"]:
                raise EngineError(f"{provenance} does not belong to {records}; write the records again.")
            record, kind = entry
            named = names.name(record[kind])
            masks = record.pop("annotation")  # only numbers
            record = {**names.clean(record), kind: named, "annotation": masks}
            output.write(record)
            lines.write(json.dumps(without_secrets(_clean_line(line, names, record["id"], named))) + "\n")
    run = _run(folder)
    keys = run["keys"]
    agents = {keys.get(stage, stage): {"stage": stage, **identity} for stage, identity in run["identities"].items()}
    (scratch / AGENTS).write_text(
        json.dumps(without_secrets(names.clean(agents, paths=True)), indent=1) + "\n", encoding="utf-8"
    )
    return [target, scratch / provenance.name, *([scratch / AGENTS] if agents else [])]


def _clean_line(line: dict[str, Any], names: LocalNames, record: str, path: str) -> dict[str, Any]:
    """Return a line of the provenance without paths, which still belongs to its record and keeps the agents' texts."""
    ending = line["record"].removeprefix(line["source"]["id"])
    line = names.clean(line)
    line["record"] = record
    line["source"] |= {"id": record.removesuffix(ending), "path": path}
    for item in line["objects"]:
        for stage, words in (
            ("segmentor", "notes"),
            ("reviewer", "reason"),
        ):  # texts of the program, not of the agents
            made = item.get(stage) if isinstance(item, dict) else None
            if isinstance(made, dict) and words in made:
                made[words] = names.clean(made[words], paths=True)
    return line | {name: names.clean(line[name], paths=True) for name in ("agents",) if name in line}


def _run(folder: Path) -> dict[str, Any]:
    """Return the contents of `run.json` with all parts, which are empty if they are missing."""
    parts = {"recipe": dict, "identities": dict, "keys": dict, "read": dict}
    run: dict[str, Any] = {"version": None, **{name: {} for name in parts}}
    if (folder / RUN).is_file():
        run |= read_json(folder / RUN)
    try:
        _check_shapes(run, parts)
        _check_shapes(run["identities"], dict.fromkeys(run["identities"], dict))
        _check_shapes(run["keys"], dict.fromkeys(run["keys"], str))
        _check_shapes({"source": {}, **run["recipe"]}, {"source": dict})
        _check_shapes({"counts": {}, "notes": [], **run["read"]}, {"counts": dict, "notes": list})
        excluded = run["recipe"].get("source", {}).get("exclude")
        _check_shapes({"exclude": excluded or []}, {"exclude": list})
    except TypeError as error:
        raise EngineError(
            f"{folder / RUN} does not describe the run ({error}); start the run again, which writes it again."
        ) from error
    return run


def _sizes(paths: list[Path], card: str | None) -> dict[str, int]:
    sizes = {path.name: path.stat().st_size for path in paths}
    return sizes if card is None else {CARD: len(card.encode()), **sizes}


def _left_out(folder: Path, paths: list[Path]) -> dict[str, str]:
    published = {path.name for path in paths}
    reasons = {"discarded": "the Reviewer discarded it", "sources": "holds paths of this machine"}
    return {
        path.name: reasons.get(path.name.split(".")[0].split("_")[0], "no part of the data")
        for path in sorted(folder.iterdir())
        if path.name not in published and not path.name.startswith(".")
    }


# --- the card --------------------------------------------------------------------------------------------------------


def card_facts(folder: Path, names: LocalNames, files: list[str], unknown: int) -> dict[str, Any]:
    """Return the contents of a run's card; see `engine_card.md.jinja`.

    Args:
        folder (`Path`): folder of the run.
        names ([`LocalNames`]): removes paths of this machine.
        files (`list[str]`): names of the published files, the records first.
        unknown (`int`): number of records whose source names no license.

    Raises:
        PublishError: `report.json` or `run.json` cannot be read.
        EngineError: they hold something else.
    """
    report = names.clean(read_report(folder).to_json(), paths=True)
    run = names.clean(_run(folder), paths=True)
    recipe, read = run["recipe"], run["read"]
    media = [(f"about {kind}s", count) for kind, count in report["media"].items()]
    lost = [
        (stage, kind, count)
        for part in ("failed", "dropped")
        for stage, kinds in report[part].items()
        for kind, count in kinds.items()
    ]
    excluded = recipe.get("source", {}).get("exclude") or []
    return {
        "product": report["product"],
        "files": files,
        "counts": [
            ("recipe", report["name"]),
            ("records", report["records"]),
            *(media if len(media) > 1 else []),
            ("questions and answers", report["turns"]),
            ("sources", report["sources"]),
            ("objects in them", report["objects"]),
            ("records that the Reviewer discarded", report["discarded"]),
        ],
        "records": report["records"],
        "retained": report["retained"],
        "questions": list(report["questions"].items()),
        "agents": _agents(run),
        "spent": [_spent(stage, spent) for stage, spent in report["spent"].items()],
        "reviewer": _checked(folder),
        "lost": lost,
        "read": list(read.get("counts", {}).items()),
        "notes": list(read.get("notes", [])),
        "excluded": [os.path.basename(str(name)) for name in excluded],
        "licenses": [(name, count) for name, count in report["licenses"].items() if not is_unknown_license(name)],
        "unknown": unknown,
        "addresses": report["addresses"],
        "seed": recipe.get("seed", 0),
        "version": run["version"],
    }


def _spent(stage: str, spent: Mapping[str, Any]) -> tuple[Any, ...]:
    tokens = [
        token_words(spent[name], spent["calls"], spent.get("uncounted", 0))
        for name in ("input_tokens", "output_tokens")
    ]
    return stage, spent["calls"], *tokens, spent["cost"]


def _agents(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for stage in STAGES:
        identity = run["identities"].get(stage)
        if identity is None:
            continue
        settings = [
            (name, value)
            for name, value in identity.items()
            if name != "backend" and value is not None and isinstance(value, (str, int, float)) and _fits(value)
        ]
        found.append(
            {
                "stage": stage,
                "backend": identity.get("backend", ""),
                "identity": run["keys"].get(stage),
                "settings": settings,
            }
        )
    return found


def _fits(value: Any) -> bool:
    return len(str(value)) <= _SHORTEST and "\n" not in str(value)


def _checked(folder: Path) -> dict[str, Any] | None:
    """Return the results of a check of the Reviewer by people, if there was one and the records are still the same."""
    try:
        checked = read_filled(folder)
        if not is_of(checked.sample, folder):
            return None
    except EngineError:
        return None
    people = checked.of_people
    by_people = people.tp + people.fp + people.fn + people.tn > 0
    table = people if by_people else checked.table
    interval = table.sample["precision"]["interval"]
    precision = (
        f"between {100 * interval[0]:.0f} and {100 * interval[1]:.0f} % of all, with 95 % confidence"
        if interval
        else ""
    )
    return {
        "judge": "people have checked" if by_people else "a file with the truth about them knew",
        "they": "they have checked" if by_people else "it knew",
        "checked_kept": table.tp + table.fp,
        "right": table.tp,
        "precision": precision,
        "checked_discarded": table.fn + table.tn,
        "missed": table.fn,
    }
