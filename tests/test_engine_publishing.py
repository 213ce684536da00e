"""Publishing what a run has made: records and where they come from go to the Hub, paths and videos stay here."""

import json
import re
import shutil

import pytest
import yaml

from tests.engine_states import recipe, reviewed, source
from tests.hub_client import Client, environment
from tests.hub_server import READER, WRITER, HubServer
from videorefer_plugin.data_engine.publishing import publish_data
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.data_engine.review import draw_review, fill_in
from videorefer_plugin.errors import ConfigurationError, EngineError, PublishError, RecordError

STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
PUBLISH = "from videorefer_plugin.data_engine.publishing import publish_data; publish_data(folder, repo_id, **kwargs)"


def make_run(folder, *, licenses=("cc-by-4.0",), form="json", texts=(), exclude=(), **given):
    """A run of one source for each license, of whose two objects the Reviewer kept one."""
    asked = recipe(folder, format=form)
    identities = {
        stage: {"backend": f"my-{stage}", "model": f"{folder}/models/{stage}-7b", "revision": "abc123", "prompt": 3}
        for stage in STAGES
    }
    run = {
        "version": "0.1.0",
        "recipe": {"seed": 7, "source": {"exclude": [str(folder / name) for name in exclude]}},
        "identities": identities,
        "keys": {stage: f"key-{stage}" for stage in STAGES},
        "read": {
            "counts": {"read": 9, "kept": 2, "duplicates": 7},
            "notes": [f"7 videos of {folder}/videos are twice."],
        },
    }
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    states = [
        reviewed(source(folder, f"clip{number}", license=license, **given), [True, False], texts)
        for number, license in enumerate(licenses)
    ]
    write_records(states, folder, asked)
    return folder


@pytest.fixture(scope="module")
def hub():
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    place = tmp_path_factory.mktemp("client")
    client = Client(environment(place / "home", hub.endpoint), place)
    yield client
    client.close()


def publish(client, folder, repo_id="me/data", **kwargs):
    return client.tries(PUBLISH, folder=str(folder), repo_id=repo_id, kwargs=kwargs)


# --- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_records_provenance_agents_and_card_arrive(hub, client, tmp_path):
    folder = make_run(tmp_path / "run", address="https://example.org/clip")
    answer = publish(client, folder, private=True)
    assert not answer.kind, answer.everything
    files = hub.files("datasets/me/data")
    assert hub.repos["datasets/me/data"].private
    assert files.keys() - {".gitattributes"} == {"README.md", "records.json", "provenance.jsonl", "agents.json"}
    (record,) = json.loads(files["records.json"])
    assert record["video"] == "clip.mp4"
    line = json.loads(files["provenance.jsonl"])
    assert line["record"] == record["id"]
    assert line["source"]["path"] == "clip.mp4"
    assert line["source"]["address"] == "https://example.org/clip"
    agents = json.loads(files["agents.json"])
    assert agents[line["agents"]["refiner"]["identity"]]["model"] == "refiner-7b"
    for name, content in files.items():
        assert str(tmp_path).encode() not in content, name


@pytest.mark.slow
def test_publishing_again_replaces_records_of_another_format(hub, client, tmp_path):
    for form, other in (("json", "parquet"), ("parquet", "json")):
        answer = publish(client, make_run(tmp_path / form, form=form), "me/formats")
        assert not answer.kind, answer.everything
        files = hub.files("datasets/me/formats")
        assert f"records.{form}" in files
        assert f"records.{other}" not in files


def test_a_card_that_was_edited_on_the_hub_is_kept(hub, client, tmp_path):
    folder = make_run(tmp_path / "run")
    publish(client, folder, "me/edited")
    repo = hub.repos["datasets/me/edited"]
    files = dict(repo.at("main")[1])
    files["README.md"] = hub.store(hub.files("datasets/me/edited")["README.md"] + b"\nEdited by hand.\n")
    repo.commit("main", "edit", files)
    assert "written or edited by hand" in publish(client, folder, "me/edited").message
    assert not publish(client, folder, "me/edited", card="keep").kind
    assert b"Edited by hand." in hub.files("datasets/me/edited")["README.md"]
    assert not publish(client, folder, "me/edited", card="overwrite").kind
    assert b"Edited by hand." not in hub.files("datasets/me/edited")["README.md"]


