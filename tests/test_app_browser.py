"""The page of `videorefer app` in a real browser: what a newcomer does, and what goes wrong."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="The page needs gradio.")

from tests.reviewed import reviewed_run
from videorefer_plugin.app.checking import Desk
from videorefer_plugin.app.examples import shapes_clip
from videorefer_plugin.app.limits import Limits
from videorefer_plugin.app.serving import serve
from videorefer_plugin.app.tools import load_tools
from videorefer_plugin.segment import load_masklets
from videorefer_plugin.training.check import check_data
from videorefer_plugin.world import bench_clip, encode_video

CLIP, _ = bench_clip(7000, 2)  # of `shapes_clip`
STAR, CROSS, SQUARE, DIAMOND = range(4)


def middle(index, frame=0):
    """A pixel well inside an object: x and y."""
    mask = CLIP.masks[index, frame]
    places = np.argwhere(mask)
    row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return column + 0.5, row + 0.5


class Visitor:
    """One visitor, with a browser profile of their own."""

    def __init__(self, browser, url):
        self.url = url
        self.context = browser.new_context(viewport={"width": 1360, "height": 1200}, accept_downloads=True)
        self.asked, self.faults = [], []
        self.enter()

    def enter(self):
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.goto(self.url)
        self.page.wait_for_selector("#vr-upload input[type=file]", state="attached")  # it is ready

    def drop(self, path, said="Click on an object."):
        self.page.set_input_files("#vr-upload input[type=file]", path)
        self.told(said)

    def told(self, said):
        self.page.wait_for_selector(f"#vr-told:has-text({said!r})")
        return self.page.inner_text("#vr-told")

    def click(self, index, frame=0, objects=1):
        image = self.page.locator("#vr-frame img")
        image.wait_for()
        box = image.bounding_box()
        side = min(box["width"], box["height"])
        left, top = (box["width"] - side) / 2, (box["height"] - side) / 2
        x, y = middle(index, frame)
        image.click(position={"x": left + x / 64 * side, "y": top + y / 64 * side})
        self.page.wait_for_selector(f"#vr-ask-{objects}:visible")

    def follow(self):
        self.page.click("#vr-follow")
        self.followed()

    def followed(self):
        self.page.wait_for_function(
            "!document.querySelector('#vr-objects').innerText.includes('to be followed') "
            "&& document.querySelector('#vr-stop').disabled"
        )

    def ask(self, question, count=1):
        self.page.fill("#vr-question textarea", question)
        self.page.click("#vr-ask")
        return self.answer(count)

    def answer(self, count=1):
        self.page.wait_for_function(
            f"document.querySelectorAll('#vr-chat .bot.message').length >= {count} "
            "&& document.querySelector('#vr-stop').disabled"
        )
        return self.page.locator("#vr-chat .bot.message").last.inner_text().strip()

    def close(self):
        self.context.close()


@pytest.fixture(scope="module")
def tools():
    return load_tools(limits=Limits(max_megabytes=1, max_seconds=20))


@pytest.fixture(scope="module")
def served(browser, tools):
    with serve(tools) as served:
        yield served


@pytest.fixture
def visitors(browser, served):
    """Makes visitors."""
    here = []

    def make():
        here.append(Visitor(browser, served.url))
        return here[-1]

    yield make
    for visitor in here:
        visitor.close()


@pytest.fixture
def visitor(visitors):
    return visitors()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return shapes_clip(tmp_path_factory.mktemp("clip"))


def test_a_newcomer_clicks_on_an_object_and_asks(visitor, clip):
    visitor.drop(clip)
    visitor.click(SQUARE)
    visitor.follow()
    visitor.page.click("#vr-ask-1")
    visitor.page.wait_for_function("document.querySelector('#vr-question textarea').value == '<region1> '")
    assert visitor.ask("What does <region1> look like?") == "It is a small striped yellow square."
    # A question that cannot be asked stays in its box.
    visitor.page.fill("#vr-question textarea", "What is <region7>?")
    visitor.page.click("#vr-ask")
    visitor.told("object 7, which is not there")
    assert visitor.page.input_value("#vr-question textarea") == "What is <region7>?"
    assert {re.match(r"\w+:/*([^/]*)", url)[1] for url in visitor.asked} <= {visitor.url.split("/")[2], ""}
    assert not visitor.faults


def download(visitor, click, number=0):
    """What a button makes, fetched as a person does."""
    visitor.page.click(click)
    visitor.page.wait_for_selector("#vr-taken a[download]")
    links = visitor.page.locator("#vr-taken a[download]")
    with visitor.page.expect_download() as waiting:
        links.nth(number).click()
    return waiting.value


def overlap(masklet, index):
    shares = []
    for frame in range(16):
        truth = CLIP.masks[index, frame]
        if truth.any():
            mask = masklet.region.mask(frame, 64, 64)
            shares.append((mask & truth).sum() / (mask | truth).sum())
    return float(np.mean(shares))


def test_what_is_made_can_be_taken_away_and_brought_along(visitor, clip, tmp_path):
    visitor.drop(clip)
    visitor.click(SQUARE)
    visitor.page.fill("#vr-name input", "<b>my</b> square")
    visitor.page.press("#vr-name input", "Enter")
    visitor.page.wait_for_selector("text=1 <b>my</b> square")
    visitor.page.click("#vr-new")
    visitor.told("The next click is on a new object.")
    visitor.click(STAR, objects=2)
    visitor.follow()
    assert visitor.ask("What does <region2> look like?") == "It is a large dotted pink star."
    visitor.page.click("text=Files: take away, bring along")
    path = tmp_path / "masklets.json"
    download(visitor, "#vr-take-masklets").save_as(path)
    masklets = load_masklets(path)
    assert [overlap(masklet, index) > 0.8 for masklet, index in zip(masklets, (SQUARE, STAR), strict=True)] == [
        True
    ] * 2
    assert [masklet.phrase for masklet in masklets] == ["<b>my</b> square", None]
    record = tmp_path / "record.json"
    visitor.page.click("#vr-take-record")
    visitor.told("record.json")
    download(visitor, "#vr-take-record").save_as(record)
    (tmp_path / "shapes.mp4").write_bytes(clip.read_bytes())
    assert check_data(record, deep=True).bad == []
    for number in (1, 2):
        visitor.page.click(f"#vr-delete-{number}")
    visitor.page.wait_for_selector("text=None yet")
    visitor.page.click("#vr-anew")
    visitor.page.wait_for_selector("#vr-chat .bot.message", state="detached")
    visitor.page.set_input_files("#vr-bring input[type=file]", record)
    visitor.told("1 object(s) and 1 question(s) are here.")
    assert visitor.ask("What does <region1> look like?", 2) == "It is a large dotted pink star."
    visitor.page.set_input_files("#vr-bring input[type=file]", path)
    visitor.told("2 object(s) are here.")
    visitor.page.click("#vr-play")
    visitor.page.wait_for_selector("#vr-film video")
    assert not visitor.faults


def test_two_visitors_at_once_and_a_page_that_is_loaded_again(visitors, clip):
    one, other = visitors(), visitors()
    for visitor, index in ((one, SQUARE), (other, STAR)):
        visitor.drop(clip)
        visitor.click(index)
    one.page.click("#vr-follow")
    other.page.click("#vr-follow")
    for visitor in (one, other):
        visitor.followed()
    assert one.ask("What does <region1> look like?") == "It is a small striped yellow square."
    assert other.ask("What does <region1> look like?") == "It is a large dotted pink star."
    one.page.reload()
    assert one.answer() == "It is a small striped yellow square."
    one.page.wait_for_selector("#vr-ask-1:visible")
    assert one.page.locator("#vr-ask-2:visible").count() == 0
    assert one.ask("What color is <region1>?", 2).endswith("yellow.")
    tab = one.context.new_page()
    tab.goto(one.url)
    tab.wait_for_selector("#vr-upload input[type=file]", state="attached")
    assert tab.locator("#vr-ask-1:visible").count() == 0


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """The clip played forth and back many times."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    encode_video(path, np.concatenate([CLIP.frames, CLIP.frames[::-1]] * 4))
    return path


