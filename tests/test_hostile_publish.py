"""The matrix of folders to publish: what no checkpoint has stays, what is no file is refused, and no secret goes."""

import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.hostile import draw, in_time, refuses
from videorefer_plugin.embedded import tiny_checkpoint
from videorefer_plugin.errors import PublishError
from videorefer_plugin.hub import inspect_folder, prepare_folder
from videorefer_plugin.hub.cards import dataset_card
from videorefer_plugin.hub.publish import publish


@pytest.fixture
def folder(tmp_path):
    """The embedded checkpoint, as any other that was saved."""
    return shutil.copytree(tiny_checkpoint(), tmp_path / "model")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The smallest thing that can be published: an object encoder."""
    made = tmp_path_factory.mktemp("encoder")
    save_file({"projector.weight": torch.ones(2, 2)}, made / "object_encoder.safetensors")
    (made / "object_encoder_config.json").write_text('{"object_encoder": {}, "host_model_type": "videorefer"}')
    return made


def planned(folder, **settings):
    return publish(folder, "me/model", dry_run=True, **settings)


UNKNOWN = [
    *("notes.txt", "credentials.json", ".env", ".netrc", "id_rsa", "id_rsa.pem", "passwords.yaml", "secrets.toml"),
    *(
        "wandb.json",
        "data.jsonl",
        "records.json",
        "log.log",
        "a.sqlite",
        "core",
        "dump.tar.gz",
        "weights.h5",
        "a.onnx",
    ),
    *("config.json.bak", "config.json~", "config copy.json", "CONFIG.JSON", "tokenizer.json.1", "README", "readme.md"),
    *("evil.py", "modeling_other.py", "setup.sh", "Makefile", "passport.jpg", "figure.png", "a.svg", "movie.mp4"),
    *("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json", "scaler.pt"),
    *("huge.dat", "token", "hf_token.txt", "my_config.json", "all_results.json", "runs.csv", "recipe.yaml", "a b.md"),
    *("model.safetensors.tmp", "other.safetensors", "lora.safetensors", "events.out.tfevents.1", "\u00fc.json"),
]


def test_what_no_checkpoint_has_is_left_out_and_listed(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    for name in UNKNOWN:
        (folder / name).write_bytes(b"x")
    with open(folder / "huge.dat", "wb") as file:
        file.truncate(1 << 40)  # takes no room, and would take for ever to read
    for name in (".git", "checkpoint-10", "runs", "assets.old"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("x")
    with in_time():
        report = planned(folder)
    assert set(UNKNOWN) <= set(report.left_out)
    assert {".git/", "checkpoint-10/", "runs/", "assets.old/"} <= set(report.left_out)
    assert set(report.files) == {"README.md", "object_encoder.safetensors", "object_encoder_config.json"}
    assert all(report.left_out.values())


@pytest.mark.slow
def test_names_that_are_almost_those_of_a_checkpoint_are_left_out(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    known = ["config.json", "README.md", "tokenizer.json", "LICENSE", "object_encoder.safetensors", "merges.txt"]
    letters = st.text(string.ascii_lowercase + string.digits + "._- ~", min_size=1, max_size=4)
    kinds = st.tuples(st.sampled_from(known), letters, st.booleans())

    def check(given):
        name = f"{given[0]}{given[1]}" if given[2] else f"{given[1]}{given[0]}"
        path = folder / name
        if path.exists() or not name.strip("."):
            return
        path.write_bytes(b"x")
        assert name in planned(folder).left_out
        path.unlink()

    assert draw(kinds, check, 60) >= 50


LINKED = ["README.md", "object_encoder.safetensors", "object_encoder_config.json", "LICENSE", "videorefer_run.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
@pytest.mark.parametrize("name", LINKED)
def test_files_of_the_model_that_are_none_are_refused(name, encoder, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.write_text("what is not mine")

    def make(kind):
        folder = shutil.copytree(encoder, tmp_path / f"{name}-{kind}")
        path = folder / name
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                monkeypatch.chdir(folder)  # such names are short
                listener.bind(name)
        else:
            path.symlink_to({"out": outside, "up": "../outside", "nowhere": "missing", "itself": name}[kind])
        return folder

    for kind in ("out", "up", "nowhere", "itself", "pipe", "socket"):
        refuses(PublishError, planned)(make(kind))


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
def test_other_links_and_what_is_no_file_are_left_out(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    (folder / "home").symlink_to("/")
    (folder / "round").symlink_to("round")
    os.mkfifo(folder / "pipe")
    (folder / "assets").mkdir()
    (folder / "assets" / "a.png").symlink_to("../../secret.png")
    (folder / "assets" / "b.png").write_bytes(b"x")
    (folder / "assets" / ".hidden.png").write_bytes(b"x")
    os.mkfifo(folder / "assets" / "c.png")
    (folder / "chat_templates").symlink_to("/")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "a.jinja").write_text("x")
    (folder / "additional_chat_templates" / "notes.txt").write_text("x")
    with in_time():
        report = planned(folder)
    names = {
        "passwd.txt",
        "home",
        "round",
        "pipe",
        "assets/a.png",
        "assets/.hidden.png",
        "assets/c.png",
        "chat_templates",
    }
    assert {*names, "additional_chat_templates/notes.txt"} <= set(report.left_out)
    assert {"assets/b.png", "additional_chat_templates/a.jinja"} <= set(report.files)
    assert not names & set(report.files)


INCLUDED = [
    *("missing.txt", "", ".", "..", "../outside", "/etc/passwd", "runs", "link.txt", "inside/link", "linked/a.txt"),
    *("pipe", "a\0b", "extra.pt", "notes.txt/x", "runs/../../outside", "weights.bin"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
def test_only_files_can_be_included(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    (tmp_path / "outside").write_text("x")
    for name in ("runs", "inside"):
        (folder / name).mkdir()
    (folder / "notes.txt").write_text("x")
    (folder / "inside" / "a.txt").write_text("x")
    (folder / "linked").symlink_to("inside")
    (folder / "link.txt").symlink_to("notes.txt")
    (folder / "inside" / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    report = planned(folder, include=["notes.txt", "inside/a.txt"])
    assert {"notes.txt", "inside/a.txt"} <= set(report.files)
    assert "notes.txt" not in report.left_out
    for name in INCLUDED:
        (folder / "extra.pt").write_bytes(b"x") if name == "extra.pt" else (folder / "extra.pt").unlink(
            missing_ok=True
        )
        refuses(PublishError, lambda given: planned(folder, include=[given]))(name)


PLACES = [
    "README.md",
    "LICENSE",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "NOTICE.txt",
]
LETTERS = st.text(string.ascii_letters + string.digits, min_size=36, max_size=36)
SECRETS = {
    "the Hub's": LETTERS.map(lambda text: f"hf_{text[:34]}"),
    "an API's": LETTERS.map(lambda text: f"sk-proj-{text}"),
    "GitHub's": LETTERS.map(lambda text: f"ghp_{text}"),
    "Amazon's": LETTERS.map(lambda text: f"AKIA{text[:16].upper()}"),
    "password": LETTERS.map(lambda text: f"http://me:{text[:9]}@host/v1"),
    "token": LETTERS.map(lambda text: f"https://host/a.mp4?access_token={text}"),
    "header": LETTERS.map(lambda text: f"Authorization: Bearer {text}"),
    "key": st.sampled_from(["-----BEGIN PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"]),
}


@pytest.mark.spread(1)
@pytest.mark.parametrize("kind", SECRETS)
def test_texts_with_secrets_are_refused_with_their_line(kind, encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")

    def check(given):
        secret, name, before = given
        if any(word in secret.lower() for word in ("your", "xxxx")):  # a placeholder
            return
        path = folder / name
        path.write_text("\n" * before + secret)
        with (
            in_time(),
            pytest.raises(PublishError, match=f"{name}, line {before + 1}, holds what looks like") as caught,
        ):
            planned(folder, card="keep")
        assert kind == "key" or secret not in str(caught.value)
        path.unlink()

    assert draw(st.tuples(SECRETS[kind], st.sampled_from(PLACES), st.integers(0, 30)), check, 12) >= 10


def test_a_recipe_with_a_secret_is_refused(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    (folder / "videorefer_run.json").write_text('{"recipe": {"name": "a", "text": "endpoint: http://me:word@h/v1"}}')
    with pytest.raises(PublishError, match="an address with a password") as caught:
        planned(folder)
    assert "word@" not in str(caught.value)
    (folder / "notes.txt").write_text(f"hf_{'aB3' * 11}")
    (folder / "videorefer_run.json").unlink()
    assert "notes.txt" in planned(folder).left_out
    with pytest.raises(PublishError, match="line 1, holds what looks like an access token of the Hub"):
        planned(folder, include=["notes.txt"])


HARMLESS = [
    *("hf_hub_download", "sk-learn", "export HF_TOKEN=hf_...", "hf_xxxxxxxxxxxxxxxxxxxx", "http://host:8000/v1"),
    *("https://me@host/", "Authorization: Bearer $TOKEN", "Authorization: Bearer <your token>", "a@b.org", "?key=..."),
    *("http://user:password@<host>/", "https://example.org/watch?v=abc", "postgres://USER:YOUR_PASSWORD@host"),
    *("bearer of bad news", "max_tokens=1024", "a::b@c", "tokenizer=x&y=z"),
]


def test_what_only_looks_like_a_secret_is_published(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "f")
    for text in HARMLESS:
        (folder / "README.md").write_text(f"# Mine\n\n{text}\n")
        assert "README.md" in planned(folder, card="keep").files


@pytest.mark.spread(1)
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("after", [0.0, 0.7])
def test_a_dry_run_that_is_killed_leaves_the_folder_as_it_was(after, encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "model")
    (folder / "adapter_config.json.tmp").write_text("x")

    def state():
        return {
            path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in sorted(folder.rglob("*"))
        }

    program = """
import sys
from videorefer_plugin.cli import app
print("on", flush=True)
while True:
    try:
        app(["publish", sys.argv[1], "me/model", "--dry-run"])
    except SystemExit as end:
        assert not end.code, end.code
"""
    before = state()
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += "README.md" in line
        if seen or (not after and line == "on\n"):
            break
    time.sleep(after or 2.0)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert state() == before
    assert os.listdir(folder.parent) == [folder.name]


def test_cards_name_tasks_that_there_are(folder, encoder):
    from transformers.pipelines import PIPELINE_REGISTRY

    known = PIPELINE_REGISTRY.get_supported_tasks()
    for place in (folder, encoder):
        card = prepare_folder(place, "me/model", dry_run=True, card="overwrite").card
        (tag,) = (line.split(": ")[1] for line in card.splitlines() if line.startswith("pipeline_tag: "))
        assert tag in known
    assert "- video-text-to-text" in dataset_card({}, "me/data")
    assert inspect_folder(encoder).kind == "object_encoder"
