"""`VideoSession`: many questions about one video, each answered as if it were asked alone."""

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from tests.batches import tower_rows
from videorefer_plugin import world
from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError, SessionError, VideoError
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.session import Turn

SHORT = {"max_new_tokens": 24}


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """The embedded model, whose answers mean something, so that few scores are close to each other."""
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint(), dtype=torch.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[vr.Region]]:
    made = world.make_clip(5, "heldout", objects=3, theme="mixed", distinct=True)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    world.encode_video(path, made.frames)
    return path, [made.region(number) for number in range(len(made))]


@pytest.fixture
def session(pair: tuple[Any, Any], clip: tuple[Path, list[vr.Region]]) -> Any:
    with vr.VideoSession(*pair, clip[0]) as opened:
        yield opened


def questions(regions: list[vr.Region]) -> list[tuple[str, list[vr.Region]]]:
    """Ragged ones: without regions, with several, in one frame or all, on frames that are shown or not."""
    first, second, third = regions
    return [
        ("What color is <region>?", [first]),
        ("What happens in the video?", []),
        ("Where is <region> with respect to <region>?", [first, second]),
        ("How does <region> look?", [vr.Region({3: third.masks(64, 64, frames=[3]).__next__()[1]})]),
        ("What is <region> doing?", [vr.Region.from_box((4, 4, 30, 30), frame=7)]),
        ("<region> <region> <region>", [third, second, first]),
        ("", []),
    ]


def asked_alone(pair: tuple[Any, Any], visual: Any, asked: list[tuple[str, Any]], **settings: Any) -> list[str]:
    model, processor = pair
    return [vr.ask(model, visual, text, own, processor=processor, **SHORT, **settings) for text, own in asked]


@pytest.fixture(scope="module")
def alone(pair: tuple[Any, Any], clip: tuple[Path, list[vr.Region]]) -> list[str]:
    """What each question is answered without a session."""
    return asked_alone(pair, clip[0], questions(clip[1]))


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_questions_asked_alone(clip: Any, session: Any, alone: list[str]) -> None:
    asked = questions(clip[1])
    assert len(set(alone)) > 4
    assert session.ask_many(asked, **SHORT) == alone
    assert session.ask_many(asked, batch_size=2, **SHORT) == alone
    assert [session.ask(text, own, **SHORT) for text, own in reversed(asked)] == alone[::-1]
    assert session.ask_many([], **SHORT) == []


def test_every_frame_is_read_and_encoded_once(pair: Any, clip: Any) -> None:
    video, regions = clip
    with vr.VideoSession(*pair, video) as session, tower_rows(pair[0]) as runs:
        session.ask_many(questions(regions), **SHORT)
        session.ask_many(questions(regions), **SHORT)
        chat = session.chat()
        chat.ask("What color is <region>?", [regions[0]], **SHORT)
        assert sum(runs) == session.computed.frames_encoded == session.computed.frames_read <= 16  # the clip's


def test_what_comes_before_the_question_is_run_once(pair: Any, clip: Any) -> None:
    video, regions = clip
    model, processor = pair
    inputs = processor(text="<video>\n", videos=video, return_tensors="pt")
    visual = int((inputs["input_ids"] == processor.video_token_id).sum())
    with vr.VideoSession(model, processor, video) as session:
        session.ask("What color is <region>?", [regions[0]], max_new_tokens=1)
        first = session.computed.positions
        for text, own in questions(regions):
            session.ask(text, own, max_new_tokens=1)
        others = session.computed.positions - first
    assert first > visual
    assert others < len(questions(regions)) * visual


def test_a_batch_pads_between_what_is_shared_and_what_is_not(pair: Any, clip: Any, session: Any) -> None:
    long = "What color is <region>? " * 6
    asked = [("What color is <region>?", clip[1][:1]), (long, clip[1][:1] * 6), ("Describe <region>.", clip[1][2:])]
    assert session.ask_many(asked, **SHORT) == asked_alone(pair, clip[0], asked)


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        {"do_sample": True, "top_k": 1},
        {"repetition_penalty": 1.5},
        {"suppress_tokens": []},
        {"no_repeat_ngram_size": 2},
        {"use_cache": False},
        {"use_cache": None},
        {"cache_implementation": "static", "disable_compile": True},
    ],
    ids=str,
)
def test_arguments_of_generate_count_as_they_do_alone(pair: Any, clip: Any, session: Any, settings: Any) -> None:
    asked = questions(clip[1])[:4]
    assert session.ask_many(asked, **SHORT, **settings) == asked_alone(pair, clip[0], asked, **settings)


