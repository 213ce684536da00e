"""Every file of a model is fetched as was asked for: which revision and folder, with which token, into which cache.

The repositories are private, so that a file asked for without the token is refused, and their branches differ in every
file. The vision tower lies in a repository of its own, which has no branch but `main`.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, AutoTokenizer

import videorefer_plugin as vr
from tests.checkpoints import CHECKPOINT, TOWER, change_json, make_checkpoint, read_json, weights, without
from tests.hub_client import Client, environment
from tests.hub_server import READER, HubServer, Repo
from tests.media import write_video
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.hosts.saving import save_object_encoder


def stamp(folder, version):
    """Make every file of a folder say which version it is of; that of 1 is the original."""
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"][0, 0] = version
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    change_json(folder / "config.json", {"num_frames": 2 * version})
    change_json(folder / "generation_config.json", {"top_k": version})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra {number}>" for number in range(1, version)])
    tokenizer.save_pretrained(folder)
    if (folder / "processor_config.json").exists():
        template = folder / "chat_template.jinja"
        template.write_text(f"{{# version {version} #}}{template.read_text()}")
        values = read_json(folder / "processor_config.json")
        values["num_frames"] = 2 * version
        values["image_processor"]["image_mean"] = [version / 10] * 3
        (folder / "processor_config.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of version 1: in this library's layout, and an original VideoLLaMA2.1, which reads the most files."""
    place = tmp_path_factory.mktemp("folders")
    model = AutoModel.from_pretrained(CHECKPOINT)
    model.save_pretrained(place / "own")
    AutoProcessor.from_pretrained(CHECKPOINT).save_pretrained(place / "own")
    save_object_encoder(model, place / "encoder")
    state = without(weights(), "region_encoder", "vision_tower")
    config = {"model_type": "videollama2_qwen2", "mm_region_encoder_type": None, "mm_vision_tower": "me/tower"}
    folder = make_checkpoint(place / "original", state, **config)
    tokenizer = read_json(folder / "tokenizer.json")
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<region>"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    decoder = read_json(folder / "tokenizer_config.json")["added_tokens_decoder"]
    decoder.pop("363")
    change_json(folder / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    change_json(folder / "added_tokens.json", {"<region>": None})
    return place


@pytest.fixture(scope="module")
def hub(folders):
    """A Hub with versions 1 (`main`), 2 (`v2`) and 3 (in the folder `deep` of `v3`, beside version 1)."""
    server = HubServer()

    def commit(name, branch, *contents):
        files = {
            f"{below}{path.relative_to(folder)}": server.store(path.read_bytes())
            for below, folder in contents
            for path in folder.rglob("*")
            if path.is_file()
        }
        repo = server.repos.setdefault(name, Repo(private=True))
        return repo.commit(branch, f"{branch} of {name}", files)

    def version(kind, number):
        target = folders / f"{kind}-{number}"
        return target if target.exists() else stamp(shutil.copytree(folders / kind, target), number)

    for kind in ("own", "original"):
        commit(f"me/{kind}", "main", ("", version(kind, 1)))
        commit(f"me/{kind}", "v2", ("", version(kind, 2)))
        commit(f"me/{kind}", "v3", ("", version(kind, 1)), ("deep/", version(kind, 3)))
    commit("me/tower", "main", ("", TOWER))
    for number, branch, below in ((1, "main", ""), (2, "v2", ""), (3, "v3", "deep/")):
        target = shutil.copytree(folders / "encoder", folders / f"encoder-{number}")
        state = load_file(target / "object_encoder.safetensors")
        state["projector.0.bias"][0] = number
        save_file(state, target / "object_encoder.safetensors")
        change_json(target / "object_encoder_config.json", {"base_model_name_or_path": f"version {number}"})
        commit("me/encoder", branch, (below, target))
    commit("me/branched", "main", ("", folders / "encoder"))
    commit("me/branched", "v2", ("", version("own", 2)))
    write_video(folders / "video.mp4", 12)
    yield SimpleNamespace(server=server, commit=commit, version=version)
    server.close()


@pytest.fixture(scope="module")
def client(hub, folders):
    env = environment(folders / "home", hub.server.endpoint)
    del env["HF_TOKEN"]  # so that only the token that is passed counts
    client = Client(env, folders)
    client.runs(f"import os, sys; sys.path.insert(0, {str(CHECKPOINT.parents[3])!r})")
    yield client
    client.close()


# What was read of which version, by each way to load.
LOADERS = {
    "AutoModel": "model(transformers.AutoModel.from_pretrained(name, **kwargs))",
    "class": "model(vr.VideoReferForConditionalGeneration.from_pretrained(name, **kwargs))",
    "host class": "model(vr.VideoLLaMA2ForConditionalGeneration.from_pretrained(name, **kwargs))",
    "AutoConfig": "config(transformers.AutoConfig.from_pretrained(name, **kwargs))",
    "configuration": "config(vr.VideoReferConfig.from_pretrained(name, **kwargs))",
    "AutoProcessor": "processor(transformers.AutoProcessor.from_pretrained(name, **kwargs))",
    "processor": "processor(vr.VideoReferProcessor.from_pretrained(name, **kwargs))",
    "load_model": "both(*load_model(name, **kwargs))",
}
READ = """
import transformers, videorefer_plugin as vr
from videorefer_plugin.asking import load_model
def config(found):
    # The id is the tokenizer's where the configuration does not hold it.
    return {"frames": found.num_frames / 2, "ids": found.region_token_id - 362} if hasattr(found, "region_token_id") \\
        else {"frames": found.num_frames / 2}
def model(found):
    return {**config(found.config), "weights": round(float(found.lm_head.weight[0, 0]), 3),
            "generation": found.generation_config.top_k}
def processor(found):
    extra = [token for token in found.tokenizer.get_vocab() if "extra" in token]
    facts = {"frames": found.num_frames / 2, "tokens": len(extra) + 1}
    if "version" in found.chat_template:
        facts["template"] = int(found.chat_template.split()[2])
        facts["pixels"] = round(found.image_processor.image_mean[0] * 10, 3)
    return facts
def both(*found):
    return {**model(found[0]), **{f"processor's {name}": fact for name, fact in processor(found[1]).items()}}
value = """
PLACES = {
    "main": (1, {}),
    "branch": (2, {"revision": "v2"}),
    "subfolder": (3, {"revision": "v3", "subfolder": "deep"}),
}


def assert_no_file_without_token(hub):
    # Tokenizers of transformers list the files of a repository without the token, and do without the list.
    assert [path for path in hub.server.anonymous if "/tree/" not in path] == []


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", ["own", "original"])
def test_every_file_is_of_the_version_asked_for(kind, loader, place, hub, client):
    version, kwargs = PLACES[place]
    found = client.runs(READ + LOADERS[loader], name=f"me/{kind}", kwargs={**kwargs, "token": READER})
    if kind == "own":
        found.pop("ids", None)  # as they were saved
    assert set(found.values()) == {version}, found
    assert_no_file_without_token(hub)


@pytest.mark.spread(2)
@pytest.mark.parametrize("place", PLACES)
def test_an_object_encoder_is_of_the_version_asked_for(place, hub, client):
    version, kwargs = PLACES[place]
    code = (
        READ
        + """[float(vr.load_object_encoder(
        transformers.AutoModel.from_pretrained("me/own", token=kwargs["token"]), "me/encoder", **kwargs
    ).object_encoder.projector[0].bias[0])]"""
    )
    assert client.runs(code, kwargs={**kwargs, "token": READER}) == [version]
    assert_no_file_without_token(hub)


def test_a_host_brings_the_object_encoder_that_it_was_saved_with(hub, client, folders, tmp_path):
    model, processor = BY_NAME["qwen3_vl"].attached()
    model.save_pretrained(tmp_path / "attached")
    processor.processor.save_pretrained(tmp_path / "attached")
    shutil.copytree(tmp_path / "attached", tmp_path / "bare", ignore=shutil.ignore_patterns("object_encoder*"))
    for name in ("attached", "bare"):
        hub.commit(f"me/{name}", "main", ("", tmp_path / name))
    bias = load_file(tmp_path / "attached" / "object_encoder.safetensors")["projector.0.bias"].tolist()
    code = """
from videorefer_plugin.asking import load_model
made, processor = load_model(name, **kwargs)
encoder = getattr(made, "object_encoder", None)
value = [type(processor).__name__, encoder and encoder.projector[0].bias.tolist()]
"""
    for kwargs in ({"token": READER}, {"local_files_only": True}):
        kind, found = client.runs(code, name="me/attached", kwargs=kwargs)
        assert (kind, found) == ("RegionProcessor", pytest.approx(bias))
        assert client.runs(code, name="me/bare", kwargs=kwargs) == ["Qwen3VLProcessor", None]


@pytest.mark.parametrize("kind", ["own", "original"])
def test_a_cache_that_is_named_is_used_and_suffices(kind, hub, client, tmp_path):
    kwargs = {"revision": "v2", "cache_dir": str(tmp_path / "cache")}
    code = READ + LOADERS["load_model"]
    fetched = client.runs(code, name=f"me/{kind}", kwargs={**kwargs, "token": READER})
    assert (tmp_path / "cache" / f"models--me--{kind}").is_dir()
    asked = len(hub.server.requests)
    again = client.runs(code, name=f"me/{kind}", kwargs={**kwargs, "local_files_only": True})
    assert again == fetched
    assert len(hub.server.requests) == asked


@pytest.mark.spread(2)
@pytest.mark.parametrize("loader", ["AutoModel", "class", "processor", "load_model"])
@pytest.mark.parametrize("kind", ["own", "original"])
def test_a_folder_within_a_local_folder(kind, loader, hub, client, tmp_path):
    shutil.copytree(hub.version(kind, 3), tmp_path / "deep")
    found = client.runs(READ + LOADERS[loader], name=str(tmp_path), kwargs={"subfolder": "deep", "token": READER})
    if kind == "own":
        found.pop("ids", None)
    assert set(found.values()) == {3}, found


@pytest.mark.parametrize("kind", ["own", "original"])
def test_a_push_while_loading_changes_nothing(kind, hub, client):
    name = f"me/pushed-{kind}"
    hub.commit(name, "main", ("", hub.version(kind, 1)))

    def push(path):
        if path.endswith("config.json") and len(hub.server.repos[name].branches["main"]) == 1:
            hub.commit(name, "main", ("", hub.version(kind, 2)))

    hub.server.meanwhile = push
    try:
        found = client.runs(READ + LOADERS["load_model"], name=name, kwargs={"token": READER})
    finally:
        hub.server.meanwhile = None
    assert len(hub.server.repos[name].branches["main"]) == 2
    if kind == "own":
        found.pop("ids", None)
    assert set(found.values()) == {1}, found


def test_a_model_is_asked_with_the_processor_of_its_own_revision(hub, client, folders):
    """Whether the model is loaded before or by the call; on `main` there is no processor."""
    code = """
import os, transformers, videorefer_plugin as vr
region = vr.Region.from_box((8, 8, 40, 40), frame=3)
given = video, "What is <region>?", [region]
model = vr.VideoReferForConditionalGeneration.from_pretrained("me/branched", revision="v2", token=token)
os.environ["HF_TOKEN"] = token  # no model keeps the token that it was loaded with
try:
    answers = [vr.ask(model, *given, max_new_tokens=3)]
finally:
    del os.environ["HF_TOKEN"]
assert token not in repr(vars(model))
answers.append(vr.ask("me/branched", *given, revision="v2", token=token, max_new_tokens=3))
value = answers
"""
    before, by_the_call = client.runs(code, video=str(folders / "video.mp4"), token=READER)
    assert before == by_the_call


UNKNOWN = {
    "AutoModel": "TypeError",
    "class": "TypeError",
    "load_model": "ConfigurationError",
}


@pytest.mark.parametrize("loader", UNKNOWN)
def test_an_argument_that_nobody_knows_is_refused(loader, client):
    answer = client.tries(READ + LOADERS[loader], name="me/own", kwargs={"token": READER, "revison": "v2"})
    assert answer.kind == UNKNOWN[loader]
    assert "revison" in answer.message


def test_an_unknown_argument_of_load_object_encoder_is_refused():
    with pytest.raises(vr.ConfigurationError, match="has no setting 'revison'; did you mean 'revision'"):
        vr.load_object_encoder(object(), "me/encoder", revison="v2")


def test_a_revision_that_does_not_exist(client):
    answer = client.tries(READ + LOADERS["load_model"], name="me/own", kwargs={"token": READER, "revision": "v9"})
    assert answer.kind == "CheckpointError"
    assert "v9" in answer.message


@pytest.mark.slow
def test_answers_of_a_benchmark_are_kept_by_the_commit_of_the_model(hub, client):
    code = """
import os
from videorefer_plugin.models.fingerprint import fingerprint
os.environ["HF_TOKEN"] = token
try:
    value = fingerprint("me/own")
finally:
    del os.environ["HF_TOKEN"]
"""
    assert client.runs(code, token=READER) == hub.server.repos["me/own"].at("main")[0]
