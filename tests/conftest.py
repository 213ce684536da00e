"""Fixtures shared by the tests: the tiny original checkpoint and its reference numbers."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest

import videorefer_plugin

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


def pytest_collection_finish() -> None:
    """What is imported by now stays, so nobody need look there for garbage: trainers do so at each of their ends."""
    gc.collect()
    gc.freeze()


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
