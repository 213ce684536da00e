"""The matrix of arguments of another kind: what no public function can take ends in a named error, whatever it is."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from tests.hostile import refuses
from tests.media import write_video
from videorefer_plugin import bench, chat, data_engine, hosts, hub, pictures, regions, segment, training, world
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.training.recipe import load_recipe

PATHS: list[Any] = [5, 1.5, b"x", None, [], {}, True, object(), ["a"]]  # none is a path
TEXTS: list[Any] = [5, 1.5, b"x", None, [], {}, True, object()]
THINGS: list[Any] = [5, "", b"x", None, [], {}, object()]  # nothing that a class of ours makes
LISTS: list[Any] = [5, "x", [5], None]
NUMBERS: list[Any] = ["x", 1.5, [], {}, b"x", object()]
FUNCTIONS: list[Any] = [5, "x"]
OPTIONAL_PATHS = [one for one in PATHS if one is not None]

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[int | str, list[Any]]]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """Public functions, what they can be called with, and by place or name what they cannot take instead."""
    folder = tmp_path_factory.mktemp("kinds")
    clip = folder / "clip.mp4"
    write_video(clip, frames=6)
    model, processor = AutoModel.from_pretrained(CHECKPOINT).eval(), AutoProcessor.from_pretrained(CHECKPOINT)
    region, video = vr.Region.from_box((1, 1, 20, 20)), vr.open_video(clip)
    endpoint = chat.ChatEndpoint("m", base_url="http://127.0.0.1:9/v1", retries=0)
    answerer = bench.RegionModel(model, processor=processor)
    frame, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)
    world.write_dataset(folder / "w", 1)
    records = folder / "w" / "train_stage2.json"
    dry = {"dry_run": True}
    return {
        "load_recipe": (load_recipe, ("tiny/stage1",), {0: PATHS, "overrides": LISTS}),
        "check_data": (training.check_data, (records,), {0: PATHS, 1: OPTIONAL_PATHS[:2], "progress": FUNCTIONS}),
        "VideoReferDataset": (
            training.VideoReferDataset,
            (records,),
            {0: PATHS, "media_root": OPTIONAL_PATHS, "seed": NUMBERS, "mode": TEXTS, "on_bad_sample": TEXTS},
        ),
        "DataSource": (
            lambda *given: training.VideoReferDataset(training.DataSource(*given)),
            (records, None),
            {0: PATHS, 1: OPTIONAL_PATHS},
        ),
        "VideoReferCollator": (
            training.VideoReferCollator,
            (processor,),
            {0: THINGS, "max_length": NUMBERS, "num_frames": NUMBERS, "mask_policy": ["x", 5, []], "template": TEXTS},
        ),
        "show_records": (training.show_records, (training.DataReport("x"), 1), {0: THINGS, 1: NUMBERS}),
        "publish": (_with(hub.publish, **dry), (folder, "a/b"), {0: PATHS, 1: TEXTS}),
        "publish files": (
            _with(hub.publish, **dry),
            (CHECKPOINT, "a/b"),
            {"include": [5, "x", [5], None, {}], "tags": [5, "x", [5]], "card": TEXTS},
        ),
        "inspect_folder": (hub.inspect_folder, (CHECKPOINT,), {0: PATHS, "include": [5, "x", [5], None]}),
        "push_model": (
            _with(hub.push_model, **dry),
            (model, folder, "a/b"),
            {1: PATHS, 2: TEXTS, "processor": FUNCTIONS},
        ),
        "dataset_card": (hub.dataset_card, ({}, "a/b"), {0: [5, "", b"x", None, []], 1: TEXTS}),
        "publish_data": (_with(data_engine.publish_data, **dry), (folder, "a/b"), {0: PATHS, 1: TEXTS}),
        "load_engine_recipe": (data_engine.load_engine_recipe, ("shapes",), {0: PATHS}),
        "recipe_of": (data_engine.recipe_of, ({},), {0: THINGS}),
        "plan_engine": (data_engine.plan_engine, (None,), {0: THINGS}),
        "run_engine": (data_engine.run_engine, (None,), {0: THINGS}),
        "make_agent": (
            data_engine.make_agent,
            ("analyzer", "shapes", None),
            {0: TEXTS, 1: TEXTS, 2: [5, "x", [1], {5: 1}]},
        ),
        "register_agent": (
            data_engine.register_agent,
            ("analyzer", "zz", "a:b"),
            {0: TEXTS, 1: TEXTS, 2: TEXTS, "packages": [5, "x", [5]]},
        ),
        "VideoSession": (
            vr.VideoSession,
            (model, processor, clip),
            {
                0: THINGS,
                1: THINGS,
                2: [5, b"x", [], {}],
                "stream": NUMBERS,
                "max_bytes": NUMBERS,
                "features": FUNCTIONS,
            },
        ),
        "SessionChat": (vr.SessionChat, (None,), {0: THINGS}),
        "ask": (
            _with(vr.ask, processor=processor),
            (model, clip, "q"),
            {0: THINGS, 1: [5, b"x", [], {}], 2: TEXTS, "regions": [5, "x", [5]], "stream": NUMBERS},
        ),
        "ask's processor": (vr.ask, (model, clip, "q"), {"processor": [5, "x", object()]}),
        "load_model": (load_model, (CHECKPOINT,), {0: PATHS, "object_encoder": OPTIONAL_PATHS, "processor": [5, "x"]}),
        "load_object_encoder": (vr.load_object_encoder, (model, folder), {0: THINGS, 1: PATHS}),
        "load_checkpoint": (hosts.load_checkpoint, (folder,), {0: PATHS}),
        "attach_object_encoder": (vr.attach_object_encoder, (model,), {0: THINGS, 1: FUNCTIONS}),
        "detach_object_encoder": (vr.detach_object_encoder, (model,), {0: THINGS}),
        "host_of": (hosts.host_of, ("",), {0: THINGS}),
        "register_host": (vr.register_host, (None,), {0: THINGS}),
        "RegionProcessor": (vr.RegionProcessor, (processor, "llava_onevision"), {0: THINGS, 1: THINGS}),
        "FeatureStore": (vr.FeatureStore, (), {"max_bytes": ["x", -1, 1.5, []], "folder": [5, b"x", [], object()]}),
        "draw_region": (
            vr.draw_region,
            (region, clip, (4, 4)),
            {0: THINGS, 1: [5, b"x", [], {}], "mask_policy": TEXTS},
        ),
        "find_regions": (vr.find_regions, (clip, "man"), {0: [5, b"x", []], 1: TEXTS, "segmenter": THINGS}),
        "propagate_many": (vr.propagate_many, (clip, [region]), {1: LISTS, "segmenter": THINGS, "start": NUMBERS}),
        "load_segmenter": (vr.load_segmenter, ("classical",), {0: TEXTS}),
        "register_segmenter": (
            vr.register_segmenter,
            ("zz", "a:b", ["segment"]),
            {0: TEXTS, 1: TEXTS, 2: LISTS, "packages": [5, "x", [5]]},
        ),
        "load_masklets": (segment.load_masklets, (folder,), {0: PATHS}),
        "save_masklets": (segment.save_masklets, (folder / "m.json", []), {1: LISTS}),
        "read_prompts": (
            segment.read_prompts,
            (region, video),
            {0: THINGS, 1: THINGS, "start": NUMBERS, "end": NUMBERS},
        ),
        "sample_frame_indices": (
            vr.sample_frame_indices,
            (10,),
            {0: THINGS, "num_frames": NUMBERS, "fps": ["x", -1, []]},
        ),
        "load_image": (vr.load_image, (clip,), {0: THINGS}),
        "open_video": (vr.open_video, (clip,), {0: THINGS, "fps": ["x", -1, []], "stream": NUMBERS}),
        "merge_tokens": (
            vr.merge_tokens,
            (torch.zeros(2, 4), torch.tensor([2]), 1),
            {0: THINGS, 1: THINGS, 2: NUMBERS},
        ),
        "pool_masks": (vr.pool_masks, (frame, mask, frame), {0: THINGS, 1: THINGS, 2: THINGS}),
        "frame_features": (
            vr.frame_features,
            (model, model.config, torch.zeros(1, 3, 42, 42)),
            {0: THINGS, 1: THINGS, 2: THINGS},
        ),
        "benchmark_of": (bench.benchmark_of, ("q",), {0: THINGS}),
        **{
            function.__name__: (
                function,
                (folder, answerer, folder),
                {0: PATHS, 1: THINGS, 2: PATHS, "mode": [5, [5]]},
            )
            for function in (bench.evaluate_questions, bench.evaluate_captions)
        },
        "evaluate_descriptions": (
            bench.evaluate_descriptions,
            (folder, answerer, None, folder),
            {0: PATHS, 1: THINGS, 2: FUNCTIONS, 3: PATHS},
        ),
        **{
            function.__name__: (function, (folder,), {0: PATHS, "media_root": OPTIONAL_PATHS, "mode": TEXTS})
            for function in (bench.read_questions, bench.read_captions, bench.read_descriptions)
        },
        "find_results": (bench.find_results, ([],), {0: [5, "x", b"x", None, [5], [b"x"], [None]]}),
        "register_benchmark": (bench.register_benchmark, ("zz", "a:b"), {0: TEXTS, 1: TEXTS}),
        "score_captions": (
            bench.score_captions,
            ({"a": ["x"]}, {"a": "x"}),
            {0: [5, "x", [1], None], 1: [5, "x", [1], None], "metrics": LISTS},
        ),
        "score_descriptions": (bench.score_descriptions, ([], {}, {}), {0: LISTS, 1: [5, "x", [1]], 2: [5, "x", [1]]}),
        "score_questions": (bench.score_questions, ([], {}), {0: LISTS, 1: [5, "x", [1]]}),
        "write_report": (bench.write_report, ([], folder / "r.md"), {0: LISTS, 1: PATHS}),
        "draw_marks": (bench.draw_marks, (frame, {1: mask}, "contour"), {0: THINGS, 1: [5, "x", [1]], 2: TEXTS}),
        "RegionModel": (
            _with(bench.RegionModel, processor=processor),
            (model,),
            {0: [one for one in THINGS if one != ""], "object_encoder": [5, []], "num_frames": NUMBERS}
            | {"mask_policy": ["x", 5], "max_new_tokens": NUMBERS},
        ),
        "MarkedModel": (
            _with(bench.MarkedModel, processor=processor),
            (model,),
            {0: [one for one in THINGS if one != ""], "style": TEXTS, "num_frames": NUMBERS},
        ),
        "FrameEndpoint": (bench.FrameEndpoint, (endpoint,), {0: THINGS}),
        "MarkedEndpoint": (bench.MarkedEndpoint, (endpoint,), {0: THINGS}),
        "ChatJudge": (bench.ChatJudge, (endpoint,), {0: THINGS, 1: FUNCTIONS}),
        "Shard": (bench.Shard, (0, 1), {0: NUMBERS, 1: NUMBERS}),
        "make_chat": (chat.make_chat, ("m", "http://127.0.0.1:9/v1"), {0: TEXTS, 1: [5, b"x", []]}),
        "complete_many": (chat.complete_many, (endpoint, []), {0: THINGS, 1: [5, "x", [5], None, [[5]]]}),
        "ask_text": (chat.ask_text, (endpoint, []), {0: THINGS, 1: LISTS}),
        "contact_sheet": (
            pictures.contact_sheet,
            (clip, [region]),
            {0: [5, None, b"x"], 1: LISTS, "frames": [5, "x", ["x"]], "scores": [5, [5]], "names": [5, [5]]},
        ),
        "save_overlay": (
            pictures.save_overlay,
            (clip, [region], folder / "o.mp4"),
            {1: LISTS, 2: PATHS, "frames": [5, "x"], "title": [5], "progress": FUNCTIONS},
        ),
        "write_overlay": (
            pictures.write_overlay,
            (clip, [region], folder / "o.mp4"),
            {1: LISTS, 2: PATHS, "scores": [5, [5]], "names": [5], "progress": FUNCTIONS},
        ),
        "check_overlay": (pictures.check_overlay, (folder,), {0: PATHS}),
        "check_picture": (pictures.check_picture, (folder,), {0: PATHS}),
        "picture_answers": (
            pictures.picture_answers,
            (video, [region], [pictures.Line("q", "a", (0,))]),
            {0: THINGS, 1: LISTS, 2: LISTS},
        ),
        "picture_similarity": (pictures.picture_similarity, (None,), {0: THINGS}),
        "write_dataset": (
            world.write_dataset,
            (folder / "x", 1),
            {0: PATHS, "seed": ["x", 1.5, None], "workers": NUMBERS, "progress": FUNCTIONS, "version": ["x", 99]},
        ),
        "encode_video": (
            world.encode_video,
            (folder / "e.mp4", np.zeros((2, 16, 16, 3), np.uint8)),
            {0: PATHS, 1: THINGS, "fps": [*NUMBERS, 0, -1]},
        ),
        "bench_clip": (world.bench_clip, (0, 0), {0: ["x", None, []], 1: NUMBERS}),
        "is_of_shapes_world": (world.is_of_shapes_world, (video,), {0: THINGS}),
        "as_region": (regions.as_region, (region,), {0: THINGS}),
        "decode_rle": (regions.decode_rle, ({},), {0: THINGS}),
    }


def _call(function: Callable[..., Any], both: tuple[list[Any], dict[str, Any]]) -> Any:
    return function(*both[0], **both[1])


def _with(function: Callable[..., Any], **always: Any) -> Callable[..., Any]:
    return lambda *given, **named: function(*given, **{**always, **named})


def test_no_public_function_takes_another_kind(calls: dict[str, Call]) -> None:
    count, wrong_ends = 0, []
    for name, (function, good, wrong) in calls.items():
        for place, values in wrong.items():
            for value in values:
                given, named = list(good), {}
                if isinstance(place, int):
                    given[place:] = [value, *given[place + 1 :]]
                else:
                    named[place] = value
                try:
                    refuses(VideoReferError, functools.partial(_call, function))((given, named))
                except (Exception, pytest.fail.Exception) as error:
                    wrong_ends.append(f"{name}, argument {place} as {value!r}: {error!r}")
                count += 1
    assert not wrong_ends, "\n".join(wrong_ends)
    assert count > 1000


def test_a_message_says_what_was_given_and_what_was_expected() -> None:
    with pytest.raises(VideoReferError, match=r"^source must be a path \(str or os.PathLike\), but is 5 \(int\)\.$"):
        load_recipe(5)  # type: ignore[arg-type]
    with pytest.raises(VideoReferError, match=r"^folder must be a path \(str or os.PathLike\), but is None\.$"):
        hub.publish(None, "a/b")  # type: ignore[arg-type]
    assert load_recipe("tiny/stage1").name == "tiny/stage1"
