"""What a visitor of the page works on, without a browser: objects, following, talking, files, and their limits."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("gradio", reason="The page needs gradio.")

import videorefer_plugin as vr
from tests import media
from tests.reviewed import reviewed_run
from videorefer_plugin.app.checking import Desk
from videorefer_plugin.app.drawing import picture
from videorefer_plugin.app.examples import examples, shapes_clip
from videorefer_plugin.app.exports import BenchForm, export_code, export_item, export_masklets, export_record
from videorefer_plugin.app.imports import import_file
from videorefer_plugin.app.jobs import Job, Pool
from videorefer_plugin.app.limits import MOST_OBJECTS, Limits
from videorefer_plugin.app.passwords import VARIABLE, read_auth
from videorefer_plugin.app.shelf import Shelf
from videorefer_plugin.app.tasks import TASKS, question_of
from videorefer_plugin.app.tools import load_tools
from videorefer_plugin.app.workspace import Workspace, safe_name
from videorefer_plugin.bench.items import read_descriptions, read_questions
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.review import read_filled
from videorefer_plugin.errors import AppError, ConfigurationError, EngineError, PromptError, RegionError, SegmentError
from videorefer_plugin.segment import load_masklets
from videorefer_plugin.training.check import check_data
from videorefer_plugin.world import bench_clip

CLIP, _ = bench_clip(7000, 2)  # of `shapes_clip`
STAR, CROSS, SQUARE, DIAMOND = range(4)
LOOKS = {SQUARE: "It is a small striped yellow square.", STAR: "It is a large dotted pink star."}


def middle(index, frame=0):
    """A pixel well inside an object: x and y."""
    places = np.argwhere(CLIP.masks[index, frame])
    row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return column + 0.5, row + 0.5


def overlap(region, index):
    """Mean IoU with the truth, over the frames in which the object can be seen."""
    frames = [frame for frame in range(CLIP.masks.shape[1]) if CLIP.areas[index, frame]]
    shares = []
    for frame in frames:
        mask, truth = region.mask(frame, 64, 64), CLIP.masks[index, frame]
        shares.append((mask & truth).sum() / (mask | truth).sum())
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def tools():
    return load_tools()


@pytest.fixture
def room(tools, tmp_path):
    """A visitor who has opened the shapes clip."""
    room = Workspace("key", tmp_path / "room", tools)
    room.open(shapes_clip(tmp_path))
    yield room
    room.close()


@pytest.fixture(scope="module")
def both(tools, tmp_path_factory):
    """A square, object 1, and a star, object 2, followed through the clip; nothing changes them."""
    folder = tmp_path_factory.mktemp("both")
    room = Workspace("key", folder / "room", tools)
    room.open(shapes_clip(folder))
    for index in (SQUARE, STAR):
        room.select(None)
        room.point(0, *middle(index))
    finish(room.follow())
    return room.things


@pytest.fixture
def followed(room, both):
    room.things, room.selected = both, 2
    return room


@pytest.fixture
def pointed(room, both):
    """The same, not followed yet."""
    room.things, room.selected = tuple(replace(thing, masklet=None, followed=None) for thing in both), 2
    return room


def finish(job):
    assert job.wait(60)
    assert job.fault == ""
    return job


def ask(room, question):
    finish(room.ask(question))
    return room.talk.turns[-1].answer


# --- videos ----------------------------------------------------------------------------------------------------------


def test_a_video_is_taken_over_and_nothing_else_is_touched(tools, tmp_path):
    room = Workspace("key", tmp_path / "room", tools)
    given = shapes_clip(tmp_path)
    room.open(given, "../../<b>my clip</b>.mp4")
    assert not given.exists()
    assert room.title == "b.mp4"
    assert Path(room.opened.path).parent == room.place
    assert room.place.parent == room.folder
    assert room.read(3).shape == (64, 64, 3)
    room.remove()
    assert not room.folder.exists()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("....//", "video"),
        ("<img src=x onerror=alert(1)>.mp4", "img_src_x_onerror_alert_1.mp4"),
        ("a" * 300 + ".mp4", "a" * 60 + ".mp4"),
        (".hidden", "hidden"),
        ("\0\n", "video"),
        ("Überholung 東京.webm", "Überholung_東京.webm"),
    ],
)
def test_names_of_uploads_become_plain(name, safe):
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_seconds=1), "2 seconds long, and this page takes 1"),
        (Limits(max_frames=15), "16 frames long, and this page takes 15"),
        (Limits(max_side=63), "64 pixels on its longer side, and this page takes 63"),
    ],
)
def test_videos_beyond_the_limits_are_refused_and_the_open_one_stays(room, tmp_path, limits, said):
    before = room.opened
    room.tools = replace(room.tools, limits=limits)
    (tmp_path / "again").mkdir()
    with pytest.raises(AppError, match=said):
        room.open(shapes_clip(tmp_path / "again"))
    assert room.opened is before
    assert len(list(room.folder.iterdir())) == 1


def test_what_is_no_video_is_refused_without_telling_where_it_lies(room, tmp_path):
    before = room.opened
    for name, content in (("page.mp4", b"<html>"), ("none.mp4", b""), ("clip.zip", b"PK\3\4")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AppError) as error:
            room.open(tmp_path / name)
        assert name in str(error.value)
        assert str(tmp_path) not in str(error.value)
    assert room.opened is before


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many"])
def test_limits_are_numbers(value):
    with pytest.raises(ConfigurationError, match="expected a whole number from 1 up"):
        Limits(max_frames=value)


def moving(height, width, count):
    """A white block that moves, as frames and masks."""
    frames = np.full((count, height, width, 3), 60, np.uint8)
    masks = np.zeros((count, height, width), bool)
    for place in range(count):
        masks[place, height // 3 + place : height // 3 * 2 + place, width // 3 : width // 3 * 2] = True
    frames[masks] = 240
    return frames, masks


def many(path, frames, *arguments, **settings):
    media.write_video(path, list(frames), *arguments, **settings)


@pytest.mark.parametrize(
    ("name", "shape", "count", "write"),
    [
        ("odd.mkv", (63, 97), 3, functools.partial(many, codec="ffv1", pixels="bgr0")),
        ("portrait.mp4", (96, 54), 3, many),
        ("one.mp4", (48, 64), 1, many),
        ("uneven.mp4", (48, 64), 3, functools.partial(many, times=[0, 100, 900])),
        ("moving.gif", (48, 64), 3, functools.partial(many, codec="gif", rate=10, pixels="rgb8")),
    ],
)
def test_whatever_is_dropped_can_be_clicked_on_and_followed(tools, tmp_path, name, shape, count, write):
    frames, masks = moving(*shape, count)
    write(tmp_path / name, frames)
    room = Workspace("key", tmp_path / "room", tools)
    room.open(tmp_path / name)
    room.point(0, shape[1] // 2, shape[0] // 2)
    assert picture(room, 0).shape == (*(round(side * 640 / max(shape)) for side in shape), 3)
    finish(room.follow())
    for frame in range(count):
        mask = room.thing(1).mask(frame, *shape)
        assert (mask & masks[frame]).sum() / (mask | masks[frame]).sum() > 0.85
    finish(room.play())
    assert vr.open_video(room.film).num_frames == count
    assert ask(room, "What does <region1> look like?")
    for make in (export_masklets, export_record):
        (path,) = make(room)
        import_file(room, path)
    room.close()


# --- objects ---------------------------------------------------------------------------------------------------------


def test_clicks_make_masks(room):
    for number, index in enumerate((SQUARE, STAR), 1):
        room.select(None)
        room.point(0, *middle(index))
        assert room.selected == number
        mask, truth = room.thing(number).mask(0, 64, 64), CLIP.masks[index, 0]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_negative_clicks_take_away_what_a_click_took_in(room):
    room.point(0, *middle(STAR))
    whole = room.thing(1).mask(0, 64, 64)
    row, column = np.argwhere(whole)[0]
    room.point(0, column + 0.5, row + 0.5, on_object=False)
    assert not room.thing(1).mask(0, 64, 64)[row, column]
    assert room.thing(1).marks[0].labels == (1, 0)
    room.undo()
    assert np.array_equal(room.thing(1).mask(0, 64, 64), whole)


def test_a_point_that_is_on_nothing_yet_is_refused(room):
    with pytest.raises(AppError, match="Click on the object first"):
        room.point(0, 5, 5, on_object=False)
    assert room.things == ()


def test_two_corners_make_a_box(room):
    rows, columns = np.nonzero(CLIP.masks[SQUARE, 0])
    room.box(0, columns.max() + 2, rows.max() + 2)
    assert (room.corner is not None, room.things) == (True, ())
    room.undo()
    assert room.corner is None
    room.box(0, columns.max() + 2, rows.max() + 2)
    room.box(0, columns.min() - 1, rows.min() - 1)
    mask, truth = room.thing(1).mask(0, 64, 64), CLIP.masks[SQUARE, 0]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert room.corner is None
    room.box(0, 3, 3)
    with pytest.raises(AppError, match="one row or column"):
        room.box(0, 3, 30)


def test_words_find_objects_in_a_frame(room):
    assert room.find(0, "yellow  square") == 1
    assert room.thing(1).name == "yellow square"
    mask, truth = room.thing(1).mask(0, 64, 64), CLIP.masks[SQUARE, 0]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    with pytest.raises(SegmentError):
        room.find(0, "blue circle")
    with pytest.raises(SegmentError, match="no word"):
        room.find(0, "...")
    finish(room.follow())
    assert overlap(room.thing(1).region(), SQUARE) > 0.8


def test_objects_are_followed_in_both_directions(room):
    room.point(5, *middle(SQUARE, 5))
    job = finish(room.follow())
    thing = room.thing(1)
    assert (job.done, job.total) == (16, 16)
    assert thing.region().frames == tuple(range(16))
    assert overlap(thing.region(), SQUARE) > 0.9
    assert thing.is_current
    assert all(0 <= score <= 1 for score in thing.scores().values())


def test_corrections_are_followed_anew_and_the_others_stay(followed):
    square = followed.thing(1)
    followed.select(2)
    followed.point(9, *middle(STAR, 9))
    assert not followed.thing(2).is_current
    shown = followed.thing(2).mask(9, 64, 64)
    finish(followed.follow())
    assert followed.thing(1) is square
    assert followed.thing(2).is_current
    assert np.array_equal(followed.thing(2).mask(9, 64, 64), shown)
    assert overlap(followed.thing(2).region(), STAR) > 0.8


def test_absence_counts(followed):
    followed.select(1)
    followed.absent(4)
    assert followed.thing(1).region().is_absent(4)
    followed.forget_frame(4)
    assert not followed.thing(1).region().is_absent(4)
    with pytest.raises(AppError, match="was not pointed at in frame 4"):
        followed.forget_frame(4)


def test_ranges_limit_what_counts_and_what_is_followed(followed):
    followed.select(1)
    followed.limit(0, 5)
    assert followed.thing(1).region().frames == (0, 1, 2, 3, 4, 5)
    assert followed.thing(1).is_current
    followed.limit(0, 9)
    assert not followed.thing(1).is_current
    assert finish(followed.follow()).total == 10
    assert max(followed.thing(1).region().frames) == 9
    for start, end in ((3, 2), (-1, 5), (0, 16)):
        with pytest.raises(AppError, match="There are no frames"):
            followed.limit(start, end)
    with pytest.raises(AppError, match="pointed at in no frame from 3 to 5"):
        followed.limit(3, 5)
    with pytest.raises(AppError, match="Frame 12 is not in the range"):
        followed.point(12, *middle(SQUARE, 12))


def test_everything_done_to_objects_can_be_taken_back(pointed):
    steps = [
        lambda: pointed.rename("a <b>name</b>"),
        lambda: pointed.hide(1),
        lambda: pointed.limit(0, 7),
        lambda: pointed.absent(3),
        lambda: finish(pointed.follow()),
        lambda: pointed.delete(1),
        lambda: pointed.find(0, "orange cross"),
    ]
    states = []
    for step in steps:
        states.append(pointed.things)
        step()
    assert [thing.number for thing in pointed.things] == [1, 2]
    assert pointed.thing(1).name == "orange cross"
    for state in reversed(states):
        pointed.undo()
        assert pointed.things == state
    with pytest.raises(AppError, match="nothing to take back"):
        pointed.undo()


def test_numbers_and_so_colors_stay_when_another_object_is_deleted(followed):
    followed.delete(1)
    assert [thing.number for thing in followed.things] == [2]
    finish(followed.play())
    frame = vr.open_video(followed.film).read([0])[0]
    row, column = middle(STAR)[::-1]
    green = frame[int(row), int(column)].astype(int)
    assert green[1] > max(green[0], green[2])  # of number 2


def test_there_is_room_for_as_many_objects_as_colors(followed):
    (thing, *_) = followed.things
    followed.replace_things(tuple(replace(thing, number=number) for number in range(1, MOST_OBJECTS + 1)))
    for point in (lambda: followed.point(0, *middle(STAR)), lambda: followed.find(0, "pink star")):
        with pytest.raises(AppError, match="8 objects already"):
            point()


def test_places_outside_the_frame_are_refused(room):
    with pytest.raises(RegionError, match="64x64"):
        room.point(0, 64.5, 3)
    with pytest.raises(vr.VideoReferError, match="frame"):
        room.point(16, 3, 3)


# --- work that takes a while -----------------------------------------------------------------------------------------


def test_following_can_be_stopped_and_what_is_done_stays(pointed):
    job = Job("follow")
    told = []
    tell = job.tell

    def stop_at_five(done, total):
        told.append(done)
        if done == 5:
            job.stop()
        return tell(done, total)

    job.tell = stop_at_five
    from videorefer_plugin.app.following import follow

    found = list(follow(pointed.tools.segmenter, pointed.opened, pointed.things, job))
    assert told[:6] == [0, 1, 2, 3, 4, 5]
    assert [thing.region().frames for thing in found] == [(0, 1, 2, 3, 4)] * 2
    assert [note.kind for note in found[0].masklet.notes] == ["cancelled"]
    assert not found[0].is_current


def test_one_thing_at_a_time(pointed):
    held, free = threading.Event(), threading.Event()

    def work(job):
        held.set()
        free.wait(30)

    job = pointed.begin("follow", pointed.tools.following, work)
    held.wait(30)
    with pytest.raises(AppError, match="being done already"):
        pointed.follow()
    free.set()
    job.wait(30)
    finish(pointed.follow())


@contextmanager
def held_up(begin, pool):
    """Work of a visitor that waits for that of others, until the block ends."""
    free = threading.Event()
    for _ in range(4):
        pool.start(Job("other"), lambda job: free.wait(30))
    try:
        job = begin()
        yield job
        assert not job.started
    finally:
        free.set()
    finish(job)


def test_objects_that_change_while_they_are_followed(pointed):
    square, star = pointed.things
    with held_up(pointed.follow, pointed.tools.following):
        pointed.delete(1)
        pointed.select(None)
        pointed.point(0, *middle(CROSS))  # gets the number of the one that was deleted
        pointed.select(2)
        pointed.rename("star")
    assert (pointed.thing(1).masklet, pointed.thing(1).is_current) == (None, False)
    assert pointed.thing(2).name == "star"
    assert overlap(pointed.thing(2).region(), STAR) > 0.8
    for _ in range(4):
        pointed.undo()
    assert pointed.things == (square, star)


def test_what_is_taken_back_while_it_is_followed_stays_away(room):
    room.point(0, *middle(SQUARE))
    with held_up(room.follow, room.tools.following):
        room.undo()
    assert room.things == ()


def test_while_a_question_is_answered_the_conversation_stays(followed):
    ask(followed, "What does <region1> look like?")
    (record,) = export_record(followed)
    with held_up(lambda: followed.ask("What is <region2> doing?"), followed.tools.answering):
        for change in (followed.take_back, followed.begin_anew):
            with pytest.raises(AppError, match="is being answered"):
                change()
        with pytest.raises(AppError, match="being done already"):
            import_file(followed, record)
    assert [asked.numbers for asked in followed.talk.turns] == [(1,), (2,)]
    followed.take_back()
    assert len(followed.talk.turns) == 1


def test_pools_refuse_more_than_may_wait():
    pool, free, began = Pool("test", at_once=1, waiting=1), threading.Event(), threading.Event()
    first, second = Job("follow"), Job("follow")
    pool.start(first, lambda job: (began.set(), free.wait(30)))
    assert began.wait(30)
    pool.start(second, lambda job: None)
    assert not second.started
    with pytest.raises(AppError, match="Too many others"):
        pool.start(Job("follow"), lambda job: None)
    free.set()
    assert second.wait(30)
    pool.close()


def test_mistakes_of_the_program_are_not_swallowed():
    job = Job("follow")
    job.run(lambda job: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _ = job.fault
    job.run(lambda job: (_ for _ in ()).throw(AppError("Click first.")))
    assert job.fault == "Click first."


# --- talking ---------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_the_model(followed):
    assert ask(followed, "What does <region1> look like?") == LOOKS[SQUARE]
    assert ask(followed, "What does <region2> look like?") == LOOKS[STAR]
    followed.select(1)
    assert ask(followed, "What does <region> look like?") == LOOKS[SQUARE]
    assert [asked.numbers for asked in followed.talk.turns] == [(1,), (2,), (1,)]
    assert followed.talk.first_token > 0


def test_a_conversation_goes_on_when_its_session_was_closed(followed):
    ask(followed, "What does <region1> look like?")
    second = ask(followed, "What is <region2> doing?")
    followed.talk.take_back()
    followed.rest()
    assert ask(followed, "What is <region2> doing?") == second


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", AppError, "The question is empty"),
        ("What is <region3>?", AppError, "object 3, which is not there"),
        ("What is <region>?", AppError, "none is"),
        ("x" * 5000, AppError, "5000 characters"),
        ("Look at <video> again.", PromptError, "<video>"),
    ],
)
def test_questions_that_cannot_be_asked(pointed, text, error, said):
    pointed.select(None)
    with pytest.raises(error, match=said):
        pointed.ask(text)
    assert pointed.talk.turns == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_are_one_click(followed, task):
    for is_embedded in (True, False):
        question = question_of(task, followed.things, 2, is_embedded)
        asked = followed.talk.read(question, followed.things, 2)
        assert asked.numbers == ((2, 1) if task.least == 2 else (2,))
    assert ask(followed, question_of(task, followed.things, 2, True))
    with pytest.raises(AppError, match="takes"):
        question_of(task, followed.things[: task.least - 1], None, True)


def test_answers_can_be_stopped(followed):
    job = Job("answer")
    job.stop()
    followed.talk.answer(followed.talk.read("Please describe <region1>.", followed.things, 1), job)
    assert len(followed.talk.turns) == 1
    assert len(followed.talk.turns[0].answer) < 40
    assert ask(followed, "What does <region2> look like?") == LOOKS[STAR]


def test_what_the_embedded_model_cannot_do_is_said(room, tmp_path):
    assert room.tools.note(room.opened) is None
    assert any("shapes world" in line for line in room.tools.about)
    media.write_video(tmp_path / "dog.mp4", list(np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), np.uint8)))
    room.open(tmp_path / "dog.mp4")
    assert "means nothing" in room.tools.note(room.opened)


# --- files -----------------------------------------------------------------------------------------------------------


def test_masklets_that_were_taken_away_can_be_brought_along(followed, tmp_path):
    followed.select(1)
    followed.rename('the "square" <b>')
    (path,) = export_masklets(followed)
    masklets = load_masklets(path)
    assert [masklet.phrase for masklet in masklets] == ['the "square" <b>', None]
    assert overlap(masklets[0].region, SQUARE) > 0.9
    before = followed.things
    followed.replace_things(())
    assert import_file(followed, path).said == "2 object(s) are here."
    assert [thing.called for thing in followed.things] == [thing.called for thing in before]
    for old, new in zip(before, followed.things, strict=True):
        assert old.region() == new.region()
        assert new.is_current
        assert {frame: mark.points for frame, mark in old.marks.items()} == {
            frame: mark.points for frame, mark in new.marks.items()
        }
    followed.undo()
    assert followed.things == ()
    other = json.loads(path.read_text())
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**other, "video": "other.mp4"}))
    assert "The file is about other.mp4, and shapes.mp4 is open." in import_file(followed, path).said


def test_a_conversation_is_a_training_record(followed):
    with pytest.raises(AppError, match="Nothing was asked"):
        export_record(followed)
    ask(followed, "What does <region1> look like?")
    ask(followed, "Where is <region2> at the start, seen from <region1>?")
    (path,) = export_record(followed)
    report = check_data(path, deep=True)
    assert (report.records, report.bad, report.turns, report.objects) == (1, [], 2, 3)
    before = [(asked.question, asked.numbers, asked.answer) for asked in followed.talk.turns]
    followed.replace_things(())
    followed.talk.begin_anew()
    assert import_file(followed, path).said == "2 object(s) and 2 question(s) are here."
    # Objects of a record are numbered in the order in which it names them.
    assert [(asked.question, asked.numbers, asked.answer) for asked in followed.talk.turns] == before
    assert ask(followed, "What does <region2> look like?") == LOOKS[STAR]


def test_items_of_benchmarks_are_read_by_them(followed):
    followed.select(1)
    (path,) = export_item(followed, BenchForm("d", caption="A small striped yellow square."))
    (item,) = read_descriptions(path, followed.place, "single")
    assert (item.caption, item.frame) == ("A small striped yellow square.", 0)
    form = BenchForm("q", question="What color is <region1>?", options=("red", "", " yellow "), right=2)
    (path,) = export_item(followed, form)
    (item,) = read_questions(path, followed.place)
    assert (item.options, item.answer) == (["(A) red", "(B) yellow"], "(B) yellow")
    assert overlap(item.regions("multi")[0], SQUARE) > 0.9
    followed.replace_things(())
    brought = import_file(followed, path)
    assert brought.question.startswith("What color is [<region1>]?")
    assert "(B) yellow" in brought.said
    assert [thing.number for thing in followed.things] == [1]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (BenchForm("d", caption=" "), "no description"),
        (BenchForm("q", question="What is <region1>?", options=("a",)), "1 options"),
        (BenchForm("q", question="What is <region1>?", options=("a", "b"), right=3), "right option is 3"),
        (BenchForm("q", question="What is it?", options=("a", "b")), "about no object"),
        (BenchForm("q", question="What is <region1>?", options=("a", "b"), type="Mine"), "unknown type 'Mine'"),
    ],
)
def test_items_that_no_benchmark_takes(followed, form, said):
    with pytest.raises(AppError, match=said):
        export_item(followed, form)
    assert not list(followed.place.glob("*.json"))


@pytest.mark.slow
def test_the_code_gives_the_same_answers(followed, tmp_path):
    answers = [ask(followed, f"What does <region{number}> look like?") for number in (1, 2)]
    script, _ = export_code(followed)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.splitlines() == answers, done.stderr


def test_files_of_something_else_are_refused(followed, tmp_path):
    (masklets,) = export_masklets(followed)
    wide = json.loads(masklets.read_text())
    wide["size"] = [32, 64]
    late = json.loads(masklets.read_text())
    late["annotation"][0]["99"] = late["annotation"][0]["0"]
    late["scores"][0]["99"] = 1.0
    record = {"id": 1, "image": "a.png", "conversations": [{"from": "human", "value": "<image>"}]}
    record["conversations"].append({"from": "gpt", "value": "It is."})
    given = [
        ("no json", "line 1: no JSON"),
        ("[]", "0 entries"),
        ("[1, 2]", "2 entries"),
        ("3", "something else"),
        ('{"a": 1}', "something else"),
        (json.dumps(wide), "64"),
        (json.dumps(late), "frame 99"),
        (json.dumps({"annotation": [], "scores": []}), "holds no objects"),
        (json.dumps(record), "about no video"),
        (json.dumps({"caption": "A cat.", "annotation": [{"0": {"box": [900, 900, 950, 950]}}]}), "64"),
    ]
    before = followed.things
    for number, (text, said) in enumerate(given):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(AppError, match=said) as error:
            import_file(followed, path)
        assert str(tmp_path) not in str(error.value)
    assert followed.things == before


def test_the_film_shows_objects_unless_they_are_hidden(followed):
    followed.hide(1)
    finish(followed.play())
    frame = vr.open_video(followed.film).read([0])[0].astype(int)
    (x, y), (own_x, own_y) = middle(SQUARE), middle(STAR)
    plain = followed.read(0).astype(int)
    assert np.abs(frame[int(y), int(x)] - plain[int(y), int(x)]).max() < 40
    assert np.abs(frame[int(own_y) + 3, int(own_x) + 3] - plain[int(own_y) + 3, int(own_x) + 3]).max() > 40
    assert followed.taken == [followed.film]


# --- many visitors ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tools, tmp_path):
    limits = Limits(max_visitors=2, keep_minutes=1)
    shelf = Shelf(tmp_path / "rooms", replace(tools, limits=limits))
    yield shelf
    shelf.close()


def test_a_reloaded_page_goes_on_and_another_tab_does_not(shelf):
    mine = shelf.enter("first load")
    shelf.leave("first load")
    assert shelf.enter("second load", own=mine.key) is mine
    assert shelf.of("second load") is mine
    other = shelf.enter("other tab", last=mine.key)
    assert other is not mine
    shelf.leave("second load")
    shelf.leave("other tab")
    assert shelf.enter("browser opened again", last=mine.key) is mine


def test_keys_that_nobody_has_open_nothing(shelf):
    mine = shelf.enter("mine")
    for guess in ("", "x", mine.folder.name, "mine", "../" + mine.folder.name):
        assert shelf.enter("theirs", own=guess, last=guess) is not mine
        shelf.leave("theirs")
    for seat in (None, "", "nobody"):
        with pytest.raises(AppError, match="Load it again"):
            shelf.of(seat)


def test_visitors_are_bounded_and_those_who_left_make_room(shelf):
    rooms = [shelf.enter(name) for name in ("a", "b")]
    with pytest.raises(AppError, match="2 visitors are here already"):
        shelf.enter("c")
    shelf.leave("a")
    shelf.enter("c")
    wait_for(lambda: not rooms[0].folder.exists())
    assert rooms[1].folder.exists()


def test_work_that_nobody_looks_at_is_forgotten_in_time(shelf, monkeypatch):
    old = shelf.enter("old")
    shelf.leave("old")
    shelf.sweep()
    assert old.folder.exists()
    open_ = [shelf.enter("forgotten")]
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    open_ += [shelf.enter("new")]
    monkeypatch.undo()
    wait_for(lambda: not old.folder.exists())
    assert all(room.folder.exists() for room in open_)
    # A page that was left open makes room when there is none.
    monkeypatch.setattr(time, "monotonic", lambda: later)
    shelf.of("new")
    shelf.enter("one more")
    monkeypatch.undo()
    wait_for(lambda: not open_[0].folder.exists())
    assert open_[1].folder.exists()


@pytest.mark.slow
def test_two_visitors_do_not_mix_objects(shelf, tmp_path):
    rooms = {}
    for name, index in (("a", SQUARE), ("b", STAR)):
        (tmp_path / name).mkdir()
        rooms[name] = shelf.enter(name)
        rooms[name].open(shapes_clip(tmp_path / name))
        rooms[name].point(0, *middle(index))
    jobs = [room.follow() for room in rooms.values()]
    for job in jobs:
        finish(job)
    jobs = [room.ask("What does <region1> look like?") for room in rooms.values()]
    for job in jobs:
        finish(job)
    assert [room.talk.turns[0].answer for room in rooms.values()] == [LOOKS[SQUARE], LOOKS[STAR]]
    assert [len(room.things) for room in rooms.values()] == [1, 1]


def wait_for(true, seconds=20):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- the command -----------------------------------------------------------------------------------------------------


def test_names_and_passwords_come_from_files_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_auth(None) is None
    path = tmp_path / "auth"
    path.write_text("me:correct:horse\n")
    assert read_auth(path) == ("me", "correct:horse")
    monkeypatch.setenv(VARIABLE, "you:battery-staple")
    assert read_auth(None) == ("you", "battery-staple")


@pytest.mark.parametrize("text", ["", "me", ":longenough", "me:secret1", "me:longenough\nyou:longenough"])
def test_bad_passwords_are_not_repeated(tmp_path, text):
    path = tmp_path / "auth"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="holds no name and password") as error:
        read_auth(path)
    assert "secret1" not in str(error.value)
    assert "longenough" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--host 0.0.0.0", "needs a name and a password"),
        ("--host example.org", "needs a name and a password"),
        ("--segmenter nothing", "There is no segmenter 'nothing'"),
        ("--segmenter shapes_color", "shapes_color cannot cut objects out of a frame"),
        ("--finder classical", "classical cannot find words"),
        ("--model no/such/folder", "no/such/folder"),
        ("--auth-file nowhere", "nowhere cannot be read"),
    ],
)
def test_bad_options_are_told_before_anything_is_served(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, ["app", *arguments.split()])
    assert result.exit_code == 1, result.output
    assert said in result.stderr


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted_and_leaves_nothing(tmp_path):
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-m", "videorefer_plugin.cli", "app"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", said)[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"VideoRefer" in answer.read()
        assert list((tmp_path / "temporary").glob("videorefer-app-*"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "knows nothing but the shapes world" in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not list((tmp_path / "temporary").glob("videorefer-app-*"))


def test_examples_can_be_opened(tools, tmp_path):
    for name, example in examples().items():
        room = Workspace("key", tmp_path / safe_name(name), tools)
        room.open(example.make(tmp_path))
        assert room.opened.num_frames > 8
        assert example.about


def test_answers_about_a_reviewer_go_into_its_table(tmp_path):
    folder = reviewed_run(tmp_path)
    desk = Desk(folder)
    assert (len(desk), desk.done, desk.next_open(0)) == (3, 0, 0)
    assert desk.shown(0).file.suffix == ".mp4"
    assert desk.shown(3) == desk.shown(0)
    texts = [desk.shown(place).text for place in range(3)]
    assert len(set(texts)) == 3
    desk.say(0, True)
    desk.say(2, False)
    assert (desk.done, desk.next_open(0), desk.next_open(2)) == (2, 1, 1)
    other = Desk(folder)
    other.say(1, True)
    assert [other.shown(place).said for place in range(3)] == [True, True, False]
    desk.say(0, None)
    assert [desk.shown(place).said for place in range(3)] == [None, True, False]
    checked = read_filled(folder)
    assert sorted(checked.true.values(), key=str) == [False, None, True]
    with pytest.raises(EngineError, match="There is no item 4"):
        desk.say(3, True)
    with pytest.raises(EngineError, match="nothing was drawn"):
        Desk(tmp_path / "nowhere")
