"""The JSON form of a region: what it is, what is none, and the files that hold it."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import videorefer_plugin as vr
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import Box, Points, Polygons, Region, Scribble, encode_rle
from videorefer_plugin.regions.text import read_region

MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
RLE = encode_rle(MASK)
BOX = {"box": [1, 2, 5, 6]}
NAN = float("nan")


def text_of(region):
    return json.dumps(region.to_json(), separators=(",", ":"))


def unlike_rows(parts):
    """Whether polygons hold more than the two values of a mask's rows."""
    return len(parts) == 1 or len({0, *np.concatenate(parts).ravel().tolist()}) > 2


# --- round trips and canonical text ----------------------------------------------------------------------------------

number = st.one_of(st.integers(0, 1000), st.floats(0, 1000))
point = st.tuples(number, number.map(lambda y: y + 2))  # not within [0, 1], as if relative to the frame
sizes = st.one_of(st.none(), st.floats(0.5, 50))
shapes = st.one_of(
    st.none(),
    hnp.arrays(bool, (5, 7)),
    st.builds(lambda x, y, w, h: Box(x, y, x + w + 1, y + h + 1), number, number, number, number),
    st.lists(st.lists(point, min_size=3, max_size=5), min_size=1, max_size=3).filter(unlike_rows).map(Polygons),
    st.builds(
        lambda given, radius: Points([xy for xy, _ in given], radius, [1] + [label for _, label in given[1:]]),
        st.lists(st.tuples(point, st.sampled_from([0, 1])), min_size=1, max_size=4),
        sizes,
    ),
    st.builds(Scribble, st.lists(point, min_size=1, max_size=4), sizes),
)
regions = st.builds(
    lambda frames, times, visual: Region(frames, times=times, visual=visual),
    st.dictionaries(st.integers(0, 10**9), shapes, min_size=1, max_size=4),
    st.dictionaries(st.one_of(st.floats(0, 1e9), st.floats(0, 1e-4)), shapes, max_size=2),
    st.one_of(st.none(), st.integers(0, 99)),
)


@given(regions)
@settings(max_examples=150)
def test_regions_come_back_from_json(region):
    written = text_of(region)
    again = Region.from_json(json.loads(written))
    assert again == region
    assert (again.order, list(again.to_json())) == (region.order, list(region.to_json()))
    assert text_of(again) == written