@pytest.mark.parametrize(
    ("token", "said"), [(READER, "may not write"), ("hf_wrong_token", "did not accept"), ("ä", "copy it")]
)
def test_refusals_are_explained_and_show_no_token(client, tmp_path, token, said):
    answer = publish(client, make_run(tmp_path / "run"), token=token)
    assert answer.kind == "PublishError"
    assert said in answer.message
    assert token not in answer.everything.replace(f"'{token}'", "") or len(token) == 1
    assert WRITER not in answer.everything


# --- what is refused before anything is asked of the Hub -------------------------------------------------------------


@pytest.mark.spread(3)
@pytest.mark.parametrize("said", [None, "", "unknown", " Unknown ", "UNKNOWN.", "n/a", "None", "null", "?"])
def test_unknown_licenses_need_a_flag(tmp_path, said):
    folder = make_run(tmp_path / "run", licenses=("cc-by-4.0", said, None))
    with pytest.raises(PublishError, match=r"2 of 3 record\(s\) is unknown, such as of 'clip1', 'clip2'"):
        publish_data(folder, "me/data", dry_run=True)
    card = publish_data(folder, "me/data", dry_run=True, allow_unknown_licenses=True).card
    assert "| **unknown** | 2 |" in card
    assert "| cc-by-4.0 | 1 |\n| **unknown**" in card
    assert "Whether 2 of 3 record(s) may be used is unknown" in card


@pytest.mark.parametrize(
    ("repo_id", "given", "error", "said"),
    [
        ("no/such/name", {}, PublishError, "cannot name a repository"),
        ("me/data", {"card": "mine"}, ConfigurationError, "card must be one of"),
        ("me/data", {"media_root": "/nowhere"}, PublishError, "--media-root"),
    ],
)
def test_what_cannot_be_published(tmp_path, repo_id, given, error, said):
    with pytest.raises(error, match=said):
        publish_data(make_run(tmp_path / "run"), repo_id, dry_run=True, **given)


def test_folders_that_hold_nothing_to_publish(tmp_path):
    with pytest.raises(EngineError, match=r"no records\.json"):
        publish_data(tmp_path, "me/data", dry_run=True)
    with pytest.raises(PublishError, match="nothing to publish"):
        publish_data(make_run(tmp_path / "run", licenses=()), "me/data", dry_run=True)


@pytest.mark.parametrize("name", ["records.json", "provenance.jsonl", "run.json", "report.json"])
def test_files_of_elsewhere_are_not_published(tmp_path, name):
    folder = make_run(tmp_path / "run", licenses=("mit",))
    whole = publish_data(folder, "me/data", dry_run=True)
    (folder / name).rename(folder / "own")
    (folder / name).symlink_to("own")
    assert publish_data(folder, "me/data", dry_run=True).files == whole.files
    (folder / name).unlink()
    (folder / "own").rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PublishError, match=rf"{re.escape(name)} is a link that leads out of the folder"):
        publish_data(folder, "me/data", dry_run=True)


def test_provenance_of_other_records(tmp_path):
    folder = make_run(tmp_path / "run", licenses=("mit", "mit"))
    lines = (folder / "provenance.jsonl").read_text().splitlines()
    (folder / "provenance.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(EngineError, match="does not belong to"):
        publish_data(folder, "me/data", dry_run=True)


@pytest.mark.spread(5)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("records.json", '["junk"]', "holds no record of the data engine"),
        ("records.json", "[{]", "line 1: record 1: no JSON"),
        ("records.json", '[{"id": "clip0/0/detailed", "annotation": []}]', "holds no record of the data engine"),
        ("records.json", '[{"id": 1, "video": "a.mp4", "annotation": []}]', "its 'id' is 1"),
        ("records.json", '[{"id": "a", "video": 3, "annotation": []}]', "its 'video' is 3"),
        ("records.json", '[{"id": "a", "video": "a.mp4", "annotation": 5}]', "its 'annotation' is 5"),
        ("provenance.jsonl", "[]", "cannot be read"),
        ("provenance.jsonl", '{"record": "a", "source": {"id": 3}, "objects": []}', "its 'id' is 3"),
        ("provenance.jsonl", '{"record": "a", "source": {"id": "a"}, "objects": 3}', "its 'objects' is 3"),
        ("report.json", "{}", "does not hold the counts of the run"),
        ("report.json", "[]", "it is []"),
        ("report.json", '{"name": 5}', "name is 5"),
        ("run.json", '{"recipe": null}', "its 'recipe' is None"),
        ("run.json", '{"identities": {"refiner": 5}}', "its 'refiner' is 5"),
        ("run.json", '{"keys": 5}', "its 'keys' is 5"),
        ("run.json", '{"recipe": {"source": 5}}', "its 'source' is 5"),
        ("run.json", '{"recipe": {"source": {"exclude": 5}}}', "its 'exclude' is 5"),
        ("run.json", '{"read": {"counts": []}}', "its 'counts' is []"),
    ],
)
def test_files_that_were_damaged(tmp_path, name, content, said):
    folder = make_run(tmp_path / "run", licenses=("mit",))
    (folder / name).write_text(content)
    with pytest.raises((EngineError, RecordError), match=re.escape(said)):
        publish_data(folder, "me/data", dry_run=True)