def test_settings_of_the_processor_count(pair: Any, clip: Any) -> None:
    video, regions = clip
    model, processor = pair
    settings = {"num_frames": 4, "mask_policy": "original", "max_frames_per_region": 2, "video_end": 1.0}
    asked = [("What is <region> doing?", [regions[1]]), ("What color is <region>?", [regions[2]])]
    from videorefer_plugin.asking import answer

    conversations = [
        [{"role": "user", "content": [{"type": "video", "video": video}, {"type": "text", "text": text}]}]
        for text, _ in asked
    ]
    alone = [
        answer(model, processor, [one], [own], processor_kwargs=settings, **SHORT)[0]
        for one, (_, own) in zip(conversations, asked, strict=True)
    ]
    with vr.VideoSession(model, processor, video, **settings) as session:
        assert session.ask_many(asked, **SHORT) == alone
        assert session.computed.frames_read <= 8


def test_regions_may_come_in_their_json_form_or_alone(session: Any, clip: Any) -> None:
    region = clip[1][0]
    answer = session.ask("What color is <region>?", [region], **SHORT)
    assert session.ask("What color is <region>?", region, **SHORT) == answer
    assert session.ask("What color is <region>?", [region.to_json()], **SHORT) == answer


def test_images_can_be_asked_about(pair: Any, clip: Any) -> None:
    image = vr.open_video(clip[0]).read([5])[0]
    box = vr.Region.from_box((8, 8, 40, 40))
    asked = [("What color is <region>?", [box]), ("How does <region> look?", [box]), ("What is there?", [])]
    alone = [vr.ask(pair[0], None, text, own, processor=pair[1], image=image, **SHORT) for text, own in asked]
    with vr.VideoSession(*pair, image=image) as session, tower_rows(pair[0]) as runs:
        assert session.ask_many(asked, **SHORT) == alone
        assert session.describe([box], **SHORT)[0]
        assert sum(runs) == 1


def test_models_without_regions_answer_as_well(pair: Any, clip: Any) -> None:
    from transformers import AutoModel, AutoProcessor

    from tests.videollama2_original import CHECKPOINT as BARE

    model, processor = AutoModel.from_pretrained(BARE).eval(), AutoProcessor.from_pretrained(BARE)
    asked = [("What happens?", []), ("What is there to see?", [])]
    alone = [vr.ask(model, clip[0], text, processor=processor, **SHORT) for text, _ in asked]
    with vr.VideoSession(model, processor, clip[0]) as session:
        assert session.ask_many(asked, **SHORT) == alone


def test_templates_that_put_the_video_last_share_no_prefix_but_frames(pair: Any, clip: Any) -> None:
    """What prompts share is found by comparing them, not assumed."""
    model, processor = pair
    usual = processor.chat_template
    processor.chat_template = (
        "{% for m in messages %}{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}"
        "{% for c in m['content'] if c['type'] == 'video' %}\n<video>\n{% endfor %}{% endfor %}"
    )
    try:
        asked = [("What color is it?", []), ("What happens in this video?", [])]
        alone = asked_alone(pair, clip[0], asked)
        with vr.VideoSession(model, processor, clip[0]) as session, tower_rows(model) as runs:
            assert session.ask_many(asked, **SHORT) == alone
            assert sum(runs) == session.computed.frames_read
    finally:
        processor.chat_template = usual


@pytest.mark.spread(1)
@pytest.mark.parametrize("window", [8, 40, 400])
def test_layers_with_a_window_answer_as_asked_alone(clip: Any, window: int) -> None:
    from transformers import AutoConfig, AutoModel, AutoProcessor

    config = AutoConfig.from_pretrained(vr.tiny_checkpoint())
    text = config.text_config
    text.use_sliding_window, text.sliding_window = True, window
    text.layer_types = ["sliding_attention"] * text.num_hidden_layers
    model = AutoModel.from_pretrained(vr.tiny_checkpoint(), config=config, dtype=torch.float32).eval()
    pair = model, AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    asked = questions(clip[1])[:4]
    alone = asked_alone(pair, clip[0], asked)
    with vr.VideoSession(*pair, clip[0]) as session:
        assert session.ask_many(asked, **SHORT) == alone
        assert [session.ask(text, own, **SHORT) for text, own in asked] == alone
        chat = session.chat()
        assert [chat.ask(*one, **SHORT) for one in asked[:2]] == said_alone(pair, clip[0], asked[:2])


