"""Letters of options: the exercises that teach them in words alone, their run, and their loss."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoTokenizer

import videorefer_plugin as vr
from tests import training_runs
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny.card import history
from videorefer_plugin.tiny.continuing import with_language_model
from videorefer_plugin.tiny.making import make_tiny
from videorefer_plugin.tiny.pretraining.exercises import Exercises
from videorefer_plugin.training.letters import LetterLoss
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.run import train
from videorefer_plugin.world.values import COLORS

ASKED = [
    f"Where is [the {name}]? (A) at the {a} (B) at the {b} (C) above it (D) {c}. Answer with the option's letter from "
    "the given choices directly."
    for name, a, b, c in [("cross", "top left", "top right", "below"), ("star", "bottom left", "bottom right", "here")]
    for c in (c, "there", "left", "right", "in the middle")
]


@pytest.mark.parametrize("kind", ["colors", "words", "options"])
def test_a_letter_in_an_exercise_is_that_of_the_words_before_it(kind):
    exercises = Exercises(kind, [*ASKED, "What is it?"], seed=3)
    shown, questions = set(), 0
    for number in range(200):
        one = exercises.make(number)
        listed = one.text if one.question is None else one.question
        listed = listed[listed.index("(A)") :].split(". ")[0]
        options = dict(re.findall(r"\(([A-D])\) (.*?)(?= \([A-D]\)|$)", listed))
        assert sorted(options) == list("ABCD")
        assert len(set(options.values())) == 4
        shown |= set(options.values())
        questions += one.question is not None
        assert len(one.letters) == (3 if one.question is None else 1)
        for place in one.letters:
            said = re.search(r"(?:^Answer:|\.|\)) ([^().]+) \($", one.text[:place])[1]
            assert options[one.text[place]] == said
        assert exercises.make(number) == one != exercises.make(number, kept_back=True)
    assert (questions > 50) == (kind == "options")
    if kind == "colors":
        assert shown == set(COLORS)
    elif kind == "words":
        assert not any(" " in option for option in shown)
    else:
        assert {"at the top left", "above it"} <= shown


def test_what_is_kept_back_is_no_part_of_what_is_learnt():
    more = [one.replace("above it", f"above {letter}") for letter in "wxyz" for one in ASKED]
    exercises = Exercises("options", [*ASKED, *more], 0)
    asked = [
        {
            frozenset(re.findall(r"\) (.*?)(?= \(|\. )", one.question))
            for one in (exercises.make(number, kept_back=back) for number in range(2000))
            if one.question is not None and "above" in one.question and "at the" in one.question
        }
        for back in (False, True)
    ]
    real = [{options for options in some if sum("at the" in option for option in options) >= 2} for some in asked]
    assert real[0]
    assert real[1]
    assert len(real[1] & real[0]) < len(real[1])


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    training_runs.write_language_model(folder / "qwen2")
    turns = [[{"from": "human", "value": one}, {"from": "gpt", "value": "Answer: here"}] for one in ASKED]
    records = [{"id": str(number), "conversations": some} for number, some in enumerate(turns)]
    (folder / "data.json").write_text(json.dumps(records))
    return folder


def recipe(start, out, *changes, name="tiny/stage0_letters"):
    few = ["train.batch_size=2", "train.global_batch_size=2", "train.log_every=2", "train.save_every=2"]
    where = [f"model.checkpoint={start / 'qwen2'}", f"data.files={start / 'data.json'}", f"output.folder={out}"]
    return load_recipe(name, [*where, *few, *changes])


def known(folder):
    state = json.loads((folder / "trainer_state.json").read_text())
    return state["global_step"], [row["letters_known"] for row in state["log_history"] if "letters_known" in row]


def test_an_exercise_ends_when_enough_letters_are_known(start, tmp_path, caplog):
    train(recipe(start, tmp_path / "soon", "pretrain.until=0", "train.max_steps=50"))
    steps, shares = known(tmp_path / "soon")
    assert steps == 2  # at the first look
    assert len(shares) == 1
    with caplog.at_level(logging.WARNING):
        train(recipe(start, tmp_path / "never", "pretrain.until=1", "train.max_steps=5"))
    steps, shares = known(tmp_path / "never")
    assert steps == 5
    assert len(shares) == 3  # also in the end
    assert "After 5 steps" in caplog.text
    # The result is a language model like the one before, for the next exercise and the stages after it.
    where = f"model.checkpoint={tmp_path / 'never'}"
    train(recipe(start, tmp_path / "next", where, "train.max_steps=1", name="tiny/stage0_letters_words"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "never")
    assert tokenizer("(A) red").input_ids == AutoTokenizer.from_pretrained(start / "qwen2")("(A) red").input_ids


@pytest.mark.slow
def test_an_exercise_goes_on_where_it_was(start, tmp_path):
    whole = train(recipe(start, tmp_path / "whole", "train.max_steps=6"))
    train(recipe(start, tmp_path / "parts", "train.max_steps=6"))
    begun = tmp_path / "parts"
    for name in ("model.safetensors", "trainer_state.json", "checkpoint-6"):
        path = begun / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    resumed = train(recipe(start, begun, "train.max_steps=6"))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_exercises_that_cannot_be(start, tmp_path):
    for changes, said in (
        (["pretrain.exercise=numbers"], "pretrain.exercise must be one of"),
        (["train.max_steps=null"], "set train.max_steps"),
        (["train.group_by=modality_length"], "train.group_by to null"),
        (["pretrain.sizes={hidden_size: 64}"], "leave pretrain.sizes out"),
        (["model.checkpoint=null"], "model.checkpoint has to name"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            recipe(start, tmp_path / "out", *changes)
    (tmp_path / "plain.json").write_text(
        json.dumps([{"id": "1", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hi"}]}])
    )
    with pytest.raises(ConfigurationError, match="No question of these records has four options"):
        train(recipe(start, tmp_path / "out", f"data.files={tmp_path / 'plain.json'}"))


def test_older_data_have_no_stage_of_letters(tmp_path):
    with pytest.raises(ConfigurationError, match="letters is made with data from version 7 on, not with version 6"):
        make_tiny(tmp_path, stages=["letters"], data_version=6)


@pytest.mark.slow
def test_a_model_that_exists_goes_on(tmp_path):
    few = ["train.max_steps=1", "train.log_every=1", "train.global_batch_size=2", "train.batch_size=2"]
    folder = make_tiny(tmp_path, clips=6, heldout=0, start=vr.tiny_checkpoint(), overrides=few)
    old, new = (load_file(Path(where) / "model.safetensors") for where in (vr.tiny_checkpoint(), folder))
    assert old.keys() == new.keys()
    kept = [name for name in old if "vision_tower" in name or ".connector." in name]
    assert kept
    assert all(old[name].equal(new[name]) for name in kept)
    table = "model.language_model.embed_tokens.weight"  # letters begin with new vectors; a first step has no rate yet
    assert not old[table].equal(new[table])
    text = history(tmp_path, vr.tiny_checkpoint())
    assert "A model that was made before went on, on 6 clips" in text
    assert text.index("`tiny/stage0_letters_options` | 1 |") < text.index("`tiny/stage0_tower`")
    assert not list(tmp_path.glob("stage2*"))


def test_a_model_that_goes_on_needs_its_letters_and_a_checkpoint(tmp_path):
    with pytest.raises(vr.CheckpointError):
        make_tiny(tmp_path, start=tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="does not run stage2"):
        make_tiny(tmp_path, start=vr.tiny_checkpoint(), stages=["stage2"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="Run the stages letters_colors, letters_words, letters before"):
        with_language_model(vr.tiny_checkpoint(), tmp_path)


def test_letters_count_as_much_as_all_other_tokens():
    tokenizer = AutoTokenizer.from_pretrained(vr.tiny_checkpoint())
    texts = ["A small circle. Answer: it moves up, then down (D)", "Answer: red (A)"]
    ids = [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for text in texts]
    labels = torch.full((2, 40), -100)
    letters = torch.zeros((2, 40), dtype=torch.bool)
    for row, (text, one) in enumerate(zip(texts, ids, strict=True)):
        count = len(one.input_ids)
        labels[row, 1 : count + 1] = torch.tensor(one.input_ids)
        (at,) = (i for i, (start, end) in enumerate(one["offset_mapping"]) if start <= len(text) - 2 < end)
        letters[row, at + 1] = True
    logits = torch.randn(2, 40, len(tokenizer), generator=torch.Generator().manual_seed(0))
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    here, learnt = letters[:, 1:], labels[:, 1:] != -100
    words, marked = each[learnt & ~here].mean(), each[here].mean()
    outputs = type("Outputs", (), {"logits": logits})()
    for weight in (0.0, 1.0, 3.0):
        torch.testing.assert_close(LetterLoss(tokenizer, weight)(outputs, labels), words + weight * marked)
    # Batches of a step weigh by their tokens, and what has no letter has the mean of its words.
    counted = int(learnt.sum())
    torch.testing.assert_close(LetterLoss(tokenizer, 1.0)(outputs, labels, 2 * counted), (words + marked) / 2)
    plain = labels.masked_fill(letters, -100)
    torch.testing.assert_close(LetterLoss(tokenizer, 1.0)(outputs, plain), words)
