"""Sessions with hosts: prompts are prepared as the host's processor and model would, and all that is computed once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from tests.tiny_hosts import BY_NAME, ROWS, HostRow
from videorefer_plugin import PromptError, Region, RegionError, VideoReferError, VideoSession, open_video
from videorefer_plugin.asking import answer
from videorefer_plugin.hosts import Host
from videorefer_plugin.hosts.grids import FrameGrids
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.session.hosts import HostVisuals
from videorefer_plugin.session.prompts import Computed, Prepared

CASES = [(row, kind) for row in ROWS for kind in ("video", "image")]
IDS = [f"{row.name}-{kind}" for row, kind in CASES]
Questions = list[tuple[str, list[Region]]]


@cache
def attached(name: str) -> tuple[Any, Any]:
    return BY_NAME[name].attached()


class Case:
    """A tiny host, its processor, and a visual with questions about it."""

    def __init__(self, row: HostRow, kind: str):
        self.row, self.kind = row, kind
        self.model, self.processor = attached(row.name)
        self.video = open_video(row.video(), fps=1.0) if kind == "video" else open_image(row.video()[0])
        self.computed = Computed()
        self.asked: Questions = self.questions()
        self.texts = [self.text(text) for text, _ in self.asked]
        self.regions = [regions for _, regions in self.asked]

    def region(self, *frames: int, left: int = 0) -> Region:
        height, width = self.row.side
        return Region(dict.fromkeys(frames, (left, 0, left + width // 2, height // 2)))

    def questions(self) -> Questions:
        """Without regions, on frames that are sampled (1, 3, 4 and 6), on others, with two regions, and one again."""
        if self.kind == "image" and not self.row.takes_images:
            return [("What is this?", []), ("And what may that be?", [])]
        one, two, other = ((0,), (0,), (0,)) if self.kind == "image" else ((3,), (4, 7), (5,))
        return [
            ("What is this?", []),
            ("What is <region> doing?", [self.region(*one)]),
            ("Hm, <region>?", [self.region(*other)]),
            ("How far is <region> from <region>?", [self.region(*one), self.region(*two, left=4)]),
            ("What is <region> doing here?", [self.region(*one)]),
            ("Once more, what is <region>?", [self.region(*two, left=2)]),
        ]

    def text(self, question: str) -> str:
        content = [{"type": self.kind}, {"type": "text", "text": question}]
        conversation = [{"role": "user", "content": content}]
        return self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)

    def inputs(self, place: int, **settings: Any) -> Any:
        """What the processor makes of a question."""
        shown = {f"{self.kind}s": [self.video]}
        return self.processor(text=[self.texts[place]], regions=[self.regions[place]], **shown, **settings)

    def visuals(self, store: FeatureStore | None = None, revision: str = "r", **settings: Any) -> HostVisuals:
        store = store or FeatureStore()
        return HostVisuals(self.model, self.processor, self.kind, self.video, store, revision, settings, self.computed)


@pytest.fixture(params=CASES, ids=IDS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def video_case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param, "video")


def assert_prepared(case: Case, place: int, prepared: Prepared, **settings: Any) -> None:
    """What was prepared is what the processor and the model make of the same prompt."""
    inputs = case.inputs(place, **settings)
    real = inputs["attention_mask"][0].bool()
    assert prepared.input_ids.tolist() == inputs["input_ids"][0][real].tolist()
    assert prepared.inputs.keys() == inputs.keys() & {"mm_token_type_ids"}
    for name, value in prepared.inputs.items():
        assert value.tolist() == inputs[name][0][real].tolist(), name
    encoded = case.model.encode_visuals({name: inputs[name] for name in inputs if "region" not in name}, None)
    assert prepared.shown.encoded.keys() == encoded.keys()
    for kind, output in encoded.items():
        own = prepared.shown.encoded[kind]
        assert_close(flat(own.pooler_output), flat(output.pooler_output))
        layers = [each.get("deepstack_features") or [] for each in (own, output)]
        for left, right in zip(*layers, strict=True):
            assert_close(flat(left), flat(right))
    tokens = case.model.get_region_tokens(**inputs)[0]
    empty = torch.zeros((0, case.model.object_encoder.config.hidden_size))
    assert_close(prepared.object_tokens, torch.cat([empty, *tokens]))


def assert_close(left: torch.Tensor, right: torch.Tensor) -> None:
    """The same up to how sums round in batches of different sizes."""
    torch.testing.assert_close(left, right, rtol=1e-5, atol=2e-5)


def flat(tokens: Any) -> torch.Tensor:
    parts = [tokens] if isinstance(tokens, torch.Tensor) else list(tokens)
    return torch.cat([part.flatten(0, -2) for part in parts])


@contextmanager
def tower_counts(model: Any) -> Iterator[list[int]]:
    """How many values the vision tower sees in each of its runs."""
    tower = model.get_vision_tower()
    first = next(module for module in tower.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d))
    counts: list[int] = []
    handle = first.register_forward_hook(lambda module, args, output: counts.append(args[0].numel()))
    try:
        yield counts
    finally:
        handle.remove()


# --- the same as without a session -----------------------------------------------------------------------------------


@pytest.mark.spread(2)
@torch.no_grad()
def test_prompts_are_prepared_as_the_processor_and_the_model_would(case: Case) -> None:
    visuals = case.visuals()
    together = visuals.prepare(case.texts, case.regions)
    read = case.computed.frames_read, case.computed.frames_encoded
    again = [visuals.prepare([text], [own])[0] for text, own in zip(case.texts, case.regions, strict=True)]
    assert (case.computed.frames_read, case.computed.frames_encoded) == read
    for place, both in enumerate(zip(together, again, strict=True)):
        for prepared in both:
            assert_prepared(case, place, prepared)
        assert both[0].shown is both[1].shown


@pytest.mark.spread(2)
def test_a_session_answers_as_single_calls_do(case: Case) -> None:
    expected = [
        vr.ask(case.model, None, text, regions, processor=case.processor, image=case.video, max_new_tokens=6)
        if case.kind == "image"
        else vr.ask(case.model, case.video, text, regions, processor=case.processor, max_new_tokens=6)
        for text, regions in case.asked
    ]
    with VideoSession(case.model, case.processor, **{case.kind: case.video}) as session:
        assert session.ask_many(case.asked, max_new_tokens=6) == expected
        assert session.ask(*case.asked[1], max_new_tokens=6) == expected[1]


def test_similarity_can_be_asked_for(video_case: Case) -> None:
    case = video_case
    with VideoSession(case.model, case.processor, case.video) as session:
        found = session.similarity(case.region(3, 4, 6))
    assert found.frames == (3, 4, 6)
    assert found.similarities.shape == (2,)


@pytest.mark.spread(2)
def test_a_conversation_goes_on_as_if_all_of_it_were_asked_at_once(video_case: Case) -> None:
    case = video_case
    with VideoSession(case.model, case.processor, case.video) as session:
        chat = session.chat()
        conversation: list[dict[str, Any]] = []
        said: list[Region] = []
        for number, (text, regions) in enumerate(case.asked):
            visual = [] if number else [{"type": "video", "video": case.video}]
            conversation.append({"role": "user", "content": [*visual, {"type": "text", "text": text}]})
            said += regions
            (expected,) = answer(case.model, case.processor, [conversation], [said], max_new_tokens=6)
            assert chat.ask(text, regions, max_new_tokens=6) == expected
            conversation.append({"role": "assistant", "content": [{"type": "text", "text": expected}]})
        assert session.computed.frames_read == 6


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("fps", [0.1, 25.0])
def test_text_after_a_slow_video_has_the_positions_that_the_host_gives_it(name: str, fps: float) -> None:
    case = Case(BY_NAME[name], "video")
    video = open_video(case.row.video(), fps=fps)
    expected = [vr.ask(case.model, video, *one, processor=case.processor, max_new_tokens=6) for one in case.asked]
    with VideoSession(case.model, case.processor, video) as session:
        assert session.ask_many(case.asked, max_new_tokens=6) == expected


SETTINGS: list[dict[str, Any]] = [
    {"num_frames": 2},
    {"fps": 0.5, "max_frames": 3},
    {"max_frames_per_region": 1},
    {"mask_policy": "original"},
    {"do_sample_frames": False},
    {"video_start": 2.0, "video_end": 7.0},
    {"padding": "max_length", "max_length": 900, "padding_side": "right"},
    {"return_metadata": True},
]


@pytest.mark.spread(2)
@torch.no_grad()
@pytest.mark.parametrize("settings", SETTINGS, ids=[next(iter(settings)) for settings in SETTINGS])
@pytest.mark.parametrize("name", ["qwen2_5_vl", "smolvlm", "videollama2"])
def test_settings_of_the_processor_count(name: str, settings: dict[str, Any]) -> None:
    case = Case(BY_NAME[name], "video")
    if "mask_policy" in settings:  # of a region without pixels in one of its frames
        case.regions[2] = [Region({2: (0, 0, 8, 8), 5: None})]
    for place, prepared in enumerate(case.visuals(**settings).prepare(case.texts, case.regions)):
        assert_prepared(case, place, prepared, **settings)


@pytest.mark.spread(2)
@torch.no_grad()
@pytest.mark.parametrize("name", ["qwen2_5_vl", "video_llama_3", "videollama2"])
def test_frames_that_are_equal_are_shown_as_often_as_they_stand_there(name: str) -> None:
    case = Case(BY_NAME[name], "video")
    frames = case.row.video()
    frames[1:6] = frames[0]  # tokens of such frames are left out by some hosts
    case.video = open_video(frames)
    for place, prepared in enumerate(case.visuals().prepare(case.texts, case.regions)):
        assert_prepared(case, place, prepared)
    assert case.computed.frames_encoded < case.computed.frames_read


@pytest.mark.spread(3)
@torch.no_grad()
def test_a_host_that_mixes_rows_is_encoded_as_a_whole(video_case: Case) -> None:
    case = video_case
    visuals = case.visuals(revision="")
    for place, prepared in enumerate(visuals.prepare(case.texts, case.regions)):
        assert_prepared(case, place, prepared)
    known = case.computed.frames_encoded
    visuals.prepare(case.texts, case.regions)
    assert case.computed.frames_encoded == known


@torch.no_grad()
def test_a_host_that_lays_features_out_in_its_own_way_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(BY_NAME["llava_onevision"], "video")
    usual = Host.lay_out

    def mirrored(self: Host, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> FrameGrids:
        grids = usual(self, model, kind, output, inputs)
        cells = grids.cells.unflatten(0, (-1, *case.row.grid)).flip(2).flatten(0, 2)
        return grids._replace(cells=cells)

    monkeypatch.setattr(type(case.processor.host), "lay_out", mirrored)
    for place, prepared in enumerate(case.visuals().prepare(case.texts, case.regions)):
        assert_prepared(case, place, prepared)


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.spread(3)
@torch.no_grad()
def test_frames_are_read_and_rows_of_features_computed_once(video_case: Case) -> None:
    case, store = video_case, FeatureStore()
    fused = case.row.frames_per_row > 1
    visuals = case.visuals(store)
    with tower_counts(case.model) as counts:
        visuals.prepare(case.texts[:1], case.regions[:1])
        per_row = sum(counts) // case.computed.frames_encoded
        assert case.computed == Computed(4, 2 if fused else 4)
        for texts, regions in (pairs := [(case.texts, case.regions), (case.texts[::-1], case.regions[::-1])]):
            visuals.prepare(texts, regions)
        assert case.computed == Computed(6, 4 if fused else 6)
        assert sum(counts) == case.computed.frames_encoded * per_row
        counts.clear()
        for texts, regions in pairs:  # another session
            case.visuals(store).prepare(texts, regions)
        assert not counts


@pytest.mark.spread(2)
@torch.no_grad()
def test_the_host_s_processor_sees_each_choice_of_frames_once(video_case: Case) -> None:
    case = video_case
    host = case.processor.processor
    part = host.image_processor if case.row.name == "videollama2" else host.video_processor
    seen: list[Any] = []

    class Counts(type(part)):  # type: ignore[misc]
        def preprocess(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(args)
            return super().preprocess(*args, **kwargs)

    visuals = case.visuals()
    usual = type(part)
    part.__class__ = Counts
    try:
        for _ in range(2):
            visuals.prepare(case.texts, case.regions)
    finally:
        part.__class__ = usual
    assert len(seen) == 3


@torch.no_grad()
def test_a_processor_that_was_changed_sees_the_frames_again() -> None:
    case = Case(BY_NAME["llava_onevision"], "video")
    visuals = case.visuals()
    before = visuals.prepare(case.texts, case.regions)
    part = case.processor.processor.video_processor
    usual, part.image_mean = part.image_mean, [0.1, 0.1, 0.1]
    try:
        after = visuals.prepare(case.texts, case.regions)
        assert before[0].shown.key != after[0].shown.key
        for place, prepared in enumerate(after):
            assert_prepared(case, place, prepared)
    finally:
        part.image_mean = usual


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@torch.no_grad()
def test_what_was_dropped_is_computed_again(video_case: Case) -> None:
    case, store = video_case, FeatureStore(3000)
    visuals = case.visuals(store)
    for _ in range(2):
        for place, prepared in enumerate(visuals.prepare(case.texts, case.regions)):
            assert_prepared(case, place, prepared)
        assert store.memory() <= 3000
    held = visuals.memory()
    assert held > 0
    while visuals.forget():
        assert visuals.memory() < held
        held = visuals.memory()
    assert visuals.memory() == 0
    for place, prepared in enumerate(visuals.prepare(case.texts, case.regions)):
        assert_prepared(case, place, prepared)


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[Case], tuple[str, Any]], type[VideoReferError]]] = {
    "beyond the end": (lambda case: ("What is <region>?", [case.region(8)]), RegionError),
    "no pixel": (lambda case: ("What is <region>?", [Region({3: np.zeros(case.row.side, bool)})]), RegionError),
    "a region too few": (lambda case: ("Is <region> <region>?", [case.region(1)]), PromptError),
    "a region too many": (lambda case: ("What is this?", [case.region(1)]), PromptError),
    "a second visual": (lambda case: (f"And {case.row.video_token}?", []), PromptError),
    "another visual": (lambda case: ("<region>?", [Region({1: (0, 0, 8, 8)}, visual=1)]), RegionError),
}


@torch.no_grad()
@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", ["qwen3_vl", "videollama2"])
def test_what_is_wrong_is_said_as_without_a_session_before_anything_is_read(name: str, what: str) -> None:
    case = Case(BY_NAME[name], "video")
    make, error = WRONG[what]
    text, regions = make(case)
    with pytest.raises(error) as plain:
        case.processor(text=[case.text(text)], videos=[case.video], regions=[regions])
    visuals = case.visuals()
    for call in (visuals.prepare, visuals.check):
        with pytest.raises(error) as alone:
            call([case.text(text)], [regions])
        assert str(alone.value) == str(plain.value)
        with pytest.raises(error) as among_others:
            call([*case.texts, case.text(text)], [*case.regions, regions])
        assert str(among_others.value) == str(plain.value).replace("Sample 0", f"Sample {len(case.texts)}")
    assert case.computed == Computed()


@torch.no_grad()
def test_after_an_error_a_session_goes_on() -> None:
    case = Case(BY_NAME["qwen3_vl"], "video")
    visuals = case.visuals(max_length=100, truncation=True)
    with pytest.raises(PromptError, match="truncated"):
        visuals.prepare([case.texts[0], case.text("What is it? " * 10 + "<region>")], [[], [case.region(5)]])
    for place in (0, 0):
        (prepared,) = visuals.prepare(case.texts[:1], case.regions[:1])
        assert_prepared(case, place, prepared)