CANONICAL = {
    '{"0":{"box":[3,4,5.5,6]}}': [
        lambda: Region.from_box((3, 4, 5.5, 6)),
        lambda: Region.from_box(np.array([3.0, 4, 5.5, 6])),
        lambda: Region.from_box(torch.tensor([3.0, 4, 5.5, 6])),
        lambda: Region({np.int64(0): (np.float32(3), np.int8(4), 5.5, 6)}),
        lambda: Region.from_json({0: {"box": [3.0, 4.0, 5.5, 6.0]}}),
    ],
    '{"0":{"segmentation":' + json.dumps(RLE, separators=(",", ":")) + "}}": [
        lambda: Region.from_mask(MASK),
        lambda: Region.from_mask(torch.from_numpy(MASK)),
        lambda: Region.from_rle(RLE),
        lambda: Region.from_rle({**RLE, "counts": RLE["counts"].encode()}),
        lambda: Region.from_rle({"size": [3, 4], "counts": [3, 2, 1, 1, 4, 1]}),
        lambda: Region.from_rle({"size": [3, 4], "counts": [3, 1, 0, 1, 1, 1, 4, 1, 0]}),
        lambda: Region.from_annotation({"00": {"segmentation": RLE, "area": 4}}),
    ],
    '{"0":{"segmentation":null}}': [
        lambda: Region({0: None}),
        lambda: Region.from_json({"0": None}),
        lambda: Region.from_json({"0": {"segmentation": []}}),
        lambda: Region.from_annotation({"0": {}}),
    ],
    '{"0":{"segmentation":null},"visual":2}': [
        lambda: Region({0: None}, visual=np.int64(2)),
        lambda: Region.from_json({"visual": 2, "0": None}),
        lambda: Region.from_json({"0": None}, visual=2),
        lambda: Region.from_json({"0": None, "visual": 2}, visual=2),
        lambda: Region.from_json({"0": None, "visual": None}, visual=2),
        lambda: Region.from_annotation({"0": {}, "visual": 2}),
        lambda: Region.from_annotation(Region({0: None}, visual=2).to_annotation(4, 4)),
    ],
    '{"0":{"polygon":[[1,1],[7,1],[1,7.5]]}}': [
        lambda: Region.from_polygon([(1, 1), (7, 1), (1, 7.5)]),
        lambda: Region.from_json({"0": {"polygon": [1, 1, 7, 1, 1, 7.5]}}),
        lambda: Region.from_json({"0": {"segmentation": [[1, 1, 7, 1, 1, 7.5]]}}),
    ],
    '{"0":{"points":[[1,2],[3,4]]}}': [
        lambda: Region.from_points([(1, 2), (3, 4)]),
        lambda: Region.from_points(np.array([[1, 2], [3, 4]]), labels=np.array([1, 1])),
        lambda: Region.from_json({"0": {"points": [[1, 2], [3, 4]], "labels": [1, 1.0]}}),
    ],
    '{"time:0.5":{"points":[[1,2],[3,4]],"labels":[1,0],"radius":3}}': [
        lambda: Region.from_points([(1, 2), (3, 4)], radius=np.float32(3), labels=torch.tensor([1, 0]), time=0.5),
        lambda: Region.from_json({"time:0.50": {"radius": 3.0, "labels": [1, 0], "points": [[1, 2], [3, 4]]}}),
    ],
    '{"time:2":{"scribble":[[1,2],[3,4]],"width":2.5}}': [
        lambda: Region.from_scribble([(1, 2), (3, 4)], width=2.5, time=2),
        lambda: Region.from_json({"time:2.0": {"scribble": [[1, 2], [3, 4]], "width": 2.5}}),
    ],
}


@pytest.mark.parametrize("written", CANONICAL)
def test_the_same_region_is_the_same_text(written):
    assert [text_of(make()) for make in CANONICAL[written]] == [written] * len(CANONICAL[written])


def test_the_order_of_frames_is_part_of_the_text_and_sorting_takes_it_out():
    one, other = Region({20: None, 3: (1, 2, 5, 6)}), Region({3: (1, 2, 5, 6), 20: None})
    assert list(one.to_json()) == ["20", "3"]
    assert text_of(one) != text_of(other)
    assert one == other
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert Region.from_json({"time:1": BOX, "7": BOX}) == Region.from_json({"7": BOX, "time:1": BOX})


# --- what is none ----------------------------------------------------------------------------------------------------

