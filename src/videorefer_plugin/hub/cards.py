"""Model cards and data set cards: their text, and the metadata that the Hub reads."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from videorefer_plugin._kinds import MAPPING, check_kind
from videorefer_plugin.errors import PublishError
from videorefer_plugin.hub.client import check_repo_id
from videorefer_plugin.hub.contents import FolderContents, read_json
from videorefer_plugin.hub.run_summary import HUB_ID, RunSummary

__all__ = ["dataset_card", "engine_card", "model_card"]

_PIPELINE_TAG = "image-text-to-text"  # the nearest task of transformers.pipelines, which has none for videos
_TASK = "video-text-to-text"  # as the Hub lists it
_TAGS = ("videorefer", "video", "referring", "region")

# Identifiers that the Hub accepts; any other license becomes "other" with its name beside it.
# fmt: off
_HUB_LICENSES = frozenset((
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-3.0",
    "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "gpl",
    "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail",
    "bigscience-openrail-m", "creativeml-openrail-m", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3",
    "gemma",
))
# fmt: on

_USAGE = {
    "model": """\
import videorefer_plugin as vr
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo_id}")
processor = AutoProcessor.from_pretrained("{repo_id}")

# An object is marked in any frame of the video, here by a box (x0, y0, x1, y1) in pixels of frame 0.
region = vr.Region.from_box((8, 8, 40, 40), frame=0)
question = "What is <region> doing?"
print(vr.ask(model, "video.mp4", question, regions=[region], processor=processor, max_new_tokens=64))
""",
    "host": """\
import videorefer_plugin
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("{repo_id}")
processor = AutoProcessor.from_pretrained("{repo_id}")

inputs = processor(text="<video>\\nWhat happens here?", videos="video.mp4", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=64)
print(processor.decode(output[0], skip_special_tokens=True))
""",
    "adapter": """\
import videorefer_plugin as vr
from peft import PeftModel
from transformers import {auto}, AutoProcessor

base = "{base}"
model = {auto}.from_pretrained(base)
{load}model = PeftModel.from_pretrained(model, "{repo_id}")
processor = AutoProcessor.from_pretrained({processor})
""",
    "object_encoder": """\
import videorefer_plugin as vr
from transformers import {auto}, AutoProcessor

