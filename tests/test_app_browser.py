"""The page of `videorefer app` in a real browser: what a newcomer does, and what goes wrong."""

import re

import numpy as np
import pytest

pytest.importorskip("gradio", reason="The page needs gradio.")

from videorefer_plugin.app.examples import shapes_clip
from videorefer_plugin.app.limits import Limits
from videorefer_plugin.app.serving import serve
from videorefer_plugin.app.tools import load_tools
from videorefer_plugin.world import bench_clip

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
        self.page.wait_for_selector("#vr-upload input[type=file]", state="attached")
        # The page takes work up, which is when it can be used.
        self.page.wait_for_function("sessionStorage.getItem('videorefer')")

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
    assert {re.match(r"\w+:/*([^/]*)", url)[1] for url in visitor.asked} <= {visitor.url.split("/")[2], ""}
    assert not visitor.faults