def test_frames_that_were_decoded_elsewhere_are_told_apart(pair: Any, clip: Any) -> None:
    frames = vr.open_video(clip[0]).read(range(16))
    region = vr.Region.from_box((4, 4, 40, 40), frame=20)
    store, answers = FeatureStore(), []
    for indices in (list(range(8, 24)), list(range(16, 32))):
        known = {"video_metadata": {"frames_indices": indices, "fps": 10.0, "total_num_frames": 40}}
        with vr.VideoSession(*pair, frames, features=store, **known) as session:
            answers.append(session.ask("How does <region> look?", [region], **SHORT))
        inputs = pair[1].apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "video", "video": frames},
                        {"type": "text", "text": "How does <region> look?"},
                    ],
                }
            ],
            regions=[region],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **known,
        )
        output = pair[0].generate(**inputs, do_sample=False, **SHORT)[0, inputs["input_ids"].shape[1] :]
        assert answers[-1] == pair[1].decode(output, skip_special_tokens=True).strip()
    assert len(store) == 16  # the same frames, under other numbers


def test_half_precision_answers(clip: Any) -> None:
    from videorefer_plugin.asking import load_model

    pair = load_model(vr.tiny_checkpoint(), dtype=torch.bfloat16)
    asked = questions(clip[1])[:3]
    alone = asked_alone(pair, clip[0], asked)
    with vr.VideoSession(*pair, clip[0]) as session:
        found = session.ask_many(asked, **SHORT)
    assert sum(one == other for one, other in zip(found, alone, strict=True)) >= 2  # rounding may decide one


def test_descriptions_are_asked_for_as_in_the_benchmark(pair: Any, clip: Any, session: Any) -> None:
    from videorefer_plugin.inputs.wording import description_prompt

    alone = asked_alone(pair, clip[0], [(description_prompt(), [region]) for region in clip[1]])
    assert session.describe(clip[1], **SHORT) == alone


def test_similarity_of_neighbors_is_that_of_what_is_merged(pair: Any, clip: Any, session: Any, tmp_path: Path) -> None:
    region = clip[1][1]
    found = session.similarity(region)
    found.save(tmp_path / "similarity.png")
    assert (tmp_path / "similarity.png").stat().st_size > 1000
    text = "<video>\n" + "<region>"
    inputs = pair[1](text=text, videos=clip[0], regions=[region], return_tensors="pt")
    assert len(found.similarities) == len(found.frames) - 1
    assert len(found.unions) == int((inputs["input_ids"] == pair[1].region_token_id).sum())
    assert sum(found.unions, ()) == found.frames
    apart = [not joined for joined in found.joined]
    lowest = found.similarities.argsort()[: len(found.unions) - 1]
    assert [number for number, is_apart in enumerate(apart) if is_apart] == sorted(lowest.tolist())


# --- conversations ---------------------------------------------------------------------------------------------------


def said_alone(pair: Any, video: Any, turns: list[tuple[str, list[Any]]]) -> list[str]:
    """A conversation in which everything is run anew for each answer."""
    from videorefer_plugin.asking import answer

    conversation: list[dict[str, Any]] = []
    answers: list[str] = []
    for number, (text, _) in enumerate(turns):
        shown = [] if number else [{"type": "video", "video": video}]
        conversation.append({"role": "user", "content": [*shown, {"type": "text", "text": text}]})
        regions = [region for _, own in turns[: number + 1] for region in own]
        answers += answer(*pair, [conversation], [regions], **SHORT)
        conversation.append({"role": "assistant", "content": [{"type": "text", "text": answers[-1]}]})
    return answers


def test_a_conversation_knows_what_was_said(pair: Any, clip: Any, session: Any) -> None:
    video, regions = clip
    turns = [
        ("What color is <region>?", [regions[0]]),
        ("And what is <region> doing?", [regions[1]]),
        ("Why?", []),
        ("Where is <region> with respect to <region>?", [regions[0], regions[2]]),
    ]
    chat, other = session.chat(), session.chat()
    assert [chat.ask(text, own, **SHORT) for text, own in turns] == said_alone(pair, video, turns)
    assert [turn.question for turn in chat.history] == [text for text, _ in turns]
    assert chat.history[3].regions == (regions[0], regions[2])
    assert other.history == ()
    assert other.ask(*turns[1], **SHORT) == session.ask(*turns[1], **SHORT)  # which begins anew