@pytest.mark.slow
def test_following_can_be_stopped(visitor, long_clip):
    visitor.drop(long_clip)
    visitor.click(SQUARE)
    visitor.page.click("#vr-follow")
    visitor.page.wait_for_function("document.querySelector('#vr-progress progress')?.value >= 5")
    visitor.page.click("#vr-stop")
    visitor.told("Stopped; the finished part is kept.")
    assert "to be followed" in visitor.page.inner_text("#vr-objects")
    seen = re.search(r"seen in (\d+) frame", visitor.page.get_attribute("#vr-strip svg", "aria-label"))
    assert 5 <= int(seen[1]) < 128


@pytest.mark.slow
def test_a_question_that_is_asked_while_objects_are_followed_is_not_lost(visitor, long_clip):
    visitor.drop(long_clip)
    visitor.click(SQUARE)
    visitor.page.click("#vr-follow")
    visitor.page.wait_for_selector("#vr-progress progress")
    visitor.page.fill("#vr-question textarea", "What does <region1> look like?")
    visitor.page.press("#vr-question textarea", "Shift+Enter")
    visitor.told("Something is being done already")
    assert visitor.page.input_value("#vr-question textarea") == "What does <region1> look like?"
    visitor.page.click("#vr-stop")
    visitor.told("Stopped; the finished part is kept.")
    assert not visitor.faults