@pytest.mark.parametrize(
    ("key", "value"), [("licenses", {"mit": "two"}), ("spent", {"refiner": {}}), ("dropped", {"a": 1})]
)
def test_reports_that_were_damaged(tmp_path, key, value):
    folder = make_run(tmp_path / "run", licenses=("mit",))
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {key: value}))
    with pytest.raises(EngineError, match=rf"\({key}\.\w+(\.\w+)? is "):
        publish_data(folder, "me/data", dry_run=True)


# --- names and paths -------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("root", "name"), [(None, "clip.mp4"), ("", "run/videos/clip.mp4"), ("run", "videos/clip.mp4")]
)
def test_videos_are_named_from_one_folder(hub, client, tmp_path, root, name):
    given = {} if root is None else {"media_root": str(tmp_path / root)}
    answer = publish(client, make_run(tmp_path / "run"), "me/names", **given)
    assert not answer.kind, answer.everything
    (record,) = json.loads(hub.files("datasets/me/names")["records.json"])
    assert record["video"] == name


@pytest.mark.parametrize("home", ["", "run", "run/videos"])
def test_names_that_would_tell_of_the_home_folder_need_a_root(tmp_path, monkeypatch, home):
    folder = make_run(tmp_path / "run")
    monkeypatch.setenv("HOME", str(tmp_path / home))
    if home == "run/videos":
        with pytest.raises(PublishError, match="--media-root"):
            publish_data(folder, "me/data", dry_run=True)
    else:
        publish_data(folder, "me/data", dry_run=True)
    publish_data(folder, "me/data", dry_run=True, media_root=tmp_path)


def test_videos_that_only_the_disk_holds_together_need_a_root(tmp_path):
    folder = make_run(tmp_path / "run", licenses=("mit", "mit"))
    records = json.loads((folder / "records.json").read_text())
    records[1]["video"] = "/elsewhere/clip.mp4"
    (folder / "records.json").write_text(json.dumps(records))
    with pytest.raises(PublishError, match="--media-root"):
        publish_data(folder, "me/data", dry_run=True)
    publish_data(folder, "me/data", dry_run=True, media_root="/")


def test_texts_keep_what_only_looks_like_a_path(hub, client, tmp_path):
    texts = ["A car /with/many/slashes and and/or.", "b"]
    answer = publish(client, make_run(tmp_path / "run", texts=texts), "me/slashes")
    assert not answer.kind, answer.everything
    files = hub.files("datasets/me/slashes")
    (record,) = json.loads(files["records.json"])
    assert record["conversations"][1]["value"] == texts[0]
    (item,) = json.loads(files["provenance.jsonl"])["objects"]
    assert item["annotator"]["appearance"] == item["refiner"]["description"] == texts[0]


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["video (1)", "a]", "b!", "c?", 'd"', "e/f g", "/mnt/films/a b", "h", "FOLDER/i)"])
def test_provenance_belongs_to_its_records(hub, client, tmp_path, name):
    """Whatever sources are called; the caption keeps what only looks like a path."""
    folder = tmp_path / "run"
    name, caption = name.replace("FOLDER", str(folder)), "He </b>/then/goes and /usr/bin/x said it."
    made = reviewed(source(folder, name, license="mit", caption=caption), [True, True, False])
    write_records([made], folder, recipe(folder))
    answer = publish(client, folder, "me/odd")
    assert not answer.kind, answer.everything
    files = hub.files("datasets/me/odd")
    records, lines = json.loads(files["records.json"]), list(map(json.loads, files["provenance.jsonl"].splitlines()))
    assert [line["record"] for line in lines] == [record["id"] for record in records]
    named = name.replace(f"{folder}/", "")
    assert [line["record"] for line in lines] == [f"{named}/{number}/detailed" for number in (0, 1)]
    assert {line["source"]["id"] for line in lines} == {named}
    assert {line["source"]["caption"] for line in lines} == {caption}