def test_a_conversation_runs_new_positions_only(clip: Any, session: Any) -> None:
    chat = session.chat()
    chat.ask("What color is <region>?", [clip[1][0]], **SHORT)
    before = session.computed.positions
    chat.ask("Why?", **SHORT)
    assert session.computed.positions - before < 40


def test_a_turn_can_be_taken_back(pair: Any, clip: Any, session: Any) -> None:
    video, regions = clip
    chat = session.chat()
    first = ("What color is <region>?", [regions[0]])
    chat.ask(*first, **SHORT)
    chat.ask("And what is <region> doing?", [regions[1]], **SHORT)
    assert chat.undo().question == "And what is <region> doing?"
    follows = ("How does <region> look?", [regions[2]])
    assert chat.ask(*follows, **SHORT) == said_alone(pair, video, [first, follows])[1]
    assert len(chat.history) == 2
    chat.undo()
    chat.undo()
    with pytest.raises(SessionError, match="nothing to take back"):
        chat.undo()
    assert chat.ask(*first, **SHORT) == said_alone(pair, video, [first])[0]


def test_a_conversation_is_as_before_after_an_error(clip: Any, session: Any) -> None:
    chat = session.chat()
    answer = chat.ask("What color is <region>?", [clip[1][0]], **SHORT)
    with pytest.raises(PromptError):
        chat.ask("Where is <region>?", [], **SHORT)
    with pytest.raises(RegionError):
        chat.ask("Where is <region>?", [vr.Region.from_box((0, 0, 5, 5), frame=999)], **SHORT)
    assert [turn.answer for turn in chat.history] == [answer]


def test_answers_that_look_like_placeholders_are_told_as_words(clip: Any, session: Any) -> None:
    chat = session.chat()
    chat.ask("What color is <region>?", [clip[1][0]], **SHORT)
    chat._turns[0] = Turn("What color is <region>?", (clip[1][0],), "<region> in the <video> is red.")
    assert chat.ask("And <region>?", [clip[1][1]], **SHORT)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_answers_come_in_pieces(clip: Any, session: Any) -> None:
    asked = ("What is <region> doing?", [clip[1][1]])
    pieces = list(session.stream(*asked, **SHORT))
    assert len(pieces) > 2
    assert "".join(pieces).strip() == session.ask(*asked, **SHORT)
    chat = session.chat()
    with chat.stream(*asked, **SHORT) as stream:
        said = "".join(stream)
    assert [turn.answer for turn in chat.history] == [said.strip()]


def test_a_stream_can_be_stopped(clip: Any, session: Any) -> None:
    chat = session.chat()
    endless = {"max_new_tokens": 4000, "min_new_tokens": 4000}
    stream = chat.stream("What is <region> doing?", [clip[1][1]], **endless)
    first = next(stream)
    stream.close()
    (turn,) = chat.history
    assert turn.answer.startswith(first.strip())
    assert chat.ask("Why?", **SHORT)
    assert len(chat.history) == 2


def test_a_stream_that_is_read_again_is_at_its_end(session: Any) -> None:
    stream = session.stream("What happens?", max_new_tokens=4)
    assert list(stream)
    assert list(stream) == list(stream) == []
    stream.close()
    assert next(stream, None) is None


def test_a_stream_that_is_forgotten_stops(session: Any) -> None:
    """Otherwise the next question would wait for thousands of tokens."""
    for _ in session.stream("What happens?", max_new_tokens=20_000, min_new_tokens=20_000):
        break
    gc.collect()
    assert session.ask("What happens?", **SHORT)


def test_closing_a_session_stops_what_is_streamed(pair: Any, clip: Any) -> None:
    session = vr.VideoSession(*pair, clip[0])
    stream = session.stream("What happens?", max_new_tokens=20_000, min_new_tokens=20_000)
    next(stream)
    session.close()
    assert session.memory() == 0
    list(stream)


def test_what_is_wrong_with_a_stream_is_said_at_once(session: Any) -> None:
    with pytest.raises(PromptError):
        session.stream("What is <region>?")
    for settings in ({"streamer": object()}, {"num_beams": 2}):
        with pytest.raises(ConfigurationError):
            session.stream("What?", **settings)


