"""A real chain without a hub: real clips, spaCy's nouns, a small real segmenter, and embeddings of sentences.

The packages are a check's tools and no dependencies, so where they lie is said by environment variables:
`VIDEOREFER_CHECK_CLIPS` (a folder with `bigbuckbunny.mp4`, `bikes.mp4` and `carphone_pristine.mp4`),
`VIDEOREFER_SPACY_MODEL`, `VIDEOREFER_SENTENCE_MODEL` and `VIDEOREFER_SEGMENTATION_MODEL`.
"""

import json
import os
from pathlib import Path

import pytest

from tests.real_parts import MODEL
from videorefer_plugin.data_engine.recipe import recipe_of
from videorefer_plugin.data_engine.runs import run_engine
from videorefer_plugin.training.check import check_data

NEEDED = ("VIDEOREFER_CHECK_CLIPS", "VIDEOREFER_SPACY_MODEL", "VIDEOREFER_SENTENCE_MODEL", MODEL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(os.environ.get(name) for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"),
]

CAPTIONS = {
    "bigbuckbunny": "A big gray rabbit is standing on a green hill.",
    "bikes": "A cyclist waits with his bicycle beside a bus.",
    "carphone_pristine": "A young man with a red bow tie is talking in a car.",
}
# What somebody said of each noun, without having seen any mask.
SAID = {
    "bigbuckbunny": {"rabbit": "A fat gray rabbit with long ears that stretches and yawns.", "hill": "A green hill."},
    "bikes": {"cyclist": "A man with a helmet on a bicycle.", "bicycle": "A black bicycle.", "bus": "A gray bus."},
    "carphone_pristine": {
        "man": "A young man with brown hair, a black suit and a red bow tie, who is talking.",
        "tie": "A red bow tie.",
        "car": "The inside of a car with a striped blue blind.",
    },
}
# What somebody said of the pixels that the segmenter marks, without having read the captions.
SEEN = {
    "bigbuckbunny": {"foreground": "a big gray rabbit"},
    "bikes": {"foreground": "the shiny metal body of a parked car"},  # which the segmenter takes for a person
    "carphone_pristine": {"foreground": "a man in a suit speaking"},
}


def test_real_parts_make_records_of_what_is_really_there(tmp_path):
    clips = Path(os.environ["VIDEOREFER_CHECK_CLIPS"])
    table = tmp_path / "table.json"
    rows = [{"id": name, "video": str(clips / f"{name}.mp4"), "caption": said} for name, said in CAPTIONS.items()]
    table.write_text(json.dumps(rows))
    recipe = recipe_of(
        {
            "product": "detailed",
            "source": {"files": [str(table)]},
            "output": {"folder": str(tmp_path / "run")},
            "analyzer": {"backend": "spacy", "settings": {"model": os.environ["VIDEOREFER_SPACY_MODEL"]}},
            "segmentor": {
                "backend": "masklets",
                "settings": {
                    "finder": "tests.real_parts:ForegroundFinder",
                    "follower": "classical",
                    "same_overlap": None,  # it finds the same for every noun, which the Reviewer is to notice
                },
            },
            "annotator": {"backend": "tests.real_parts:GivenAnnotator", "settings": {"said": SAID}},
            "captioner": {"backend": "tests.real_parts:GivenCaptioner", "settings": {"said": SEEN}},
            "reviewer": {
                "backend": "embedding",
                "settings": {"model": os.environ["VIDEOREFER_SENTENCE_MODEL"], "threshold": 0.4},
            },
            "refiner": {"backend": "tests.real_parts:GivenRefiner", "settings": {"said": SAID}},
        }
    )
    report = run_engine(recipe)
    print(report.table())
    records = json.loads((tmp_path / "run" / "records.json").read_text())
    discarded = json.loads((tmp_path / "run" / "discarded.json").read_text())
    kept = {(record["id"].split("/")[0], record["conversations"][1]["value"]) for record in records}
    assert {("bigbuckbunny", SAID["bigbuckbunny"]["rabbit"])} <= kept
    assert {("carphone_pristine", SAID["carphone_pristine"]["man"])} <= kept
    left = {record["conversations"][1]["value"] for record in discarded}
    assert SAID["bigbuckbunny"]["hill"] in left
    assert SAID["bikes"]["cyclist"] in left
    assert SAID["carphone_pristine"]["car"] in left
    assert not check_data(tmp_path / "run" / "records.json", deep=True).bad
