"""Publishing over HTTP: what arrives on a Hub loads in fresh interpreters, and a Hub that refuses is explained."""

import json
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import CHECKPOINT
from tests.hub_client import Client, environment, finish, start
from tests.hub_programs import LOAD, NOT_INSTALLED, SAVE, SAVE_PARTS
from tests.hub_server import READER, WRITER, HubServer
from tests.media import write_video

SHIMS = {"configuration_videorefer.py", "modeling_videorefer.py", "processing_videorefer.py"}
PUBLISH = "from videorefer_plugin.hub import publish; publish(folder, repo_id, **kwargs)"

TRUST = ", trust_remote_code=True"


@pytest.fixture(scope="session")
def hub():
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("publish")
    write_video(place / "video.mp4", 12)
    return place


@pytest.fixture(scope="session")
def client(hub, place):
    client = Client(environment(place / "home", hub.endpoint), place)
    yield client
    client.close()


@pytest.fixture(scope="session")
def saved(client, place):
    """A model and its processor, as `save_pretrained` left them."""
    client.runs(
        SAVE,
        checkpoint=str(CHECKPOINT),
        folder=str(place / "saved"),
        video=str(place / "video.mp4"),
        reference=str(place / "reference.safetensors"),
    )
    return place / "saved"


@pytest.fixture(scope="session")
def published(hub, client, saved, place):
    """The same, published as `me/tiny`."""
    folder = shutil.copytree(saved, place / "published")
    client.runs(PUBLISH, folder=str(folder), repo_id="me/tiny", kwargs={})
    return SimpleNamespace(folder=folder, files=hub.files("me/tiny"))


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "folder")


# --- loading what was published --------------------------------------------------------------------------------------


def load_code(place, before, flag, imported, source="me/tiny", name="copy"):
    return LOAD.format(
        before=before,
        flag=flag,
        imported=imported,
        source=source,
        reference=place / "reference.safetensors",
        video=place / "video.mp4",
        saved=place / name,
    )


@pytest.fixture(scope="session")
def loaded(hub, published, place):
    """Fresh interpreters that load the published model, all started at once: return code, output, errors."""
    usage = re.search(r"```python\n(.*?)```", published.files["README.md"].decode(), re.DOTALL).group(1)
    codes = {
        "imported": load_code(place, f"{usage}\nprint('the card ran')", "", True, name="imported"),
        "trusted": load_code(place, "", TRUST, False, name="trusted"),
        "not installed": NOT_INSTALLED,
    }
    processes = {}
    for name, code in codes.items():
        installed = name != "not installed"
        env = environment(place / f"home of {name}", hub.endpoint, with_plugin=installed)
        processes[name] = start(code, env, place, *([] if installed else ["-I"]))
    return {name: finish(process) for name, process in processes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["imported", "trusted"])
def test_the_published_model_loads_and_answers_as_before(way, loaded):
    code, out, err = loaded[way]
    assert code == 0, err
    facts = json.loads(out.splitlines()[-1])
    assert facts["classes"] == ["VideoReferForConditionalGeneration", "VideoReferProcessor"]
    assert facts["inputs"]
    assert facts["difference"] == 0.0


def test_without_the_package_the_error_names_it(loaded):
    code, out, err = loaded["not installed"]
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith("ImportError")]
    assert len(lines) == 2, out
    assert all("videorefer_plugin" in line for line in lines)
    assert out.count("pip install videorefer_plugin") == 2


def test_without_trust_the_processor_is_not_mistaken_for_a_tokenizer(loaded):
    assert "loaded without trust" in loaded["imported"][1]
    assert "loaded without trust" not in loaded["trusted"][1]
    assert "trust_remote_code=True" in loaded["trusted"][1]


def test_the_usage_block_of_the_card_runs(loaded):
    code, out, err = loaded["imported"]
    assert code == 0, err
    answer, ran, _ = out.partition("the card ran")
    assert ran
    assert answer.strip()


@pytest.mark.parametrize("way", ["imported", "trusted"])
def test_a_saved_copy_is_what_was_published(way, loaded, published, place):
    assert loaded[way][0] == 0
    written = {path.name: path.read_bytes() for path in (place / way).iterdir()}
    assert set(written) == set(published.files) - {"README.md", ".gitattributes"}
    for name in {*SHIMS, "config.json", "processor_config.json", "model.safetensors"}:
        assert written[name] == published.files[name], name


@pytest.mark.slow  # each of its files is the published one, as the test above says
def test_a_copy_saved_from_remote_code_loads_in_a_fresh_interpreter(hub, loaded, place):
    assert loaded["trusted"][0] == 0
    code = load_code(place, "", TRUST, False, source=place / "trusted", name="second")
    status, out, err = finish(start(code, environment(place / "home", hub.endpoint), place))
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["difference"] == 0.0