@pytest.mark.slow
def test_a_question_that_fails_comes_back_into_its_box(visitor, clip, served):
    visitor.drop(clip)
    visitor.click(SQUARE)
    key = visitor.page.evaluate("sessionStorage.getItem('videorefer')")
    room = served.shelf.enter("probe", own=key)
    served.shelf.leave("probe")
    Path(room.opened.path).rename(room.place / "gone.mp4")
    visitor.page.fill("#vr-question textarea", "What does <region1> look like?")
    visitor.page.click("#vr-ask")
    visitor.page.wait_for_selector("#vr-told .vr-fault")
    visitor.page.wait_for_function(
        "document.querySelector('#vr-question textarea').value == 'What does <region1> look like?'"
    )
    (room.place / "gone.mp4").rename(room.opened.path)
    visitor.page.click("#vr-ask")
    assert visitor.answer() == "It is a small striped yellow square."
    assert not visitor.faults


@pytest.mark.slow
def test_work_goes_on_when_the_browser_is_closed(visitor, long_clip):
    visitor.drop(long_clip)
    visitor.click(SQUARE)
    visitor.page.click("#vr-follow")
    visitor.page.wait_for_selector("#vr-progress progress")
    visitor.page.close()
    visitor.enter()
    visitor.page.wait_for_function("document.querySelector('#vr-stop').disabled", timeout=90_000)
    visitor.page.wait_for_selector("#vr-strip svg[aria-label*='seen in 128 frame(s)']")
    assert "to be followed" not in visitor.page.inner_text("#vr-objects")


@pytest.mark.slow
def test_everything_can_be_done_with_the_keyboard(visitor, clip):
    visitor.drop(clip)
    page = visitor.page
    page.focus("button:has-text('Point without a mouse, or by words')")
    page.keyboard.press("Enter")
    x, y = middle(SQUARE)
    for field, value in (("#vr-x input", x), ("#vr-y input", y)):
        page.focus(field)
        page.keyboard.press("Control+a")
        page.keyboard.type(str(int(value)))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#vr-ask-1:visible")
    page.focus("#vr-slider input[type=range]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#vr-slider input[type=number]').value == '3'")
    page.focus("#vr-words textarea, #vr-words input")
    page.keyboard.type("pink star")
    page.keyboard.press("Enter")
    visitor.told("1 object(s) found.")
    page.wait_for_selector("text=2 pink star")
    page.focus("#vr-follow")
    page.keyboard.press("Space")
    page.wait_for_function("!document.querySelector('#vr-objects').innerText.includes('to be followed')")
    page.focus("#vr-ask-1")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#vr-question textarea').value == '<region1> '")
    page.focus("#vr-question textarea")
    page.keyboard.press("Home")
    page.keyboard.type("What does ")
    page.keyboard.press("End")
    page.keyboard.type("look like?")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert visitor.answer() == "It is a small striped yellow square."


# --- hostile ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_that_are_no_videos_are_refused(visitor, clip, tmp_path):
    (tmp_path / "evil.mp4").write_bytes(b"<script>alert(1)</script>" * 100)
    visitor.drop(tmp_path / "evil.mp4", "evil.mp4")
    assert "vr-fault" in visitor.page.inner_html("#vr-told")
    (tmp_path / "large.mp4").write_bytes(bytes(2 << 20))
    visitor.page.set_input_files("#vr-upload input[type=file]", tmp_path / "large.mp4")
    visitor.page.wait_for_selector("text=/maximum allowed size|too large|exceeds/i")
    encode_video(tmp_path / "endless.mp4", np.concatenate([CLIP.frames] * 11))
    visitor.page.reload()
    visitor.drop(tmp_path / "endless.mp4", "seconds long, and this page takes 20 at most")
    visitor.drop(clip)
    visitor.click(SQUARE)
    assert not visitor.faults