BAD = {
    "nothing": (None, ["JSON form", "None"]),
    "list": ([{"12": BOX}], ["JSON form", "[{"]),
    "text": ('{"12": {"box": [1, 2, 3, 4]}}', ["JSON form"]),
    "empty": ({}, ["empty"]),
    "shape without a frame": (BOX, ["'box'", "outside a frame"]),
    "RLE without a frame": (RLE, ["'size'", "outside a frame"]),
    "record": ({"annotation": [{"12": BOX}]}, ["'annotation'", "not a frame"]),
    **{
        f"frame {key!r}": ({key: BOX}, [repr(key)[:12], "not a frame"])
        for key in ("01", "1.0", "-1", "+1", " 1", "1_0", "١", "²", "", "dog", "9" * 19, 1.0, True, None)
    },
    "negative frame": ({-1: BOX}, ["frame -1", "negative"]),
    **{
        f"time {text!r}": ({f"time:{text}": BOX}, [f"'time:{text}'", "not a time"])
        for text in ("-1", "nan", "inf", "", "01", "1.", ".5", "1,5", "1 ", "1s", "0x1", "١")
    },
    **{
        f"time {text[:12]!r}": ({f"time:{text}": BOX}, [f"time '{text[:9]}", "too small"])
        for text in ("1e-9999999", "0.001E-400", f"0.{'0' * 400}1")
    },
    "endless time": ({"time:1e999": BOX}, ["time inf", "finite"]),
    "frame twice": ({"1": BOX, 1: BOX}, ["frame 1 twice", "key 1"]),
    "time twice": ({"time:1": BOX, "time:1.0": BOX}, ["time 1 s twice", "'time:1.0'"]),
    "shape by itself": ({"12": [1, 2, 3, 4]}, ["frame 12", "[1, 2, 3, 4]", "object"]),
    "mask by itself": ({12: MASK}, ["frame 12", "(3, 4)", "object"]),
    "no shape": ({"12": {}}, ["frame 12", "no keys", "expected one shape"]),
    "bbox": ({"12": {"bbox": [1, 2, 3, 4]}}, ["frame 12", "'bbox'", "did you mean 'box'"]),
    "boxes": ({"time:1.5": {"boxes": [1, 2, 3, 4]}}, ["time 1.5 s", "'boxes'", "did you mean 'box'"]),
    "misspelt": ({"12": {"segmentatoin": RLE}}, ["frame 12", "'segmentatoin'", "did you mean 'segmentation'"]),
    "only labels": ({"12": {"labels": [1]}}, ["frame 12", "'labels'", "expected one shape"]),
    "bare RLE": ({"12": RLE}, ["frame 12", "'size', 'counts'", '{"segmentation": {"size"']),
    "two shapes": ({"12": {**BOX, "points": [[1, 2]]}}, ["frame 12", "'box', 'points'", "one shape"]),
    "null beside a shape": ({"12": {**BOX, "points": None}}, ["frame 12", "'box', 'points'", "one shape"]),
    "key beside a shape": ({"12": {**BOX, "score": 0.9}}, ["frame 12", "'score'", "beside 'box'", "nothing else"]),
    "key beside RLE": ({"12": {"segmentation": RLE, "area": 4}}, ["frame 12", "'area'", "beside 'segmentation'"]),
    "key in RLE": ({"12": {"segmentation": {**RLE, "area": 4}}}, ["frame 12", "'area'", "'counts'"]),
    "width of points": ({"12": {"points": [[1, 2]], "width": 3}}, ["'width'", "beside 'points'", "labels or radius"]),
    "labels of a line": ({"12": {"scribble": [[1, 2]], "labels": [1]}}, ["'labels'", "beside 'scribble'", "width"]),
    **{
        f"box {value!r}": ({"12": {"box": value}}, ["frame 12", "a box"])
        for value in (
            None, True, 5, "1,2,3,4", {"x0": 1}, [], [1, 2, 3], [1, 2, 3, 4, 5], [[1, 2], [3, 4]], [1, 2, NAN, 4],
            [True, 2, 3, 4], ["1", 2, 3, 4], [None, 2, 3, 4], [10**400, 2, 3, 4],
        )
    },
    "reversed box": ({"12": {"box": [5, 6, 1, 2]}}, ["frame 12", "Box(5, 6, 1, 2)", "reversed"]),
    **{
        f"points {value!r}": ({"12": {"points": value}}, ["frame 12", "points"])
        for value in (None, [], [[1, 2, 3]], [1, 2, 3], [[1, True]], [[1, "2"]], [[1, NAN]], {"x": 1}, [[1e9, 1]])
    },
    **{
        f"labels {value!r}": ({"12": {"points": [[1, 2]], "labels": value}}, ["frame 12", "label"])
        for value in (1, [], [1, 0], [2], [-1], [0.5], [True], ["1"], [None], [[1]], {}, "1")
    },
    "labels null": ({"12": {"points": [[1, 2]], "labels": None}}, ["frame 12", "null", "'labels'"]),
    **{
        f"visual {value!r:.20}": ({"12": BOX, "visual": value}, ["visual=", "from 0"])
        for value in (True, -1, 1.0, NAN, "1", [1], {"12": BOX}, "9" * 10**6, -(10**400))
    },
    "only a visual": ({"visual": 1}, ["empty"]),
    "visual of a frame": ({"12": {**BOX, "visual": 1}}, ["frame 12", "'visual'", "beside 'box'"]),
    "only points beside": ({"12": {"points": [[1, 2], [3, 4]], "labels": [0, 0]}}, ["labeled 0", "no pixel"]),
    **{
        f"radius {value!r}": ({"12": {"points": [[1, 2]], "radius": value}}, ["frame 12", "radius"])
        for value in (-1, NAN, "3", True, [3], None, 10**400)
    },
    **{
        f"width {value!r}": ({"12": {"scribble": [[1, 2]], "width": value}}, ["frame 12", "width"])
        for value in (0, -1, NAN, "3", True, None)
    },
    **{
        f"polygon {value!r}": ({"12": {"polygon": value}}, ["frame 12", "polygon"])
        for value in (None, [], [[1, 2], [3, 4]], [1, 2, 3, 4], [[]], "1,2", {"a": 1}, [1, 2, True, 4, 5, 6])
    },
    "scribble of nothing": ({"12": {"scribble": []}}, ["frame 12", "scribble", "here are 0"]),
    **{
        f"segmentation {value!r}": ({"12": {"segmentation": value}}, ["frame 12"])
        for value in ({}, "abc", 5, True, [1, 2, 3, 4], {"size": [3, 4]}, {"size": [3, 4], "counts": [5]})
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_json_form_is_named(name):
    value, said = BAD[name]
    with pytest.raises(RegionError) as raised:
        Region.from_json(value)
    message = str(raised.value)
    assert [part for part in said if part not in message] == [], message
    assert len(message) < 400


def test_a_visual_is_said_once():
    for make in (Region.from_json, Region.from_annotation):
        with pytest.raises(RegionError, match="visual=1 beside it and 0 under 'visual'"):
            make({"12": BOX, "visual": 0}, visual=1)
        with pytest.raises(RegionError, match="visual='1'"):
            make({"12": BOX}, visual="1")


def test_numbers_are_never_true_or_false():
    for make in (
        lambda: Region.from_box((True, 2, 3, 4)),
        lambda: Region.from_points([(1, False)]),
        lambda: Region.from_polygon([[1, 1, 5, True, 3, 3]]),
        lambda: Region.from_scribble([[1, np.True_]]),
    ):
        with pytest.raises(RegionError, match="true and false are none"):
            make()


# --- labels of points ------------------------------------------------------------------------------------------------


def test_points_beside_the_object_are_not_drawn():
    region = Region.from_points([(3, 3), (12, 12)], 4, radius=0, labels=[1, 0])
    assert np.argwhere(region.mask(4, 16, 16)).tolist() == [[3, 3]]
    assert region != Region.from_points([(3, 3), (12, 12)], 4, radius=0)
    assert repr(region) == "Region(4: Points(2, 1 not on the object, radius=0))"


def test_a_region_needs_something_on_the_object():
    beside = Points([(3, 3)], labels=[0])
    for make in (
        lambda: Region.from_points([(3, 3)], labels=[0]),
        lambda: Region.from_points([(3, 3)], labels=[0], time=1),
        lambda: Region({3: beside}, times={0.5: beside}),
        lambda: Region.from_annotation({"3": {"points": [[3, 3]], "labels": [0]}}),
        lambda: Region({0: None, 3: beside}),
        lambda: Region.from_json({"0": None, "time:3": {"points": [[3, 3]], "labels": [0]}}),
        lambda: Region.from_shapes({3: beside}),
        lambda: Region({3: (1, 1, 5, 5), 9: beside}).select([9]),
        lambda: Region({0: None, 3: (1, 1, 5, 5), 9: beside}).select([0, 9]),
    ):
        with pytest.raises(RegionError, match="labeled 0, not on the object, so it has no pixel"):
            make()
    corrected = Region({3: (1, 1, 5, 5), 9: beside})
    assert not corrected.mask(9, 16, 16).any()
    assert Region.from_json(corrected.to_json()) == corrected
    assert (Region({0: None}) | corrected).select([0, 3]).present == (3,)
    assert Region({0: None, 3: (1, 1, 5, 5)}).select([0]).is_absent(0)


# --- records ---------------------------------------------------------------------------------------------------------


def test_annotations_take_the_json_form_and_stay_lenient_beside_a_segmentation():
    region = Region.from_annotation(
        {
            "5": {"segmentation": RLE, "box": [0, 0, 1, 1], "score": 0.9},
            "07": BOX,
            "8": {"segmentation": None, "points": [[1, 2]], "labels": None, "radius": 0},
            "time:1.5": {"scribble": [[1, 2], [3, 4]]},
        }
    )
    assert region == Region({5: RLE, 7: (1, 2, 5, 6), 8: Points((1, 2), 0)}, times={1.5: Scribble([(1, 2), (3, 4)])})
    with pytest.raises(RegionError, match="frame 7 has the key 'score' beside 'box'"):
        Region.from_annotation({"7": {**BOX, "score": 0.9}})
    with pytest.raises(RegionError, match="frame 7 has the keys 'box', 'points'"):
        Region.from_annotation({"7": {**BOX, "points": [[1, 2]]}})


# --- files -----------------------------------------------------------------------------------------------------------

SAM2 = {"00000": {"1": RLE, "2": RLE}, "3": {"2": {"size": [3, 4], "counts": [12]}}, "7": {}, "9": {"1": None}}
FILES = {
    "one.json": {"12": BOX, "time:0.5": {"points": [[1, 2]]}},
    "named.json": {"dog": {"12": BOX}, "cat #2": {"7": {"segmentation": RLE}}, "typo": {"7": {"bbox": [1, 2, 3, 4]}}},
    "lonely.json": {"dog": {"12": BOX}},
    "visual.json": {"12": BOX, "visual": 1},
    "visuals.json": {"dog": {"12": BOX, "visual": 1}, "visual": {"14": BOX, "visual": 0}},
    "numbers.json": {"1": {"12": BOX}, "2": {"14": BOX}},
    "rle.json": RLE,
    "coco.json": {"segmentation": RLE, "area": 4, "bbox": [1, 0, 3, 3], "iscrowd": 1},
    "coco-polygon.json": {"id": 7, "segmentation": [[1, 1, 3, 1, 3, 2.5]]},
    "coco-lost.json": {"segmentation": None, "bbox": [1, 0, 3, 3]},
    "annotation.json": {"12": {"segmentation": RLE}, "14": None},
    "sam2.json": SAM2,
    "sam2-one.json": {"0": {"1": RLE}, "4": {"1": RLE}},
    "sam2-name.json": {"0": {"segmentatoin": RLE}},
    "list.json": [{"12": BOX}],
    "masks.json": {
        "video": "a.mp4",
        "size": [3, 4],
        "annotation": [
            {"12": {"segmentation": RLE}},
            {"7": {"segmentation": RLE, "area": 4}, "8": {"segmentation": None}},
        ],
        "scores": [{"12": 1}, {"7": 0.5, "8": 0}],
    },
    "record.json": {"video": "a.mp4", "conversations": [], "annotation": [{"12": BOX}]},
    "records-one.json": [{"id": 1, "annotation": [{"12": BOX}, {"14": BOX}]}],
    "records-two.json": [{"annotation": [{"12": BOX}]}, {"annotation": [{"14": BOX}]}],
    "record-none.json": {"annotation": []},
    "record-broken.json": {"annotation": [7, {"14": BOX}]},
    "region-of-that-name.json": {"annotation": {"12": BOX}},
    "a#b.json": {"5": BOX},
}


@pytest.fixture(scope="module", params=["utf-8", "utf-8-sig", "utf-16"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for name, value in FILES.items():
        (folder / name).write_text(json.dumps(value), encoding=request.param)
    return folder


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ("region", "one.json", FILES["one.json"]),
        ("region", "named.json#dog", {"12": BOX}),
        ("region", "named.json#cat #2", {"7": {"segmentation": RLE}}),
        ("region", "lonely.json", {"12": BOX}),
        ("region", "numbers.json#2", {"14": BOX}),
        ("region", "visual.json", FILES["visual.json"]),
        ("region", "visuals.json#visual", {"14": BOX, "visual": 0}),
        ("region", "visuals.json#dog", {"12": BOX, "visual": 1}),
        ("region", "a#b.json", {"5": BOX}),
        ("region", "masks.json#1", {"12": {"segmentation": RLE}}),
        ("region", "masks.json#2", {"7": {"segmentation": RLE}, "8": {"segmentation": None}}),
        ("region", "record.json", {"12": BOX}),
        ("region", "record.json#1", {"12": BOX}),
        ("region", "records-one.json#2", {"14": BOX}),
        ("region", "record-broken.json#2", {"14": BOX}),
        ("region", "region-of-that-name.json", {"12": BOX}),
        ("rle", "rle.json", {"0": {"segmentation": RLE}}),
        ("rle", "coco.json", {"0": {"segmentation": RLE}}),
        ("rle", "coco-polygon.json", {"0": {"polygon": [[1, 1], [3, 1], [3, 2.5]]}}),
        ("rle", "annotation.json", {"12": {"segmentation": RLE}, "14": {"segmentation": None}}),
        ("rle", "sam2.json#1", {"0": {"segmentation": RLE}, "9": {"segmentation": None}}),
        ("rle", "sam2.json#2", {"0": {"segmentation": RLE}, "3": {"segmentation": encode_rle(np.zeros((3, 4)))}}),
        ("rle", "sam2-one.json", {"0": {"segmentation": RLE}, "4": {"segmentation": RLE}}),
        ("rle", "sam2-name.json#segmentatoin", {"0": {"segmentation": RLE}}),
    ],
)
def test_files_hold_regions(folder, kind, written, expected):
    assert read_region(kind, f"{folder}/{written}").to_json() == expected


def test_a_file_of_one_mask_is_put_on_a_frame_or_time(folder):
    for name in ("rle.json", "coco.json"):
        written = read_region("rle", f"012:{folder}/{name};1.5s:{folder}/{name}").to_json()
        assert written == {"12": {"segmentation": RLE}, "time:1.5": {"segmentation": RLE}}


def test_shapes_are_written_on_a_command_line():
    assert read_region("polygon", "12:1,1,7,1,1,7").to_json() == {"12": {"polygon": [[1, 1], [7, 1], [1, 7]]}}
    assert read_region("scribble", "1.5s:1,1,7,1; 3:2,2").to_json() == {
        "3": {"scribble": [[2, 2]]},
        "time:1.5": {"scribble": [[1, 1], [7, 1]]},
    }


@pytest.mark.parametrize(
    ("kind", "written", "said"),
    [
        ("region", "named.json", ["named.json holds the regions dog, cat #2, typo", "named.json#dog"]),
        ("region", "numbers.json", ["holds the regions 1, 2", "numbers.json#1"]),
        ("region", "named.json#cow", ["no region 'cow'", "dog, cat #2, typo"]),
        ("region", "named.json#", ["no region ''", "dog"]),
        ("region", "named.json#typo", ["frame 7", "'bbox'"]),
        ("region", "one.json#12", ["no regions by name", "leave out '#12'"]),
        ("region", "sam2.json", ["object -> RLE", "--rle"]),
        ("region", "rle.json", ["'size'", "outside a frame"]),
        ("region", "list.json", ["no JSON object", "list"]),
        ("region", "masks.json", ["holds the objects 1, 2", "masks.json#1"]),
        ("region", "masks.json#0", ["no object '0'", "1, 2"]),
        ("region", "masks.json#3", ["no object '3'", "1, 2"]),
        ("region", "masks.json#dog", ["no object 'dog'", "1, 2"]),
        ("region", "7:masks.json#2", ["names its frames itself"]),
        ("region", "records-two.json#1", ["2 records", "file of its own"]),
        ("region", "record-none.json", ["without objects"]),
        ("region", "record-broken.json#1", ["object 1", "7", "expected frame -> segmentation"]),
        ("rle", "masks.json#2", ["annotation", "--region"]),
        ("region", "nowhere.json#dog", ["no file", "nowhere.json"]),
        ("region", "12:one.json", ["names its frames itself"]),
        ("rle", "sam2.json", ["holds the objects 1, 2", "sam2.json#1"]),
        ("rle", "sam2.json#3", ["no object '3'", "1, 2"]),
        ("rle", "12:sam2.json#1", ["names its frames itself"]),
        ("rle", "coco-lost.json", ["frame 0", "'bbox' holds [1, 0, 3, 3]"]),
        ("rle", "sam2-name.json", ["holds the object segmentatoin", "sam2-name.json#segmentatoin"]),
        ("rle", "annotation.json#1", ["no objects by name", "leave out '#1'"]),
        ("polygon", "12:1,1,7,1", ["at least 3 points, but here are 2"]),
        ("polygon", "12:1,1,7,1,1", ["5 numbers"]),
        ("scribble", "12:", ["not a scribble"]),
        ("box", "١٢:1,2,3,4", ["not a box"]),
        ("box", "12:1,2,٣,4", ["not a box"]),
        ("box", "12:1_0,2,30,4", ["not a box"]),
        ("box", "9" * 5000 + ":1,2,3,4", ["not a box"]),
        ("box", "12:1,2,3,4;12:1,2,3,4", ["--box", "frame 12"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder, kind, written, said, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(RegionError) as raised:
        read_region(kind, written)
    assert [part for part in [f"--{kind}", *said] if part not in str(raised.value)] == [], str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON .it is empty"),
        (b'{"12": {"box": [1, 2, 3, 4]}', "line 1: no JSON"),
        (b"\xff\xfe\x00", "line 1: the file is in UTF-16"),
        (b'{"12": {"box": [1, 2, NaN, 4]}}', "frame 12: a box .* finite"),
        (b'{"12": {"box": [1, 2, 1e999, 4]}}', "frame 12: a box .* finite"),
        (b'{"12": {"box": [1, 2, 3, 4]}, "12": {"box": [1, 2, 3, 5]}}', "the key '12' stands twice"),
        (b"[" * 200_000, "nested more than"),
        (b'{"12": {"box": [1, 2, 3, ' + b"9" * 5000 + b"]}}", "too large"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content, said):
    if hasattr(sys, "set_int_max_str_digits") or b"9" * 5000 not in content:
        (tmp_path / "r.json").write_bytes(content)
        for kind in ("region", "rle"):
            with pytest.raises(RegionError, match=said):
                read_region(kind, str(tmp_path / "r.json"))


def test_regions_are_checked_before_a_model_is_loaded():
    for regions, said in (([BOX], "region 0: the shape 'box'"), ({"1": BOX, "time:x": BOX}, "'time:x'"), (5, "a int")):
        with pytest.raises(RegionError, match=said):
            vr.ask("no/such/model", np.zeros((2, 8, 8, 3), np.uint8), "<region>?", regions=regions)