base = "{base}"
model = {auto}.from_pretrained(base)
{load}processor = AutoProcessor.from_pretrained({processor})
""",
}
_LOAD_ENCODER = 'vr.load_object_encoder(model, "{repo_id}")\n'


def model_card(contents: FolderContents, run: RunSummary | None, repo_id: str) -> tuple[dict[str, Any], str]:
    """Write the model card of a folder.

    Args:
        contents ([`FolderContents`]): the folder.
        run ([`RunSummary`], *optional*): the facts about the run.
        repo_id (`str`): the repository to publish to.

    Returns:
        `tuple[dict, str]`: the metadata for the card's head, and its text.
    """
    base = _base_model(contents, run)
    text = _render(
        "model_card.md.jinja",
        repo_id=repo_id,
        kind=contents.kind,
        facts=_facts(contents),
        usage=_usage(contents, base, repo_id),
        run=run,
        base=base,
    )
    return _metadata(contents, run, base, repo_id), text


def dataset_card(report: dict[str, Any], repo_id: str, license: str | None = None) -> str:
    """Write a card for data in the format of VideoRefer-700K.

    Args:
        report (`dict`):
            The contents of the data: numbers and strings become rows of the first table, dictionaries become further
            tables, and `files` (a list of paths) the names of the files. Everything else is left out.
        repo_id (`str`): the repository to publish to.
        license (`str`, *optional*): identifier of the data's license.

    Returns:
        `str`: the card, with its metadata.
    """
    check_kind(PublishError, MAPPING, report=report)
    check_repo_id(repo_id)
    plain = (str, int, float)
    tables = {
        name: [(key, value) for key, value in rows.items() if isinstance(value, plain)]
        for name, rows in report.items()
        if isinstance(rows, dict)
    }
    files = [os.path.basename(str(path)) for path in report.get("files", [])]
    text = _render(
        "dataset_card.md.jinja",
        repo_id=repo_id,
        counts=[(name, value) for name, value in report.items() if isinstance(value, plain)],
        tables={name: rows for name, rows in tables.items() if rows},
        files=files,
    )
    data = DatasetCardData(
        **_license(license),
        task_categories=["visual-question-answering", _TASK],
        tags=[*_TAGS],
        pretty_name=repo_id.split("/")[-1],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def engine_card(facts: dict[str, Any], repo_id: str) -> tuple[dict[str, Any], str]:
    """Write a card for data that the data engine made.

    Args:
        facts (`dict`): the result of `data_engine.publishing.card_facts`.
        repo_id (`str`): the repository to publish to.

    Returns:
        `tuple[dict, str]`: the metadata for the card's head, and its text.
    """
    licenses = [name for name, _ in facts["licenses"]] + ["unknown"] * bool(facts["unknown"])
    data = DatasetCardData(
        **_license(licenses[0] if len(licenses) == 1 else "several"),  # the card lists them
        task_categories=["visual-question-answering", _TASK],
        tags=[*_TAGS, "synthetic"],
        pretty_name=repo_id.split("/")[-1],
        configs=[{"config_name": "default", "data_files": facts["files"][0]}],
    )
    return data.to_dict(), _render("engine_card.md.jinja", repo_id=repo_id, **facts)


# ---------------------------------------------------------------------- contents of cards


def _facts(contents: FolderContents) -> list[tuple[str, Any]]:
    config = contents.config
    facts: list[tuple[str, Any]] = [("Parameters", f"{contents.num_parameters:,}")]
    if contents.kind == "model":
        text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
        facts += [
            ("Language model", f"{text['model_type']}, {text['num_hidden_layers']} layers" if text else None),
            ("Vision tower", _vision_of(vision)),
            ("Frames of a clip", config.get("num_frames")),
            ("Weights in", config.get("dtype")),
        ]
        config = config.get("object_encoder_config") or {}
    elif contents.kind == "adapter":
        facts += [("Adapter", config.get("peft_type")), ("Rank", config.get("r")), ("Alpha", config.get("lora_alpha"))]
    if contents.kind != "model":
        config = _encoder_config(contents) or {}
        facts.append(("Made for", config.get("host_model_type")))
        config = config.get("object_encoder") or {}
    facts.append(("Tokens of an object, at most", config.get("max_tokens_per_region")))
    facts.append(("Tokens of an object in a frame, at most", config.get("max_tokens_per_mask")))
    return [(name, value) for name, value in facts if value is not None]


def _vision_of(vision: dict[str, Any]) -> str | None:
    if not vision:
        return None
    size = f"{vision['image_size']} pixels" if "image_size" in vision else "pictures of any size"
    return f"{vision['model_type']}, {size}"


def _usage(contents: FolderContents, base: str | None, repo_id: str) -> str:
    kind, config = contents.kind, contents.config
    if kind == "model" and config.get("model_type") not in ("videorefer", "videorefer_videollama3"):
        kind = "host"
    encoder = _encoder_config(contents)
    ours = encoder is None or encoder.get("host_model_type", "videorefer") == "videorefer"
    code = _USAGE[kind].replace("{load}", _LOAD_ENCODER if encoder is not None else "")
    code = code.replace("{auto}", "AutoModel" if ours else "AutoModelForImageTextToText")
    code = code.replace("{processor}", '"{repo_id}"' if contents.has_processor else "base")
    return code.replace("{repo_id}", repo_id).replace("{base}", base or "path/to/the/base/model").rstrip("\n")


def _encoder_config(contents: FolderContents) -> dict[str, Any] | None:
    name = "object_encoder_config.json"
    return read_json(contents.folder / name) if name in contents.files else None


def _base_model(contents: FolderContents, run: RunSummary | None) -> str | None:
    """Hub id of the base model; a local path of the machine of the run is not published."""
    recorded = contents.config.get("base_model_name_or_path")
    candidates = [recorded, run.base_model if run else None]
    return next((name for name in candidates if _is_hub_id(name)), None)


def _is_hub_id(name: Any) -> bool:
    return isinstance(name, str) and HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def _metadata(contents: FolderContents, run: RunSummary | None, base: str | None, repo_id: str) -> dict[str, Any]:
    libraries = {"model": "transformers", "adapter": "peft", "object_encoder": "videorefer-plugin"}
    values: dict[str, Any] = {
        "library_name": libraries[contents.kind],
        "pipeline_tag": _PIPELINE_TAG,
        "tags": [*_TAGS, _TASK, *(["custom_code"] if contents.kind == "model" else [])],
        **_license(run.license if run else None),
    }
    if base is not None:
        values["base_model"] = base
        values["base_model_relation"] = "finetune" if contents.kind == "model" else "adapter"
    if run is not None:
        datasets = list(dict.fromkeys(file.hub_id for file in run.data if file.hub_id))
        if datasets:
            values["datasets"] = datasets
        if run.results:
            values["model_name"] = repo_id.split("/")[-1]
            values["eval_results"] = [_eval_result(result) for result in run.results]
    return ModelCardData(**values).to_dict()


def _eval_result(result: Any) -> EvalResult:
    slug = re.sub(r"[^a-z0-9]+", "-", result.benchmark.lower()).strip("-")
    judged = f"{result.metric} (judge: {result.judge})" if result.judge else result.metric
    return EvalResult(
        task_type=_PIPELINE_TAG,
        dataset_type=slug,
        dataset_name=result.benchmark,
        dataset_split=result.split,
        metric_type=re.sub(r"[^a-z0-9]+", "_", result.metric.lower()).strip("_"),
        metric_name=judged,
        metric_value=result.value,
        # Numbers of one metric by two judges are two results; the arguments keep the Hub from joining them.
        metric_args={"judge": result.judge} if result.judge else None,
    )


def _license(license: str | None) -> dict[str, Any]:
    if license is None:
        return {}
    name = license.strip().lower().replace(" ", "-")
    return {"license": name} if name in _HUB_LICENSES else {"license": "other", "license_name": name}


# ---------------------------------------------------------------------- templates


def _cell(value: Any) -> str:
    """A value on one line of a table."""
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _fence(code: str, language: str) -> str:
    """A block of code, fenced by more backticks than the code has in a row."""
    ticks = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 3)
    return f"{ticks}{language}\n{code.rstrip()}\n{ticks}"


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{hours:.1f} h"


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _template_folder() -> Path:
    try:
        hub_cards = importlib.import_module("videorefer_plugin.hub_cards")
    except ImportError:
        # In a checkout that was not installed, the folder lies beside `src`.
        return Path(__file__).resolve().parents[3] / "hub_cards"
    return Path(hub_cards.__path__[0])


def _render(name: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_template_folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, and table cells are escaped by `cell`
    )
    environment.filters.update(cell=_cell, fence=_fence, duration=_duration, heading=_heading)
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(name).render(**values)).strip() + "\n"
