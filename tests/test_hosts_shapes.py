"""A host learns what `<region>` is: trained with a shipped recipe on the shapes world, asked about other clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests import shapes_host
from videorefer_plugin.cli import app

CHANCE = 1 / 4  # the four objects of a clip differ in what is asked


@pytest.mark.slow
def test_region_questions_are_answered_above_chance_and_only_by_the_mask(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    records = shapes_host.write_records(tmp_path / "shapes", 400)
    host = shapes_host.write_host(tmp_path / "host", records)
    out = tmp_path / "out"
    settings = [f"model.checkpoint={host}", f"data.files={records}", f"output.folder={out}"]
    result = CliRunner().invoke(app, ["train", "run", "attach/llava-onevision-tiny", *settings])
    assert result.exit_code == 0, result.output

    model = AutoModelForImageTextToText.from_pretrained(out).eval()
    host_processor = AutoProcessor.from_pretrained(out)
    vr.load_object_encoder(model, out, processor=host_processor)
    processor = vr.RegionProcessor(host_processor, model, num_frames=2)
    questions = list(shapes_host.heldout_questions(40))
    own = [index for _, _, index in questions]
    shuffled = np.random.default_rng(0).integers(4, size=len(questions)).tolist()

    def right(said: list[str], about: list[int], name: str) -> float:
        scores = [
            answer == shapes_host.answers(clip)[name, index]
            for answer, (clip, asked, _), index in zip(said, questions, about, strict=True)
            if asked == name
        ]
        return float(np.mean(scores))

    with_own, with_another = (shapes_host.ask_all(model, processor, questions, masks) for masks in (own, shuffled))
    report: dict[str, Any] = {}
    for name in shapes_host.ASKED:
        report[name] = {
            "own mask": right(with_own, own, name),
            "mask shuffled": right(with_another, own, name),
            "mask shuffled, asked of the masked one": right(with_another, shuffled, name),
        }
    print(report)
    torch.set_num_threads(threads)
    # 160 questions of each kind: chance is exceeded by four standard deviations at 0.39.
    for name, scores in report.items():
        assert scores["own mask"] > 0.39, name
        assert scores["mask shuffled"] < 0.39, name
        assert scores["mask shuffled, asked of the masked one"] > 0.39, name
