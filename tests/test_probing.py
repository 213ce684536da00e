"""Questions asked with something taken away, in one table."""

import json

import pytest
from typer.testing import CliRunner

from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError
from videorefer_plugin.regions import Region
from videorefer_plugin.tiny.probing import CONDITIONS, probe, words_said
from videorefer_plugin.video import open_video


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("part: up, up, down, down. Answer: it moves up, then down (D)", ("it moves up, then down", "D")),
        ("Answer: red (A).", ("red", "A")),
        ("part: up, up, up, up. Answer: it moves up", ("it moves up", None)),
        ("(B)", ("", "B")),
        ("", ("", None)),
    ],
)
def test_words_and_letters_of_answers(answer, said):
    assert words_said(answer) == said


@pytest.mark.slow
def test_one_command_asks_under_all_conditions_and_prints_a_table(tmp_path):
    arguments = ["bench", "probe", "--model", "embedded", "--out", str(tmp_path), "--seed", "99", "--clips", "2"]
    result = CliRunner().invoke(app, [*arguments, "--data-version", "6", "--limit", "3"])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    lines = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines[1:]] == list(CONDITIONS)
    assert "3 questions" in result.stdout
    assert "seed 99, data version 6" in result.stdout
    rows = json.loads((tmp_path / "probe.json").read_text())["rows"]
    # The packaged model answers such questions in words; without options nothing can name a letter.
    assert rows["as it is"]["strict"] == rows["as it is"]["words exactly right"] >= 66
    assert rows["as it is"]["letter agrees with words"] is None
    assert all(0 <= row["strict"] <= 100 for row in rows.values())

    def items(name):
        return json.loads((tmp_path / "items" / f"{name}.json").read_text())

    for name, changed in (("black_video", "video"), ("256_px", "annotation"), ("other_object", "annotation")):
        for plain, other in zip(items("as_it_is"), items(name), strict=True):
            assert plain[changed] != other[changed]
            assert (plain["Question"], plain["options"], plain["Answer"]) == (
                other["Question"],
                other["options"],
                other["Answer"],
            )
    plain, large, dim, black = (
        open_video(tmp_path / items(name)[0]["video"]).read([3])[0]
        for name in ("as_it_is", "256_px", "70_percent_light", "black_video")
    )
    assert large.shape == (256, 256, 3)
    assert abs(dim.mean() / plain.mean() - 0.7) < 0.03
    assert black.max() < 5
    mask = Region.from_annotation(items("256_px")[0]["annotation"][0]).mask(3, 256, 256)
    assert (mask[::4, ::4] == Region.from_annotation(items("as_it_is")[0]["annotation"][0]).mask(3, 64, 64)).all()


def test_conditions_that_do_not_exist(tmp_path):
    with pytest.raises(BenchError, match="Unknown condition 'upside down'; known are as it is"):
        probe("nowhere", tmp_path, 1, conditions=["upside down"])
    assert not (tmp_path / "world").exists()
