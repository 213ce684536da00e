"""Generation in every way that transformers knows: in pieces, from a cache, with drafts, and on generated ids."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, DynamicCache

import videorefer_plugin as vr
from tests.tiny_hosts import BY_NAME, ROWS
from videorefer_plugin.models.cache import CACHE

OWN = "videorefer"
MROPE = ("qwen2_5_vl", "qwen3_vl")
GREEDY = {"do_sample": False, "eos_token_id": None, "max_new_tokens": 5}
END = " Right.\nuser: And where is <region> now?\nassistant:"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only slow models of this size down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Subject:
    """The embedded model, or an object encoder on a tiny host."""

    name: str
    model: Any
    processor: Any
    side: tuple[int, int]
    video_token: str

    def video(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (8, *self.side, 3), dtype=np.uint8)

    def region(self, *frames: int, right: bool = False, low: bool = False) -> vr.Region:
        height, width = self.side
        left, top = (width // 2) * right, (height // 2) * low
        return vr.Region(dict.fromkeys(frames, (left, top, left + width // 2, top + height // 2)))

    def inputs(self, *texts: str, regions: list[list[vr.Region]] | None = None) -> dict[str, Any]:
        """A video for each text, and its regions."""
        prompts = [f"user: {self.video_token}\n{text}" for text in texts]
        videos = [self.video(seed + 1) for seed in range(len(texts))]
        return dict(self.processor(text=prompts, videos=videos, regions=regions, return_tensors="pt", padding=True))

    @property
    def vocabulary(self) -> int:
        return self.model.config.get_text_config().vocab_size


@functools.cache
def subject(name: str) -> Subject:
    if name != OWN:
        row = BY_NAME[name]
        return Subject(name, *row.attached(), row.side, row.video_token)
    path = vr.tiny_checkpoint()
    model = AutoModel.from_pretrained(path).eval()
    side = model.config.vision_config.image_size
    return Subject(name, model, AutoProcessor.from_pretrained(path), (side, side), "<video>")


every_subject = pytest.mark.parametrize("name", [OWN, *(row.name for row in ROWS)])


def generate(model: Any, inputs: dict[str, Any], **settings: Any) -> torch.Tensor:
    return model.generate(**inputs, **{**GREEDY, **settings})


def answer(model: Any, inputs: dict[str, Any], **settings: Any) -> list[list[int]]:
    return generate(model, inputs, **settings)[:, inputs["input_ids"].shape[1] :].tolist()


def only(inputs: dict[str, Any], *parts: str) -> dict[str, Any]:
    """The arguments whose names begin like that."""
    return {name: value for name, value in inputs.items() if name.startswith(parts)}


def without(inputs: dict[str, Any], *parts: str) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not name.startswith(parts)}


IDS = ("input_ids", "attention_mask", "mm_token_type_ids")


def cut(inputs: dict[str, Any], start: int | None, end: int | None) -> dict[str, Any]:
    """Columns of the ids and what is as long."""
    return {name: value[:, start:end] if name in IDS else value for name, value in inputs.items()}


@dataclass
class Conversation:
    """A first turn with a region, whose positions lie in a cache, and a second with another one."""

    whole: dict[str, Any]
    first_regions: dict[str, Any]
    second_regions: dict[str, Any]
    other_regions: dict[str, Any]
    length: int  # of the first turn

    def cache(self, model: Any) -> DynamicCache:
        cache = DynamicCache(config=model.config.get_text_config())
        first = {**cut(without(self.whole, "region_"), None, self.length), **self.first_regions}
        model.generate(**first, **{CACHE: cache}, max_new_tokens=1)
        assert cache.get_seq_length() == self.length
        return cache


def conversation(subject: Subject, batch: int = 1) -> Conversation:
    turns = ["What is <region> doing?" + END, "<region>?" + END][:batch]
    regions = [[subject.region(1), subject.region(3, 5, right=True)], [subject.region(2, low=True), subject.region(6)]]
    whole = subject.inputs(*turns, regions=regions[:batch])
    regions = [[*each, other] for each, other in zip(regions, (subject.region(0, 6), subject.region(1)), strict=True)]
    texts = ["<region>"] * batch
    parts = [
        only(subject.inputs(*texts, regions=[[each[turn]] for each in regions[:batch]]), "region_")
        for turn in range(3)
    ]
    end = subject.processor.tokenizer(END.partition("<region>")[0], add_special_tokens=False)["input_ids"]
    places = whole["input_ids"] == subject.model.region_token_id
    late = places.shape[1] - int(places.flip(1).int().argmax(dim=1).max())
    length = late - int(places[0, late - 3 : late].sum()) - len(end)
    counts = places[:, :length].sum(1), places[:, length:].sum(1)
    assert (counts[0] > 0).all()
    assert (counts[1] > 0).all()
    return Conversation(whole, *parts, length)


# ------------------------------------------------------------------------------------------------- from a cache


@pytest.mark.spread(2)
@every_subject
@pytest.mark.parametrize("batch", [1, 2])
def test_a_conversation_goes_on_from_its_cache(name: str, batch: int) -> None:
    this = subject(name)
    regions = [[this.region(1)], [this.region(3, 5, right=True)]]
    inputs = this.inputs(*["What is <region> doing?", "<region>?"][:batch], regions=regions[:batch])
    out = generate(this.model, inputs, return_dict_in_generate=True)
    assert out[CACHE].get_seq_length() == out.sequences.shape[1] - 1
    question = torch.tensor([[70, 71, 72]]).expand(batch, -1)
    ids = torch.cat([out.sequences, question], dim=1)
    added = ids.shape[1] - inputs["attention_mask"].shape[1]
    mask = torch.cat([inputs["attention_mask"], inputs["attention_mask"].new_ones(batch, added)], dim=1)
    scratch = {**inputs, "input_ids": ids, "attention_mask": mask}
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        scratch["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(batch, added)], dim=1)
    expected = answer(this.model, scratch)
    got = answer(this.model, {"input_ids": ids, "attention_mask": mask}, **{CACHE: out[CACHE]})
    assert got == expected


def refused_where_ambiguous(name: str, batch: int) -> Any:
    """Visuals in the cache cannot be told apart where a sample has room for several, as in tiny hosts."""
    if batch == 1 or name == "videorefer":
        return contextlib.nullcontext()
    return pytest.raises(vr.PromptError, match="cannot be told which of the 2 samples")


@pytest.mark.spread(2)
@every_subject
@pytest.mark.parametrize("batch", [1, 2])
def test_regions_and_visuals_of_cached_positions_may_come_or_not(name: str, batch: int) -> None:
    if (name, batch) == ("qwen2_5_vl", 2):
        pytest.skip("the bare host forgets about padding when it goes on from a cache")
    this = subject(name)
    talk = conversation(this, batch)
    model, whole = this.model, talk.whole
    expected = answer(model, whole)
    ways = {
        "all": whole,
        "the new regions": {**without(whole, "region_"), **talk.second_regions},
    }
    if batch == 1:  # without padding, no mask is needed
        ways["no mask"] = without(whole, "attention_mask")
    for way, inputs in ways.items():
        assert answer(model, inputs, **{CACHE: talk.cache(model)}) == expected, way
    # The end of the ids alone, as long as the mask tells where it lies.
    end = {**cut(whole, talk.length, None), "attention_mask": whole["attention_mask"], **talk.second_regions}
    if name not in MROPE:  # whose positions transformers makes of the whole ids
        with refused_where_ambiguous(name, batch):
            assert answer(model, end, **{CACHE: talk.cache(model)}) == expected


@pytest.mark.spread(3)
@every_subject
@pytest.mark.parametrize("batch", [1, 2])
def test_forward_goes_on_from_a_cache_with_regions(name: str, batch: int) -> None:
    this = subject(name)
    talk = conversation(this, batch)
    model, whole = this.model, talk.whole
    end = {**cut(whole, talk.length, None), "attention_mask": whole["attention_mask"], **talk.second_regions}
    if name in MROPE:
        if batch > 1:
            pytest.skip("with a cache, the bare host doesn't take a mask that is longer than the ids")
        del end["attention_mask"]
    caches = [DynamicCache(config=model.config.get_text_config()) for _ in range(2)]
    first = {**cut(without(whole, "region_"), None, talk.length), **talk.first_regions}
    with torch.no_grad():
        expected = model(**whole).logits[:, talk.length :]
        for cache in caches:
            model(**first, **{CACHE: cache})
        with refused_where_ambiguous(name, batch):
            got = model(**end, **{CACHE: caches[0]}).logits
            other = model(**{**end, **talk.other_regions}, **{CACHE: caches[1]}).logits
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=0)
            assert not torch.allclose(other, expected, atol=1e-3), "the region doesn't matter"


@pytest.mark.spread(2)
@every_subject
def test_a_wrong_number_of_regions_is_still_an_error(name: str) -> None:
    this = subject(name)
    talk = conversation(this)
    model, whole = this.model, talk.whole
    four = only(this.inputs("<region>" * 4, regions=[[this.region(frame) for frame in (1, 2, 3, 4)]]), "region_")
    bare = without(whole, "region_")
    with pytest.raises(vr.PromptError, match="are in the cache"):
        answer(model, {**bare, **four}, **{CACHE: talk.cache(model)})
    with pytest.raises(vr.PromptError, match="are in the cache"):
        answer(model, bare, **{CACHE: talk.cache(model)})
    end = cut({**bare, "attention_mask": whole["attention_mask"]}, talk.length, None)
    end["attention_mask"] = whole["attention_mask"]
    for regions in ({}, four):
        with pytest.raises(vr.PromptError, match="region"), torch.no_grad():
            model(**end, **regions, **{CACHE: talk.cache(model)})


# ------------------------------------------------------------------------------------------------- in every way


# Settings, and whether they take batches.
WAYS = {
    "without a cache": ({"use_cache": False}, True),
    "static cache": ({"cache_implementation": "static"}, True),
    "chunks": ({"prefill_chunk_size": 7}, True),
    "one chunk": ({"prefill_chunk_size": 1000}, True),
    "static cache and chunks": ({"cache_implementation": "static", "prefill_chunk_size": 7}, True),
    "prompt lookup": ({"prompt_lookup_num_tokens": 3}, False),
    "assisted": ({"assistant_model": True}, False),
}
# What the bare host cannot do with a video either: before 5.24, transformers leaves visuals out of chunks.
CHUNKS = ("chunks", "static cache and chunks")
HOSTS = [row.name for row in ROWS if row.name != "videollama2"]
CANNOT = {"video_llama_3": CHUNKS} if CACHE == "cache" else dict.fromkeys(HOSTS, CHUNKS)


@pytest.mark.spread(3)
@every_subject
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_greedy_answer(name: str, way: str) -> None:
    this = subject(name)
    settings, takes_batches = WAYS[way]
    if "assistant_model" in settings:
        settings = {"assistant_model": this.model}
    regions = [[this.region(1), this.region(3, 5, right=True)], [this.region(2, low=True)]]
    batch = this.inputs("What is <region> doing near <region>?", "<region>?", regions=regions)
    if way in CANNOT.get(name, ()):
        bare, inputs = BY_NAME[name].model(), this.inputs("What?")
        with contextlib.suppress(IndexError, RuntimeError):
            assert answer(bare, inputs, **settings) != answer(bare, inputs)
        return
    if not takes_batches:
        batch = this.inputs("What is <region> doing near <region>?", regions=regions[:1])
    assert answer(this.model, batch, **settings) == answer(this.model, batch)


@pytest.mark.spread(2)
@every_subject
def test_beams_and_several_answers_go_on_from_a_cache(name: str) -> None:
    if CACHE != "cache" and name in ("smolvlm", "internvl", "perception_lm"):
        pytest.skip("before 5.24, beams of the bare host mix up the frames of a video")
    this = subject(name)
    talk = conversation(this)
    cache = talk.cache(this.model)
    cache.batch_repeat_interleave(3)
    beams = {"num_beams": 3, "num_return_sequences": 2}
    assert answer(this.model, talk.whole, **beams, **{CACHE: cache}) == answer(this.model, talk.whole, **beams)


# ------------------------------------------------------------------------------------------------- generated ids


def force(model: Any, ids: list[int]) -> Any:
    """A logits processor under which the model writes these ids."""

    class Forced(list):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            place = (input_ids.shape[1] - self[0]) % len(ids)
            forced = torch.full_like(scores, float("-inf"))
            forced[:, ids[place]] = 0
            return forced

    return Forced


def test_generated_placeholders_are_words() -> None:
    this = subject(OWN)
    model = this.model
    regions = [[this.region(1)], [this.region(3, 5, right=True)]]
    inputs = this.inputs("What is <region> doing?", "<region>?", regions=regions)
    written = [*model.visual_token_ids, model.region_token_id, 5]
    length = inputs["input_ids"].shape[1]
    forced = [force(model, written)([length])]
    expected = None
    for settings in ({}, {"use_cache": False}, {"cache_implementation": "static"}, {"num_beams": 2}):
        out = generate(
            model, inputs, logits_processor=forced, suppress_tokens=[], max_new_tokens=8, **settings,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        assert out.sequences[:, length:].tolist() == [written * 2] * 2
        if "num_beams" in settings:
            continue
        logits = torch.stack(out.logits)
        expected = logits if expected is None else expected
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    # The embedding of the word counts, not that of another one.
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        kept = table[written].clone()
        table[written] += 1.0
        changed = generate(
            model, inputs, logits_processor=forced, suppress_tokens=[], max_new_tokens=4,
            output_logits=True, return_dict_in_generate=True,
        ).logits  # fmt: skip
        table[written] = kept
    others = [number for number in range(this.vocabulary) if number not in written]  # the head may share the table
    torch.testing.assert_close(changed[0][:, others], expected[0][:, others])
    assert not torch.allclose(changed[1][:, others], expected[1][:, others], atol=1e-3)


def test_placeholders_are_not_generated_unless_asked_for() -> None:
    this = subject(OWN)
    model = this.model
    for text, regions in (("<region>?", [[this.region(1)]]), ("What?", None)):
        inputs = this.inputs(text, regions=regions)
        for token in (*model.visual_token_ids, model.region_token_id):
            bias = {"sequence_bias": {(token,): 1e4}}
            assert answer(model, inputs, **bias)[0].count(token) == 0
            assert answer(model, inputs, **bias, suppress_tokens=[])[0] == [token] * 5


def test_a_step_by_hand_takes_a_generated_placeholder_for_a_word() -> None:
    this = subject(OWN)
    model = this.model
    inputs = this.inputs("<region>?", regions=[[this.region(1)]])
    for token in (*model.visual_token_ids, model.region_token_id):
        with torch.no_grad():
            cache = model(**inputs)[CACHE]
            mask = torch.ones(1, cache.get_seq_length() + 1, dtype=torch.long)
            step = model(input_ids=torch.tensor([[token]]), attention_mask=mask, **{CACHE: cache})
        assert torch.isfinite(step.logits).all()


# ------------------------------------------------------------------------------------------------- embeddings


@pytest.mark.spread(3)
@every_subject
def test_embeddings_of_text_generate(name: str) -> None:
    this = subject(name)
    ids = torch.tensor([[40, 41, 42, 43], [50, 51, 52, 53]])
    embeds = this.model.get_input_embeddings()(ids).detach()
    expected = answer(this.model, {"input_ids": ids})
    assert generate(this.model, {"inputs_embeds": embeds}).tolist() == expected
    assert generate(this.model, {"inputs_embeds": embeds, "input_ids": ids})[:, 4:].tolist() == expected
    if name != OWN:
        assert generate(BY_NAME[name].model(), {"inputs_embeds": embeds}).tolist() == expected


def test_regions_cannot_be_found_in_embeddings() -> None:
    this = subject(OWN)
    inputs = this.inputs("<region>?", regions=[[this.region(1)]])
    embeds = torch.zeros(1, 4, this.model.config.text_config.hidden_size)
    with pytest.raises(vr.PromptError, match="input_ids"):
        generate(this.model, {**without(inputs, "input_ids", "attention_mask"), "inputs_embeds": embeds})


# ------------------------------------------------------------------------------------------------- as one graph


new_torch = pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="transformers needs a newer torch")


def one_graph(kind: str, model: Any, inputs: dict[str, Any]) -> Any:
    if kind == "export":
        return torch.export.export(model, (), inputs, strict=False).module()(**inputs).logits
    torch._dynamo.reset()
    return torch.compile(model, fullgraph=True, backend=kind)(**inputs).logits


@pytest.mark.slow
@new_torch
@pytest.mark.parametrize("kind", ["export", pytest.param("eager", marks=pytest.mark.slow)])
def test_a_prompt_with_regions_is_one_graph(kind: str) -> None:
    """Also where samples differ in their regions, and a mask lies on a frame that the clip doesn't show."""
    this = subject(OWN)
    videos = [np.concatenate([this.video(1)] * 3), this.video(2)]
    regions = [
        [this.region(*range(6)), this.region(2, right=True), this.region(0, 23, low=True)],
        [this.region(5, low=True)],
    ]
    text = ["<video>\nIs <region> near <region> and <region>?", "<video>\n<region>?"]
    inputs = dict(this.processor(text=text, videos=videos, regions=regions, return_tensors="pt", padding=True))
    assert inputs["region_pixel_values"].shape[1] > 0
    with torch.no_grad():
        expected = this.model(**inputs).logits
        got = one_graph(kind, this.model, {**inputs, "use_cache": False})
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