def test_words_of_the_program_have_no_paths(hub, client, tmp_path):
    folder = tmp_path / "run"
    made = reviewed(source(folder, license="mit"), [True])
    for stage, words in (
        ("segmentor", {"notes": ["/opt/masks/a.npy is lost."]}),
        ("reviewer", {"reason": "See /opt/x/b.txt."}),
    ):
        made.rows[stage]["objects"][0]["made"] |= words
    write_records([made], folder, recipe(folder))
    answer = publish(client, folder, "me/words")
    assert not answer.kind, answer.everything
    (item,) = json.loads(hub.files("datasets/me/words")["provenance.jsonl"])["objects"]
    assert (item["segmentor"]["notes"], item["reviewer"]["reason"]) == (["a.npy is lost."], "See b.txt.")


# --- the card --------------------------------------------------------------------------------------------------------


def card_of(folder, **given):
    return publish_data(folder, "me/data", dry_run=True, **given).card


def test_the_card_says_what_the_data_is(tmp_path):
    folder = make_run(tmp_path / "run", licenses=("mit", "mit"), exclude=["bench_d.json"])
    report = publish_data(folder, "me/data", dry_run=True)
    card, metadata = report.card, yaml.safe_load(report.card.split("---\n")[1])
    assert metadata["license"] == "mit"
    assert metadata["configs"] == [{"config_name": "default", "data_files": "records.json"}]
    for said in (
        "| records | 2 |",
        "| share that the Reviewer kept | 50.0 % |",
        "| refiner | my-refiner | model: refiner-7b; revision: abc123; prompt: 3 | key-refiner |",
        "| duplicates | 7 |",
        "| mit | 2 |",
        "`bench_d.json`",
        "No person has checked how often the Reviewer is right.",
        "videorefer train check records.json",
        "0 of 2 record(s) name the address of their source.",
    ):
        assert said in card
    assert str(tmp_path) not in card
    assert report.left_out["discarded.json"] == "the Reviewer discarded it"


def test_the_card_warns_where_no_benchmark_was_excluded(tmp_path):
    assert "**No benchmark was excluded**" in card_of(make_run(tmp_path / "run"))


def test_the_card_says_what_people_found(tmp_path):
    folder = make_run(tmp_path / "run", licenses=("mit", "cc0-1.0"))
    draw_review(folder)
    truth = {f"clip{source}/{number}/detailed": number == 0 for source in (0, 1) for number in (0, 1)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    fill_in(folder, tmp_path / "truth.json")
    card = " ".join(card_of(folder).split())
    assert "a file with the truth about them knew 2, and found 2 to be right (between 34 and 100 %" in card
    assert "people" not in card
    assert "license: other" in card

    draw_review(folder, overwrite=True)
    table = folder / "review" / "review.csv"
    table.write_text(table.read_text().replace(",,true,", ",yes,true,"))
    card = " ".join(card_of(folder).split())
    assert "people have checked 2, and found 2 to be right (between 34 and 100 %" in card
    assert "of those it discarded, they have checked 0, and found 0 to be right" in card
    table.write_text(table.read_text().replace(",yes,true,", ",,true,").replace(",,false,", ",no,false,"))
    card = " ".join(card_of(folder).split())
    assert "people have checked 0, and found 0 to be right; of those it discarded, they have checked 2" in card

    make_run(folder, licenses=("mit", "cc0-1.0"), texts=("Something else.", "And another one."))
    assert "No person has checked how often the Reviewer is right." in card_of(folder)


def test_runs_without_agents_have_a_card(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "run.json").unlink()
    shutil.rmtree(folder / "review", ignore_errors=True)
    card = card_of(folder)
    assert "No agent worked on it" in card
