"""Fixtures shared by the tests: the tiny original checkpoint and its reference numbers."""

import gc
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import videorefer_plugin
from tests.chat_server import KEY, ChatServer

# Nothing in the tests may depend on a network; without this every look-up of a missing file would wait for one.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Processes that share the machine get in each other's way with more threads than cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Weights of the same value give the same numbers wherever they lie in memory. Matrix products of MKL do not: how those
# of single rows round depends on alignment, unless this is set before torch is loaded.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

# From a checkout that is not installed, folders of the package that lie at the top (such as patches) are found here.
videorefer_plugin.__path__.append(str(Path(__file__).parent.parent))

GOLDENS = Path(__file__).parent / "data" / "goldens"
TINY = GOLDENS / "tiny_checkpoint"
CHECKPOINT = TINY / "videorefer-tiny"
CASES: list[dict[str, Any]] = json.loads((TINY / "cases.json").read_text())["cases"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test that is marked `spread(n)`, n run with the others, evenly spread; the rest is slow."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("spread"):
            cases.setdefault(item.nodeid.split("[", 1)[0], []).append(item)
    for found in cases.values():
        mark = found[0].get_closest_marker("spread")
        keep = min(mark.args[0] if mark else 1, len(found))
        chosen = {number * len(found) // keep for number in range(keep)}
        for number, item in enumerate(found):
            if number not in chosen:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays, so nobody need look there for garbage: trainers do so at each of their ends."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A chat endpoint, whose key is set."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    yield server
    server.close()


# Of a module, since an event loop runs beside the tests while there is one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; tests are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("There is no Chromium, such as Debian's package chromium has.")
    quiet = ["background-networking", "component-update", "sync"]
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def visuals() -> dict[str, Any]:
    """Raw frames and preprocessed pixels of the reference cases."""
    from safetensors.torch import load_file

    return load_file(TINY / "visuals.safetensors")


@pytest.fixture(scope="session")
def processor() -> Any:
    from transformers import AutoProcessor

    import videorefer_plugin  # noqa: F401

    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="session")
def shared_model() -> Any:
    """The tiny checkpoint in evaluation mode. Tests that change a model load their own."""
    from transformers import AutoModel

    import videorefer_plugin  # noqa: F401

    return AutoModel.from_pretrained(CHECKPOINT).eval()


@pytest.fixture
def model(shared_model: Any) -> Any:
    shared_model.eval()
    shared_model.zero_grad(set_to_none=True)
    return shared_model


def case_call(case: dict[str, Any], visuals: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the processor that ask what a reference case asked."""
    from videorefer_plugin import Region

    call: dict[str, Any] = {
        "text": case["prompt"],
        "regions": [[Region.from_annotation(record) for record in case.get("annotation", [])]],
        "mask_policy": "original",
        "return_tensors": "pt",
    }
    if case["modal"] != "text":
        frames = visuals[f"{case['visual']}.frames"].numpy()
        call["images" if case["modal"] == "image" else "videos"] = [frames[0] if case["modal"] == "image" else frames]
    return call


def batch_call(cases: list[dict[str, Any]], visuals: dict[str, Any]) -> dict[str, Any]:
    """One call of the processor for several reference cases."""
    calls = [case_call(case, visuals) for case in cases]
    return {
        "text": [call["text"] for call in calls],
        "regions": [call["regions"][0] for call in calls],
        "images": [image for call in calls for image in call.get("images", [])] or None,
        "videos": [video for call in calls for video in call.get("videos", [])] or None,
        "mask_policy": "original",
        "return_tensors": "pt",
    }


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    """The folder that `videorefer demo` writes."""
    from videorefer_plugin.tiny.demonstration import demonstrate

    folder = tmp_path_factory.mktemp("demonstration") / "demo"
    demonstrate(videorefer_plugin.tiny_checkpoint(), folder)
    return folder


@pytest.fixture
def desk(tmp_path, monkeypatch, demo_folder):
    """A folder with everything that the README and the pages of the documentation speak of."""
    import numpy as np
    from PIL import Image

    from tests import media, training_data
    from tests.tiny_hosts import QWEN2_VL, ROWS
    from tests.videollama2_original import STANDINS, on_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "path" / "to").mkdir(parents=True)
    shutil.copytree(CHECKPOINT, tmp_path / "path" / "to" / "checkpoint")
    shutil.copytree(CHECKPOINT.parent / "siglip-tiny-patch6-42", tmp_path / "path" / "to" / "siglip-tiny-patch6-42")
    llava = next(row for row in ROWS if row.name == "llava_onevision")
    for host, folder in ((llava, "host"), (QWEN2_VL, "qwen2-vl")):
        host.model().save_pretrained(tmp_path / "path" / "to" / folder)
        host.processor().save_pretrained(tmp_path / "path" / "to" / folder)
    pictures = list(np.random.default_rng(0).integers(0, 256, (30, 120, 160, 3), dtype=np.uint8))
    media.write_video(tmp_path / "dog.mp4", pictures)
    Image.fromarray(pictures[0]).save(tmp_path / "dog.png")
    records = training_data.all_kinds()
    training_data.write_media(tmp_path)
    training_data.write_json(tmp_path / "my-data.json", [records["compressed"], records["image"]] * 4)
    shutil.copytree(demo_folder, tmp_path / "demo")
    # The original code looks for the tower from the working directory, and is not on the package index.
    shutil.copytree(CHECKPOINT.parent / "siglip-tiny-patch6-42", tmp_path / "siglip-tiny-patch6-42")
    with on_path(*(() if importlib.util.find_spec("videollama2") else (STANDINS,))):
        yield tmp_path