# --- what is uploaded ------------------------------------------------------------------------------------------------


def test_publish_uploads_weights_processor_shims_and_card(published):
    assert set(published.files) >= {
        "model.safetensors",
        "config.json",
        "processor_config.json",
        "tokenizer.json",
        "README.md",
        *SHIMS,
    }
    auto_map = json.loads(published.files["config.json"])["auto_map"]
    assert auto_map["AutoModel"] == "modeling_videorefer.VideoReferForConditionalGeneration"
    processor = json.loads(published.files["processor_config.json"])
    assert processor["auto_map"] == {"AutoProcessor": "processing_videorefer.VideoReferProcessor"}
    for name in SHIMS:
        lines = published.files[name].decode().splitlines()
        assert len(lines) == 2
        assert lines[1].startswith("from videorefer_plugin import ")


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("repo_id", "call"),
    [
        ("me/pushed", "model.push_to_hub('me/pushed')"),
        ("me/pushed-with", "model.push_to_hub('me/pushed-with', processor=processor)"),
        ("me/saved", "model.save_pretrained(folder, push_to_hub=True, repo_id='me/saved')"),
        ("me/both", "processor.push_to_hub('me/both'); model.push_to_hub('me/both')"),
        ("me/reversed", "model.push_to_hub('me/reversed'); processor.push_to_hub('me/reversed')"),
    ],
)
def test_pushing_a_model_gives_what_publishing_gives(repo_id, call, hub, client, published, saved, tmp_path):
    load = """
    from transformers import AutoModel, AutoProcessor
    import videorefer_plugin
    model, processor = AutoModel.from_pretrained(source), AutoProcessor.from_pretrained(source)
    """
    code = "\n".join(line.strip() for line in load.splitlines()) + call
    client.runs(code, source=str(saved), folder=str(tmp_path / "out"))
    files = hub.files(repo_id)
    assert set(files) == set(published.files)
    differing = {name for name in files if files[name] != published.files[name]}
    assert differing == {"README.md"}
    renamed = files["README.md"].decode().replace(repo_id, "me/tiny").replace(repo_id.split("/")[1], "tiny")
    assert body(renamed) == body(published.files["README.md"].decode())


def body(card: str) -> str:
    return card.split("-->\n", 1)[1].strip()


def test_push_to_hub_returns_the_commit(hub, client, saved):
    code = """
    from transformers import AutoModel
    import videorefer_plugin
    value = AutoModel.from_pretrained(source).push_to_hub("me/returned", commit_message="here it is").oid
    """
    assert client.runs(code, source=str(saved)) == hub.repos["me/returned"].branches["main"][-1][0]
    assert hub.repos["me/returned"].branches["main"][-1][1] == "here it is"


def test_a_model_without_any_processor_is_pushed_with_a_warning(hub, client, saved):
    code = """
    from transformers import AutoModel
    import videorefer_plugin
    model = AutoModel.from_pretrained(source)
    model.config.name_or_path = model.name_or_path = ""
    model.push_to_hub("me/mute")
    """
    answer = client.tries(code, source=str(saved))
    assert not answer.kind, answer.everything
    assert "processor.push_to_hub('me/mute')" in answer.said
    assert "processor_config.json" not in hub.files("me/mute")


