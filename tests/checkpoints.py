"""The tiny original checkpoint, changed and taken apart in the ways in which checkpoints come."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.conftest import CASES, CHECKPOINT, TINY, case_call

TOWER = TINY / "siglip-tiny-patch6-42"
TOLERANCE = 2e-4

# What weights are called here -> in original checkpoints. Written down again, not taken from the library.
ORIGINAL_NAMES = {
    "model.language_model.": "model.",
    "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "model.connector.first_stage.": "model.mm_projector.s1.",
    "model.connector.downsample.": "model.mm_projector.sampler.0.",
    "model.connector.second_stage.": "model.mm_projector.s2.",
    "model.connector.projector.": "model.mm_projector.readout.",
    "object_encoder.projector.": "model.region_encoder.feat_linear.",
    "lm_head.": "lm_head.",
}


def original_name(name: str) -> str:
    (prefix,) = (prefix for prefix in ORIGINAL_NAMES if name.startswith(prefix))
    return ORIGINAL_NAMES[prefix] + name.removeprefix(prefix)


def original_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights under their original names."""
    return {original_name(name): value for name, value in model.state_dict().items()}


def weights() -> dict[str, torch.Tensor]:
    return load_file(CHECKPOINT / "model.safetensors")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def change_json(path: Path, changes: dict[str, Any]) -> None:
    """Sets keys of a JSON file; None deletes them."""
    content = {**read_json(path), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}, indent=1))


def make_checkpoint(
    folder: Path,
    state: dict[str, torch.Tensor] | None = None,
    files: int = 1,
    safetensors: bool = True,
    **config: Any,
) -> Path:
    """A copy of the tiny checkpoint with other weights (in so many files) and settings, without a tower beside it."""
    shutil.copytree(CHECKPOINT, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    change_json(folder / "config.json", config)
    state = {name: value.contiguous() for name, value in (weights() if state is None else state).items()}
    stem, suffix = ("model", "safetensors") if safetensors else ("pytorch_model", "bin")
    save: Any = (lambda part, path: save_file(part, path, {"format": "pt"})) if safetensors else torch.save
    if files == 1:
        save(state, folder / f"{stem}.{suffix}")
        return folder
    index = {}
    for number in range(files):
        part = dict(list(state.items())[number::files])
        name = f"{stem}-{number + 1:05}-of-{files:05}.{suffix}"
        save(part, folder / name)
        index.update(dict.fromkeys(part, name))
    size = sum(value.nbytes for value in state.values())
    content = {"metadata": {"total_size": size}, "weight_map": index}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(content))
    return folder


def without(state: dict[str, torch.Tensor], *parts: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not any(part in name for part in parts)}


def make_tower(folder: Path, scale: float = 1.0) -> Path:
    """A copy of the tower's folder with scaled position embeddings, so that one tower can be told from another."""
    shutil.copytree(TOWER, folder)
    state = load_file(TOWER / "model.safetensors")
    state["vision_model.embeddings.position_embedding.weight"] *= scale
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def tower_state(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the vision part of a tower's folder, which may hold a text part too."""
    state = load_file(folder / "model.safetensors")
    if any(name.startswith("vision_model.") for name in state):
        return {
            name.removeprefix("vision_model."): value
            for name, value in state.items()
            if name.startswith("vision_model.")
        }
    return state


def assert_same_state(found: Any, expected: Any) -> None:
    """Equal names, dtypes and values, bit by bit."""
    found, expected = (
        value.state_dict() if isinstance(value, torch.nn.Module) else value for value in (found, expected)
    )
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype, name
        assert torch.equal(found[name], expected[name]), name


def assert_original_weights(model: torch.nn.Module) -> None:
    assert_same_state(original_state(model), weights())


def golden_case(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case["name"] == name)


def golden_logits(name: str) -> torch.Tensor:
    return load_file(TINY / golden_case(name)["file"])["logits"]


def golden_inputs(processor: Any, name: str) -> Any:
    return processor(**case_call(golden_case(name), load_file(TINY / "visuals.safetensors")))


@torch.no_grad()
def logits_of(model: Any, inputs: Any) -> torch.Tensor:
    return model.eval()(**inputs).logits


def assert_golden(model: Any, processor: Any, name: str = "two_regions", atol: float = TOLERANCE) -> None:
    """The model answers a reference case as the original code did."""
    logits = logits_of(model, golden_inputs(processor, name))
    torch.testing.assert_close(logits.float(), golden_logits(name), atol=atol, rtol=0)


@contextmanager
def warnings_logged() -> Iterator[list[str]]:
    """Messages of level WARNING and above that transformers and this library log meanwhile."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Collector(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("transformers", "videorefer_plugin")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def load(folder: Path, **kwargs: Any) -> Any:
    """The model, after a check that no weight is missing or left over and that nothing is complained of."""
    from transformers import AutoModel

    with warnings_logged() as messages:
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True, **kwargs)
    assert not any(info.values()), info
    assert messages == []
    return model.eval()