def test_an_error_while_streaming_is_raised_where_it_is_read(session: Any) -> None:
    def fail(input_ids: Any, scores: Any) -> Any:
        raise RuntimeError("out of memory")

    stream = session.stream("What happens?", logits_processor=[fail])
    with pytest.raises(RuntimeError, match="out of memory"):
        list(stream)
    assert session.ask("What happens?", **SHORT)


# --- threads and memory ----------------------------------------------------------------------------------------------


def test_conversations_may_begin_while_another_thread_asks(clip: Any, session: Any) -> None:
    stop = threading.Event()

    def begin() -> None:
        while not stop.is_set():
            session.chat()

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        for _ in range(3):
            session.ask("What color is <region>?", [clip[1][0]], max_new_tokens=2)
            session.memory()
    finally:
        stop.set()
        thread.join()


def test_threads_may_ask_at_the_same_time(clip: Any, session: Any, alone: list[str]) -> None:
    asked = questions(clip[1])[:5]
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = session.ask(*asked[number], **SHORT)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(asked))] == alone[:5]


@pytest.mark.spread(1)
@pytest.mark.parametrize("max_bytes", [0, 300_000])
def test_what_is_kept_stays_below_the_limit(pair: Any, clip: Any, max_bytes: int, alone: list[str]) -> None:
    asked = questions(clip[1])[:5]
    with vr.VideoSession(*pair, clip[0], max_bytes=max_bytes) as session:
        chat = session.chat()
        for (text, own), expected in zip(asked, alone[:5], strict=True):
            assert session.ask(text, own, **SHORT) == expected
            chat.ask(text, own, **SHORT)
            assert session.memory() <= max_bytes
        assert session.ask_many(asked, **SHORT) == alone[:5]


@pytest.mark.slow
def test_asking_again_and_again_keeps_nothing_more(clip: Any, session: Any) -> None:
    asked = ("What color is <region>?", [clip[1][0]])

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())

    session.ask(*asked, max_new_tokens=2)
    session.ask(*asked, max_new_tokens=2)
    kept, alive = session.memory(), tensors()
    for _ in range(10):
        session.ask(*asked, max_new_tokens=2)
        session.chat().ask(*asked, max_new_tokens=2)
    assert (session.memory(), tensors()) == (kept, alive)


def test_a_closed_session_keeps_nothing_and_answers_no_more(pair: Any, clip: Any) -> None:
    session = vr.VideoSession(*pair, clip[0])
    chat = session.chat()
    chat.ask("What happens?", **SHORT)
    assert session.memory() > 0
    session.close()
    session.close()
    assert session.memory() == 0
    for ask in (session.ask, session.stream, chat.ask, chat.stream):
        with pytest.raises(SessionError, match="closed"):
            ask("What happens?", **SHORT)


def test_sessions_share_features_in_a_store(pair: Any, clip: Any, tmp_path: Path) -> None:
    video, regions = clip
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(video.read_bytes())
    store = FeatureStore(folder=tmp_path / "features")
    with vr.VideoSession(*pair, video, features=store) as session:
        answer = session.ask("What color is <region>?", [regions[0]], **SHORT)
    for again in (store, FeatureStore(folder=tmp_path / "features")):
        with vr.VideoSession(*pair, copied, features=again) as session, tower_rows(pair[0]) as runs:
            assert session.ask("What color is <region>?", [regions[0]], **SHORT) == answer
            assert not runs
    other = {"features": store, "image_aspect_ratio": "pad"}  # seen in another way
    with vr.VideoSession(*pair, copied, **other) as session, tower_rows(pair[0]) as runs:
        session.ask("What color is <region>?", [regions[0]], **SHORT)
        assert runs


def test_a_model_that_was_changed_is_asked_anew(clip: Any) -> None:
    from videorefer_plugin.asking import load_model

    pair = load_model(vr.tiny_checkpoint())
    asked = questions(clip[1])[:3]
    with vr.VideoSession(*pair, clip[0]) as session:
        session.ask_many(asked, **SHORT)
        with torch.no_grad():
            for parameter in pair[0].model.vision_tower.parameters():
                parameter.mul_(1.5)
        assert session.ask_many(asked, **SHORT) == asked_alone(pair, clip[0], asked)