def test_a_dry_run_asks_nothing_of_the_hub_and_writes_nothing(hub, client, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    requests = len(hub.requests)
    report = client.runs(
        """
        from videorefer_plugin.hub import publish
        report = publish(folder, "me/dry", dry_run=True)
        value = [report.files, report.card, report.commit]
        """,
        folder=str(folder),
    )
    assert report[0]["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert "# dry" in report[1]
    assert report[2] is None
    assert len(hub.requests) == requests
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_dry_run_lists_the_files_that_publishing_uploads(hub, client, folder):
    code = "from videorefer_plugin.hub import publish; value = publish(folder, 'me/listed', dry_run=dry).files"
    planned = client.runs(code, folder=str(folder), dry=True)
    assert client.runs(code, folder=str(folder), dry=False) == planned
    found = hub.files("me/listed")
    found.pop(".gitattributes")
    assert {name: len(content) for name, content in found.items()} == planned


def test_the_command_publishes(hub, client, folder):
    code = """
    from typer.testing import CliRunner
    from videorefer_plugin.cli import app
    result = CliRunner().invoke(app, arguments)
    value = [result.exit_code, result.output]
    """
    status, output = client.runs(code, arguments=["publish", str(folder), "me/command", "--dry-run"])
    assert status == 0, output
    assert "model.safetensors" in output
    assert "```python" in output
    assert "me/command" not in hub.repos
    status, output = client.runs(code, arguments=["publish", str(folder), "me/command", "--private"])
    assert status == 0, output
    assert hub.repos["me/command"].private
    assert "/me/command/commit/" in output
    (folder / "tokenizer.json").unlink()
    status, output = client.runs(code, arguments=["publish", str(folder), "me/command"])
    assert status == 1
    assert "processor" in output


def test_another_branch_and_a_pull_request_leave_main_alone(hub, client, folder):
    client.runs(PUBLISH, folder=str(folder), repo_id="me/branches", kwargs={"revision": "next"})
    client.runs(PUBLISH, folder=str(folder), repo_id="me/branches", kwargs={"create_pr": True})
    assert set(hub.files("me/branches")) == {".gitattributes"}
    assert "model.safetensors" in hub.files("me/branches", "next")
    assert "model.safetensors" in hub.files("me/branches", "refs/pr/1")


def test_weights_that_an_earlier_version_had_under_other_names_are_removed(hub, client, saved, folder, tmp_path):
    client.runs(PUBLISH, folder=str(folder), repo_id="me/shards", kwargs={})
    code = """
    from transformers import AutoModel, AutoProcessor
    import videorefer_plugin
    from videorefer_plugin.hub import publish
    AutoModel.from_pretrained(source).save_pretrained(folder, max_shard_size="300KB")
    AutoProcessor.from_pretrained(source).save_pretrained(folder)
    value = publish(folder, "me/shards").removed
    """
    removed = client.runs(code, source=str(saved), folder=str(tmp_path / "shards"))
    assert removed == ["model.safetensors"]
    weights = {name for name in hub.files("me/shards") if "safetensors" in name}
    assert "model.safetensors.index.json" in weights
    assert "model.safetensors" not in weights
    assert len(weights) > 2


def test_publishing_again_sends_only_what_changed(hub, client, folder):
    client.runs(PUBLISH, folder=str(folder), repo_id="me/again", kwargs={})
    start = len(hub.requests)
    client.runs(PUBLISH, folder=str(folder), repo_id="me/again", kwargs={})
    assert len(hub.repos["me/again"].branches["main"]) == 2
    assert not any(method == "PUT" for method, _ in hub.requests[start:])


# --- parts of a model ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_adapter_and_an_object_encoder_load_as_their_cards_say(hub, client, published, place, tmp_path):
    pytest.importorskip("peft")
    code = f"import pathlib, re\nfrom huggingface_hub import hf_hub_download\n{SAVE_PARTS}"
    differences, effect = client.runs(code, folder=str(tmp_path / "parts"), video=str(place / "video.mp4"))
    assert effect > 1e-3  # the adapter does something
    assert max(differences.values()) < 1e-5
    for repo_id, kind in (("me/adapter", "adapter_model"), ("me/encoder", "object_encoder")):
        files = hub.files(repo_id)
        assert f"{kind}.safetensors" in files
        assert "config.json" not in files
        assert "modeling_videorefer.py" not in files
        assert str(place).encode() not in b"".join(files.values())
    assert b"base_model: me/tiny" in hub.files("me/adapter")["README.md"]


# --- a Hub that refuses ----------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("token", "repo_id", "expected"),
    [
        ("hf_wrong_token", "me/secret", "hf auth login"),
        (READER, "me/secret", "may not write to me/secret"),
        (WRITER, "someone/else", "may not write to someone/else"),
        ("hf_broken\x00token", "me/secret", "characters that no token has"),
    ],
    ids=["wrong", "read-only", "not mine", "unsendable"],
)
def test_a_refused_token_is_explained_and_never_shown(token, repo_id, expected, hub, client, folder):
    answer = client.tries(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs={"token": token})
    assert answer.kind == "PublishError", answer.everything
    assert re.search(expected, answer.message)
    assert token not in answer.everything
    assert repr(token)[1:-1] not in answer.everything
    assert repo_id not in hub.repos


def test_a_token_read_from_a_file_may_end_in_a_newline(hub, client, folder):
    client.runs(PUBLISH, folder=str(folder), repo_id="me/newline", kwargs={"token": f"{WRITER}\n"})
    assert "model.safetensors" in hub.files("me/newline")


def test_a_hub_that_goes_away_midway_leaves_the_repository_and_the_next_run_completes_it(hub, client, folder):
    hub.dies_at = "/commit/"
    try:
        answer = client.tries(PUBLISH, folder=str(folder), repo_id="me/midway", kwargs={})
    finally:
        hub.dies_at = None
    assert answer.kind == "PublishError", answer.everything
    assert "run the same again" in answer.message
    assert set(hub.files("me/midway")) == {".gitattributes"}
    start = len(hub.requests)
    client.runs(PUBLISH, folder=str(folder), repo_id="me/midway", kwargs={})
    assert "model.safetensors" in hub.files("me/midway")
    assert not any(method == "PUT" for method, _ in hub.requests[start:])  # the weights had arrived


def test_sigterm_ends_publishing_before_the_commit_and_the_next_run_completes_it(hub, client, folder):
    def stop(path):
        if path.startswith("/api/models/me/stopped/preupload/"):
            hub.meanwhile = None
            os.kill(client.pid, signal.SIGTERM)

    code = """
    from typer.testing import CliRunner
    from videorefer_plugin.cli import app
    result = CliRunner().invoke(app, ["publish", folder, "me/stopped"])
    value = [result.exit_code, result.output]
    """
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.meanwhile = stop
    status, output = client.runs(code, folder=str(folder))
    assert hub.meanwhile is None
    assert status == 143, output
    assert set(hub.files("me/stopped")) == {".gitattributes"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    status, output = client.runs(code, folder=str(folder))
    assert status == 0, output
    files = hub.files("me/stopped")
    assert {name for name in before if name.endswith(".safetensors")} <= set(files)
    assert all(files[name] == content for name, content in before.items() if name.endswith(".safetensors"))


@pytest.mark.parametrize("repo_id", ["", "two words", "a/b/c", "me/", "me/x--y", "-me/x", "/home/me/model"])
def test_an_invalid_repository_id_is_refused_before_anything_is_asked(repo_id, hub, client, folder):
    requests = len(hub.requests)
    answer = client.tries(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs={})
    assert answer.kind == "PublishError", answer.everything
    assert "cannot name a repository" in answer.message
    assert len(hub.requests) == requests


def test_a_folder_that_is_not_fit_leaves_no_empty_repository(hub, client, folder):
    (folder / "model.safetensors").unlink()
    requests = len(hub.requests)
    answer = client.tries(PUBLISH, folder=str(folder), repo_id="me/unfit", kwargs={})
    assert answer.kind == "PublishError", answer.everything
    assert len(hub.requests) == requests


# --- cards that are there already ------------------------------------------------------------------------------------

EDITED = "---\nlanguage: en\ntags:\n- mine\n---\n\n# By hand\n\nRead me.\n"


def put_card(client, repo_id, text):
    client.runs(
        """
        from huggingface_hub import HfApi
        HfApi().create_repo(repo_id, exist_ok=True)
        HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=repo_id)
        """,
        repo_id=repo_id,
        text=text,
    )


@pytest.mark.spread(1)
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_card_written_by_hand_is_kept_or_overwritten_only_when_told(where, hub, client, folder):
    repo_id = f"me/card-{where}"
    if where == "hub":
        put_card(client, repo_id, EDITED)
    else:
        (folder / "README.md").write_text(EDITED)
    answer = client.tries(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs={})
    assert answer.kind == "PublishError"
    assert "--card keep" in answer.message
    assert where != "folder" or (folder / "README.md").read_text() == EDITED
    client.runs(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs={"card": "keep"})
    assert hub.files(repo_id)["README.md"].decode() == EDITED
    assert "model.safetensors" in hub.files(repo_id)
    client.runs(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs={"card": "overwrite"})
    card = hub.files(repo_id)["README.md"].decode()
    assert "## Usage" in card
    assert "By hand" not in card
    assert "language: en" in card
    assert "- mine" in card


def test_metadata_added_on_the_hub_survives_publishing_again(hub, client, folder):
    client.runs(PUBLISH, folder=str(folder), repo_id="me/metadata", kwargs={})
    card = hub.files("me/metadata")["README.md"].decode()
    put_card(
        client, "me/metadata", card.replace("library_name: transformers", "library_name: transformers\nlicense: mit")
    )
    for _ in range(2):
        client.runs(PUBLISH, folder=str(folder), repo_id="me/metadata", kwargs={})
        assert "license: mit" in hub.files("me/metadata")["README.md"].decode()


def test_nothing_of_the_machine_is_published(published, place):
    for name, content in published.files.items():
        assert str(place).encode() not in content, name
        assert str(Path.home()).encode() + b"/" not in content, name


def test_the_published_weights_are_those_that_were_saved(published, saved):
    assert published.files["model.safetensors"] == (saved / "model.safetensors").read_bytes()
