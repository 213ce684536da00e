"""`videorefer serve --engine vllm`: needs vLLM, which lives in an environment of its own (see CONTRIBUTING.md)."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import videorefer_plugin as vr
from tests.serving import Served, as_request, asking, conversation, one_frame, write_clip
from videorefer_plugin.serve.vllm.plugin import register
from videorefer_plugin.video import open_video

KEY = "a-key-that-nobody-knows"
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")


def test_the_entry_point_never_raises_and_imports_little():
    register()
    register()
    heavy = "{'torch', 'transformers', 'av', 'vllm'}"
    code = f"import sys, videorefer_plugin.serve.vllm.plugin; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_vllm_the_engine_says_what_to_install():
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vllm is installed")
    from typer.testing import CliRunner

    from videorefer_plugin.cli import app

    result = CliRunner().invoke(app, ["serve", "--engine", "vllm"])
    assert result.exit_code == 1
    assert "videorefer-plugin[vllm]" in result.stderr


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[vr.Region]]]:
    folder = tmp_path_factory.mktemp("media")
    found = [write_clip(folder, number) for number in (5, 6, 7, 8)]
    for path, _ in found:
        Image.fromarray(open_video(path).read([8])[0]).save(path.with_suffix(".png"))
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served.vllm(key=KEY)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint())


def questions(path: Path, regions: list[vr.Region]) -> list[tuple[list[dict[str, Any]], list[vr.Region]]]:
    first, second, third = regions
    image, box = path.with_suffix(".png"), vr.Region.from_box((4, 4, 30, 30), frame=7)
    flat = [vr.Region.from_box((10 * n, 8, 10 * n + 20, 40)) for n in range(3)]
    two = "Where is <region> with respect to <region>?"
    alone = [
        (path, "What color is <region>?", [first]),
        (path, "What color is <region>?", [one_frame(second)]),
        (path, "What shape is <region>?", [third]),
        (path, "What is <region> doing?", [box]),
        (path, two, [first, second]),
        (path, two, [one_frame(third), box]),
        (path, "<region><region> <region>", [third, second, first]),
        (path, "How do <region>, <region>, <region> and <region> look?", [first, second, third, box]),
        (path, "What happens in the video?", []),
        (image, "What color is <region>?", [flat[0]]),
        (image, two, flat[:2]),
        (image, "<region><region><region>", flat),
        (image, "What is there?", []),
    ]
    turns = ("What color is <region>?", "It is blue.", "And <region>?")
    return [
        *((conversation(words, shown=[about]), own) for about, words, own in alone),
        (conversation(*turns, shown=[path]), [first, second]),
        (conversation(*turns, shown=[path], system="You see shapes."), [first, second]),
        *(
            (conversation(f"What {word} has <region>?", shown=[path]), [own])
            for word in ("color", "shape", "size")
            for own in (first, second, third)
        ),
        (conversation(f"What color is a cross in clip {path.stem}?"), []),
    ]


@needs_vllm
def test_answers_are_those_of_generate(served, pair, clips):
    from videorefer_plugin.asking import answer

    asked = [one for path, regions in clips for one in questions(path, regions)]
    bodies = [as_request(*one, stream=number % 3 == 0) for number, one in enumerate(asked)]
    for _ in range(2):  # the second time out of the caches
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(served.answer, bodies))
        wanted = [answer(*pair, [one], [own], max_new_tokens=24)[0] for one, own in asked]
        assert [(a, w) for a, w in zip(answers, wanted, strict=True) if a.strip() != w] == []
    assert len(answers) == 100


@needs_vllm
def test_bad_requests_are_refused_with_a_reason(served, clips):
    path, regions = clips[0]
    far = vr.Region.from_box((1, 2, 30, 40), frame=900)
    body = asking(path, "What is <region>?", regions[:1])
    for wrong, said in (
        (asking(path, "What is <region>?", [far]), "900"),
        ({**body, "regoins": []}, "Did you mean 'regions'"),
        ({**body, "mm_processor_kwargs": {"num_frames": 10**6}}, "from 1 to 64"),
        (asking(None, "What is <region>?", regions[:1]), "no video or image"),
    ):
        status, reply = served.ask(wrong)
        assert status == 400
        assert said in reply["error"]["message"]
    assert served.ask(None, "/models", **{"Authorization": "Bearer wrong-key-1"})[0] == 401
    assert served.ask({}, "/completions")[0] == 404
    assert served.answer(body)


@needs_vllm
def test_hosts_and_other_models_are_refused_by_name(tmp_path):
    from typer.testing import CliRunner

    from videorefer_plugin.cli import app

    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
    for options, said in (
        (["--model", "a/host", "--object-encoder", "an/encoder"], "attached object encoder is served with --engine"),
        (["--model", str(tmp_path)], "a model of type 'qwen2'"),
    ):
        result = CliRunner().invoke(app, ["serve", "--engine", "vllm", *options])
        assert result.exit_code == 1
        assert said in " ".join(result.stderr.split())


@needs_vllm
@pytest.mark.slow
def test_an_original_checkpoint_is_converted_and_served(tmp_path, monkeypatch, clips):
    from transformers import AutoConfig

    from tests.checkpoints import TOWER, change_json, make_checkpoint, original_state
    from videorefer_plugin.asking import answer, load_model

    # vLLM's attention on a CPU wants heads of at least 32 channels, which the tiny original does not have.
    sizes = {"hidden_size": 128, "intermediate_size": 192}
    plain = make_checkpoint(tmp_path / "plain", **sizes)
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    torch.manual_seed(0)
    whole = vr.VideoReferForConditionalGeneration(AutoConfig.from_pretrained(plain))
    folder = make_checkpoint(tmp_path / "original", original_state(whole), **sizes)
    change_json(folder / "generation_config.json", {"repetition_penalty": None})
    path, regions = clips[0]
    asked = questions(path, regions)[:6]
    pair = load_model(folder)
    wanted = [answer(*pair, [one], [own], max_new_tokens=24)[0] for one, own in asked]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    server = Served.vllm("--model", str(folder))
    try:
        assert [server.answer(as_request(*one, temperature=0)).strip() for one in asked] == wanted
        # Of placeholders beyond the vocabulary, which it counts as others, this would end the engine.
        assert server.answer(as_request(*asked[0], temperature=0, repetition_penalty=1.05))
        assert server.ask(None, "/models")[1]["data"][0]["id"] == "original"
        assert "It is converted once" in "".join(server.log)
    finally:
        server.close()