def test_a_processor_that_was_changed_shows_other_frames(pair: Any, clip: Any) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    asked = questions(clip[1])[:3]
    with vr.VideoSession(pair[0], processor, clip[0]) as session:
        session.ask_many(asked, **SHORT)
        processor.num_frames = 4
        assert session.ask_many(asked, **SHORT) == asked_alone((pair[0], processor), clip[0], asked)
        processor.image_processor.image_mean = [0.1, 0.2, 0.3]
        assert session.ask_many(asked, **SHORT) == asked_alone((pair[0], processor), clip[0], asked)


def test_models_with_adapters_are_taken(pair: Any, clip: Any) -> None:
    from peft import LoraConfig, get_peft_model

    from videorefer_plugin.asking import load_model

    model, processor = load_model(vr.tiny_checkpoint())
    torch.manual_seed(0)
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_alpha=512)
    adapted = get_peft_model(model, config).eval()
    asked = questions(clip[1])[:3]
    alone = asked_alone((adapted, processor), clip[0], asked)
    with vr.VideoSession(adapted, processor, clip[0]) as session:
        assert session.ask_many(asked, **SHORT) == alone
        with adapted.disable_adapter():
            without = asked_alone((adapted, processor), clip[0], asked)
            assert session.ask_many(asked, **SHORT) == without != alone
        assert session.ask_many(asked, **SHORT) == alone


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_no_session_takes_is_refused(pair: Any, clip: Any) -> None:
    model, processor = pair
    with pytest.raises(PromptError, match="either a video or an image"):
        vr.VideoSession(model, processor)
    with pytest.raises(PromptError, match="both were"):
        vr.VideoSession(model, processor, clip[0], image=np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(VideoError):
        vr.VideoSession(model, processor, "nowhere.mp4")
    with pytest.raises(ConfigurationError, match="max_bytes"):
        vr.VideoSession(model, processor, clip[0], max_bytes=-1)
    with pytest.raises(ConfigurationError, match="session takes"):
        vr.VideoSession(torch.nn.Linear(1, 1), processor, clip[0])
    with pytest.raises(ConfigurationError, match="session takes"):
        vr.VideoSession(model, processor.tokenizer, clip[0])
    for settings, said in (
        ({"num_frame": 3}, "num_frame"),
        ({"text": "a"}, "text"),
        ({"regions": []}, "regions"),
        ({"features": "folder"}, "FeatureStore"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            vr.VideoSession(model, processor, clip[0], **settings)


@pytest.mark.parametrize(
    ("question", "regions", "error", "said"),
    [
        ("What is <region>?", [], PromptError, "<region>"),
        ("What is it?", [vr.Region.from_box((0, 0, 9, 9))], PromptError, "<region>"),
        (7, [], PromptError, "string"),
        ("<video> What?", [], PromptError, "<video>"),
        ("What is <region>?", ["left"], RegionError, "region 0"),
        ("What is <region>?", [vr.Region.from_box((0, 0, 9, 9), frame=999)], RegionError, "999"),
        ("What is <region>?", [vr.Region.from_box((0, 0, 9, 9)).on_visual(1)], RegionError, "visual"),
    ],
)
def test_wrong_questions_are_refused_before_anything_is_run(
    pair: Any, clip: Any, question: Any, regions: Any, error: Any, said: str
) -> None:
    with vr.VideoSession(*pair, clip[0]) as session, tower_rows(pair[0]) as runs:
        with pytest.raises(error, match=said):
            session.ask(question, regions)
        with pytest.raises(error, match=r"[Qq]uestion 1|[Ss]ample 1"):
            session.ask_many([("What happens?", []), (question, regions)])
        assert not runs


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_ids": torch.zeros(1, 1)}, "input_ids"),
        ({"region_masks": None}, "region_masks"),
        ({"num_return_sequences": 2, "num_beams": 2}, "num_return_sequences"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"num_beams": 0}, "num_beams"),
        ({"generation_config": {"num_beams": 2}}, "GenerationConfig"),
    ],
)
def test_arguments_that_the_session_gives_itself_are_refused(session: Any, settings: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        session.ask("What happens?", **settings)


@pytest.mark.parametrize("questions", [["What happens?"], "What happens?", None, [("What?", [], 1)]])
def test_questions_must_be_pairs(session: Any, questions: Any) -> None:
    with pytest.raises(PromptError, match="pairs"):
        session.ask_many(questions)