def test_html_in_names_and_answers_is_shown_and_not_run(visitor, clip, tmp_path):
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>[a](javascript:alert(3)) **b** $x$ <a href=//evil>"
    name = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    name.write_bytes(clip.read_bytes())
    visitor.drop(name)
    record = {
        "video": "clip.mp4",
        "conversations": [
            {"from": "human", "value": f"<video>\n<region> {evil}"},
            {"from": "gpt", "value": evil},
        ],
        "annotation": [CLIP.annotation(SQUARE)],
    }
    (tmp_path / "record.json").write_text(json.dumps(record))
    visitor.page.click("text=Files: take away, bring along")
    visitor.page.set_input_files("#vr-bring input[type=file]", tmp_path / "record.json")
    visitor.told("1 question(s) are here")
    assert visitor.answer() == evil
    visitor.page.click(".vr-chip-1")
    visitor.page.wait_for_selector("#vr-name input:visible")
    visitor.page.fill("#vr-name input", evil[:60])
    visitor.page.press("#vr-name input", "Enter")
    visitor.page.wait_for_function("document.querySelector('.vr-chip-1').innerText.includes('<img src=x')")
    visitor.page.fill("#vr-question textarea", "What is <region7>? <img src=x onerror=alert(1)>")
    visitor.page.click("#vr-ask")
    visitor.told("object 7, which is not there")
    hostile = "#vr-chat img[src='x'], #vr-chat script, #vr-chat a, #vr-objects img, #vr-told img, #vr-strip img"
    assert visitor.page.locator(hostile).count() == 0
    assert not visitor.faults


def post(url, path, value):
    request = urllib.request.Request(f"{url}gradio_api/{path}", json.dumps(value).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_files_beside_those_of_the_page_cannot_be_had(visitor, served, clip, tmp_path):
    visitor.drop(clip)
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clip.read_bytes())
    room = served.shelf.enter("probe", own=visitor.page.evaluate("sessionStorage.getItem('videorefer')"))
    served.shelf.leave("probe")
    for path in (secret, "/etc/passwd", "../../etc/passwd", room.place / room.title, __file__):
        for place in (f"gradio_api/file={path}", f"file={path}", f"gradio_api/file=/proc/self/root{path}"):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(visitor.url + place, timeout=30)
            assert error.value.code in (403, 404, 500)
    # What a page sends when a file was dropped, with the path of another file.
    given = {"path": str(secret), "meta": {"_type": "gradio.FileData"}, "orig_name": "secret.mp4"}
    drop = next(fn for fn in served.blocks.fns.values() if any(event == "upload" for _, event in fn.targets))
    sent = {"fn_index": drop._id, "data": [given], "session_hash": "probe"}
    served.shelf.enter("probe", own=room.key)
    before = room.opened
    post(visitor.url, "queue/join", sent)
    with urllib.request.urlopen(f"{visitor.url}gradio_api/queue/data?session_hash=probe", timeout=30) as answer:
        said = answer.read().decode()
    served.shelf.leave("probe")
    assert "not" in said
    assert '"success":false' in said.replace(" ", "")
    assert room.opened is before
    assert secret.exists()


def test_no_other_name_leads_to_the_page(served):
    for name, code in (("evil.example", 400), (f"localhost:{served.url.split(':')[2].strip('/')}", 200)):
        request = urllib.request.Request(served.url, headers={"Host": name})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = answer.status
                assert "default-src 'self'" in answer.headers["content-security-policy"]
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == code


def test_a_page_that_others_can_reach_asks_for_the_password(tools):
    with serve(tools, auth=("me", "correct horse")) as guarded:
        for place in ("config", "gradio_api/info", "gradio_api/file=x"):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(guarded.url + place, timeout=30)
            assert error.value.code == 401


@pytest.mark.slow
def test_a_reviewer_is_checked_with_two_buttons(browser, tools, tmp_path):
    folder = reviewed_run(tmp_path)
    with serve(tools, desk=Desk(folder)) as served:
        page = browser.new_page()
        page.goto(served.url)
        page.get_by_role("tab", name="Check a Reviewer").click()
        for done, button in enumerate(("right", "wrong", "right")):
            page.wait_for_selector(f"#vr-check-count:has-text('{done} checked')")
            page.wait_for_selector("#vr-check-film video")
            page.click(f"#vr-check-{button}")
        page.wait_for_selector("#vr-check-count:has-text('3 checked')")
        page.close()
    assert [Desk(folder).shown(place).said for place in range(3)] == [True, False, True]
