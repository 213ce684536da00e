"""Model cards and data set cards: what they say, and what they leave alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from transformers.pipelines import PIPELINE_REGISTRY

import videorefer_plugin as vr
from videorefer_plugin.hub import DataFile, Recipe, Result, RunSummary, dataset_card, prepare_folder
from videorefer_plugin.hub.card_files import compose, is_ours, is_untouched

ROOT = Path(__file__).resolve().parents[1]

RUN = RunSummary(
    recipe=Recipe("tiny/stage3", "train:\n  # ```\n  lr: 0.001\n"),
    base_model="DAMO-NLP-SG/VideoLLaMA2.1-7B-16F",
    data=[DataFile("/data/me/stage3.jsonl", 120, "DAMO-NLP-SG/VideoRefer-700K", {"videos": 100, "regions": 340})],
    hyperparameters={"learning_rate": 2e-5, "a|b": "<c>"},
    seeds=[17],
    steps=75,
    seconds=4000.0,
    hardware="2 x NVIDIA H100",
    results=[
        Result("VideoRefer-Bench-D", "average", 3.46, "gpt-4o-2024-08-06", "single", "2026-02-01"),
        Result("VideoRefer-Bench-D", "average", 3.12, "qwen3-32b", "single"),
        Result("HC-STVG", "METEOR", 18.7, None),
    ],
    versions={"torch": "2.9.0", "transformers": "5.23.0", "videorefer-plugin": "0.1.0"},
    license="Apache-2.0",
)


@pytest.fixture(scope="module")
def saved(shared_model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards") / "folder"
    shared_model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "folder")


def card_of(folder, **kwargs):
    card = prepare_folder(folder, "me/model", **kwargs).card
    return yaml.safe_load(card.split("---\n")[1]), card


# --- the card of a run -----------------------------------------------------------------------------------------------


def test_a_card_says_what_the_run_summary_says(folder):
    RUN.save(folder)
    metadata, card = card_of(folder)
    assert metadata["license"] == "apache-2.0"
    assert metadata["base_model"] == "DAMO-NLP-SG/VideoLLaMA2.1-7B-16F"
    assert metadata["datasets"] == ["DAMO-NLP-SG/VideoRefer-700K"]
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] in PIPELINE_REGISTRY.get_supported_tasks()
    assert "video-text-to-text" in metadata["tags"]
    for words in (
        "`tiny/stage3`",
        "| learning_rate | 2e-05 |",
        "Steps: 75",
        "Time: 67 min",
        "2 x NVIDIA H100",
        "Seeds: 17",
        "stage3.jsonl | 120 | 100 videos, 340 regions |",
        "- transformers 5.23.0",
        "a\\|b | &lt;c>",
        "````yaml\ntrain:\n  # ```",
    ):
        assert words in card
    assert "/data/me" not in card


def test_results_name_their_judge_in_the_text_and_in_the_metadata(folder):
    RUN.save(folder)
    metadata, card = card_of(folder)
    assert "| VideoRefer-Bench-D | single | average | 3.46 | gpt-4o-2024-08-06 | 2026-02-01 |" in card
    assert "| HC-STVG |  | METEOR | 18.7 | none |  |" in card
    metrics = [metric for result in metadata["model-index"][0]["results"] for metric in result["metrics"]]
    assert [metric["value"] for metric in metrics] == [3.46, 3.12, 18.7]
    assert [metric["name"] for metric in metrics] == [
        "average (judge: gpt-4o-2024-08-06)",
        "average (judge: qwen3-32b)",
        "METEOR",
    ]
    assert len(ModelCard(card).data.eval_results) == 3  # the Hub's own reader takes them as they are


def test_what_is_unknown_is_left_out(folder):
    metadata, card = card_of(folder)
    assert set(metadata) == {"library_name", "pipeline_tag", "tags"}
    assert "## Usage" in card
    for heading in ("## Results", "## Training", "## Versions", "## License", "None", "[More Information Needed]"):
        assert heading not in card
    RunSummary(steps=3).save(folder)
    assert "- Steps: 3\n" in card_of(folder)[1]
    assert "Recipe" not in card_of(folder)[1]


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("mit", {"license": "mit"}),
        ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("My Own", {"license": "other", "license_name": "my-own"}),
    ],
)
def test_licenses_are_those_that_the_hub_knows_or_other(license, expected, folder):
    RunSummary(license=license).save(folder)
    metadata, _ = card_of(folder)
    assert {key: value for key, value in metadata.items() if key.startswith("license")} == expected


@pytest.mark.spread(2)
@pytest.mark.parametrize("base", ["/data/models/VideoLLaMA2.1", "./models/base", "~/base", "C:\\models\\base"])
def test_a_base_model_in_a_folder_is_named_but_not_linked(base, folder):
    RunSummary(base_model=base).save(folder)
    metadata, card = card_of(folder)
    assert "base_model" not in metadata
    assert base not in card
    assert re.search(r"Started from: `(VideoLLaMA2\.1|base)`", card)


def test_the_code_in_the_card_is_valid(folder):
    code = re.search(r"```python\n(.*?)```", card_of(folder)[1], re.DOTALL).group(1)
    compile(code, "card", "exec")
    assert 'from_pretrained("me/model")' in code


# --- the summary -----------------------------------------------------------------------------------------------------


def test_a_summary_survives_its_file(tmp_path):
    RUN.save(tmp_path)
    assert RunSummary.load(tmp_path) == RUN
    assert RunSummary.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 1}, "did you mean 'steps'"),
        ({"steps": "75"}, "steps must be of type int"),
        ({"steps": True}, "steps must be of type int"),
        ({"data": {"name": "x"}}, "data must be of type list"),
        ({"data": [{"records": 1}]}, r"data\[0\] lacks 'name'"),
        ({"data": [{"name": "x", "counts": {"videos": "many"}}]}, r"counts\.videos must be of type int"),
        ({"results": [{"benchmark": "D", "metric": "a", "value": 1.0}]}, "'judge' .null if no model judged"),
        ({"recipe": "stage3"}, "recipe must be an object"),
    ],
)
def test_a_malformed_summary_is_refused_with_its_place(values, message, tmp_path):
    (tmp_path / "videorefer_run.json").write_text(json.dumps(values))
    with pytest.raises(vr.PublishError, match=message):
        RunSummary.load(tmp_path)


# --- cards that are there --------------------------------------------------------------------------------------------


def test_a_card_of_ours_is_known_until_its_text_is_edited():
    card = compose({"tags": ["a"]}, "# Model\n\nText.", [])
    assert is_ours(card)
    assert is_ours(card.replace("\n", "\r\n"))
    assert is_ours(card.replace("tags:", "language: en\ntags:"))
    assert not is_ours(card + "More.\n")
    assert not is_ours("# Model\n\nText.\n")


def test_forms_that_libraries_leave_are_not_taken_for_handwriting():
    form = str(ModelCard.from_template(ModelCardData(library_name="peft")))
    assert is_untouched(form)
    assert is_untouched(form + "\n### Framework versions\n\n- PEFT 0.21.2")
    sentence = "This is the model card of a transformers model. This model card has been automatically generated."
    assert is_untouched(str(ModelCard.from_template(ModelCardData(), model_description=sentence)))
    assert not is_untouched(form.replace("## Uses", "## Uses\n\nFor dogs."))
    assert not is_untouched(str(ModelCard.from_template(ModelCardData(), model_description="My model.")))


def test_metadata_written_by_hand_stays_and_ours_is_renewed():
    first = compose({"library_name": "peft", "base_model": "a/old", "tags": ["one"]}, "# Model", [])
    edited = first.replace("library_name: peft", "library_name: mine\nlanguage: nl").replace("- one", "- one\n- own")
    second = edited
    for _ in range(2):  # what is kept once is kept again
        second = compose({"library_name": "transformers", "tags": ["two"]}, "# Model", [second])
        metadata = yaml.safe_load(second.split("---\n")[1])
        assert metadata["library_name"] == "mine"
        assert metadata["language"] == "nl"
        assert set(metadata["tags"]) >= {"two", "own"}
        assert "base_model" not in metadata


@pytest.mark.parametrize("head", ["tags: [", "- a\n- b", "a: b: c"])
def test_unreadable_metadata_is_an_error_and_not_a_loss(head, folder):
    (folder / "README.md").write_text(f"---\n{head}\n---\n\n# Mine\n")
    with pytest.raises(vr.PublishError):
        prepare_folder(folder, "me/model")
    assert head in (folder / "README.md").read_text()


# --- the card of a data set ------------------------------------------------------------------------------------------


def test_a_data_card_shows_the_counts_of_a_report():
    report = {
        "files": ["/data/me/train.jsonl"],
        "records": 120,
        "bad": 0,
        "kinds": {"video": 100, "image": 20},
        "problems": [{"line": 3}],
    }
    card = dataset_card(report, "me/records", license="cc-by-4.0")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert "| records | 120 |" in card
    assert "| bad | 0 |" in card
    assert "## Kinds" in card
    assert "| image | 20 |" in card
    assert "videorefer train check train.jsonl" in card
    assert "/data/me" not in card


# --- packaging -------------------------------------------------------------------------------------------------------


def _data_files(source):
    """Files other than modules that the installed package reads, by their names in a wheel: all but notes on them."""
    roots = {source / "src" / "videorefer_plugin": ""} | {
        source / name: f"{name}/" for name in ("hub_cards", "recipes", "patches")
    }
    found = [
        f"videorefer_plugin/{prefix}{path.relative_to(root).as_posix()}"
        for root, prefix in roots.items()
        for path in root.rglob("*")
        if path.is_file() and (path.suffix != ".py" or prefix)
    ]
    assert {Path(name).suffix for name in found} >= {".jinja", ".yaml", ".safetensors", ".typed", ".mp4"}
    return found


def test_a_wheel_carries_all_files_and_the_templates_where_the_library_looks_for_them(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    hidden = shutil.ignore_patterns(".*", "tests", "build", "dist", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=hidden)
    wheels.mkdir()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    built = subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    modules = [path.relative_to(source / "src").as_posix() for path in source.glob("src/videorefer_plugin/**/*.py")]
    assert len(modules) > 300
    assert set(modules) <= set(names)
    assert [name for name in _data_files(source) if name not in names] == []
    assert not [name for name in names if name.split("/")[0] in ("docs", "tests")]
    code = (
        "import videorefer_plugin, videorefer_plugin.hub_cards as cards\n"
        "from videorefer_plugin.hub.cards import _template_folder, dataset_card\n"
        "assert str(_template_folder()) == cards.__path__[0], _template_folder()\n"
        "print(dataset_card({'records': 3}, 'me/data'), cards.__doc__)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "| records | 3 |" in found.stdout
