"""Import of the package makes its model types known to the Auto classes, whatever else is imported before or after."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKPOINT, TINY

SOURCE = Path(__file__).parents[1] / "src"
PLUGIN = "import videorefer_plugin"
NAMES = (
    "AutoModel AutoConfig AutoProcessor AutoTokenizer AutoModelForCausalLM PreTrainedModel Trainer pipeline "
    "Qwen2Config Qwen2ForCausalLM GenerationMixin"
)
ENTRIES = [f"from transformers import {name}" for name in NAMES.split()]
LOADS = f"""
from transformers import AutoModel, AutoProcessor
model, processor = (auto.from_pretrained({str(CHECKPOINT)!r}) for auto in (AutoModel, AutoProcessor))
assert type(model).__name__ == "VideoReferForConditionalGeneration", type(model)
assert type(model).__module__.startswith("videorefer_plugin."), type(model)
assert type(processor).__name__ == "VideoReferProcessor", type(processor)
"""


def run(program, **environment):
    """Runs a program in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def orders(entries):
    for entry in entries:
        yield pytest.param(f"{entry}\n{PLUGIN}", id=f"{entry} first")
        yield pytest.param(f"{PLUGIN}\n{entry}", id=f"{entry} last")


def test_transformers_imported_first():
    run(f"import transformers\n{PLUGIN}\n{LOADS}")


@pytest.mark.slow
@pytest.mark.parametrize("imports", list(orders(ENTRIES)))
def test_every_import_order(imports):
    run(f"{imports}\n{LOADS}")


MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in (SOURCE / "videorefer_plugin" / "models").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_first(module):
    run(f"import {module}\n{LOADS}")


@pytest.mark.slow
def test_a_configuration_can_be_the_first_thing_used():
    run(f"{PLUGIN} as vr\nassert vr.VideoReferConfig().model_type == 'videorefer'\n{LOADS}")


def test_importing_is_light():
    heavy = "[name for name in ('torch', 'transformers', 'timm', 'av', 'PIL') if name in sys.modules]"
    assert run(f"import sys\n{PLUGIN}\nprint({heavy})").strip() == "[]"


@pytest.mark.slow
def test_timm_is_loaded_when_a_model_needs_it():
    """It has the blocks of the connector, which hosts lack but for two. One interpreter: starting it takes seconds."""
    said = run(
        f"""
import sys
{PLUGIN} as vr
from transformers import AutoConfig, AutoProcessor
from tests.tiny_hosts import BY_NAME
from videorefer_plugin import asking
from videorefer_plugin.tiny import demonstration
from videorefer_plugin.training import collator, dataset, run

for name in vr.__all__:
    getattr(vr, name)
AutoConfig.from_pretrained(vr.tiny_checkpoint())
AutoProcessor.from_pretrained(vr.tiny_checkpoint())
for name in BY_NAME.keys() - {{"perception_lm", "videollama2"}}:
    BY_NAME[name].attached()
print("timm" in sys.modules)
asking.load_model(vr.tiny_checkpoint())
print("timm" in sys.modules)
""",
        PYTHONPATH=os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
    )
    assert said.split() == ["False", "True"]


@pytest.mark.slow
def test_transformers_imported_last_registered_again_and_other_models_as_before(tmp_path):
    """One interpreter for several questions: starting one takes seconds."""
    run(
        f"""
{PLUGIN} as vr
import transformers
{LOADS}
from videorefer_plugin._registration import register
register()
{LOADS}
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
Qwen2ForCausalLM(Qwen2Config(vocab_size=20, **sizes)).save_pretrained({str(tmp_path)!r})
assert type(AutoConfig.from_pretrained({str(tmp_path)!r})) is Qwen2Config
assert type(AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})) is Qwen2ForCausalLM
assert type(AutoModel.from_pretrained({str(tmp_path)!r})) is transformers.Qwen2Model
tower = {str(TINY / "siglip-tiny-patch6-42")!r}
assert type(AutoConfig.from_pretrained(tower)) is transformers.SiglipConfig
assert type(AutoModel.from_pretrained(tower, ignore_mismatched_sizes=True)) is transformers.SiglipModel
assert isinstance(transformers.AutoImageProcessor.from_pretrained(tower), transformers.SiglipImageProcessor)
assert type(AutoTokenizer.from_pretrained({str(CHECKPOINT)!r})).__name__.startswith("Qwen2Tokenizer")
assert AutoConfig.for_model("videollama2").num_frames == 16
try:
    AutoConfig.for_model("videorefer3")
except ValueError as error:
    assert "Unrecognized model identifier" in str(error)
else:
    raise AssertionError
"""
    )


@pytest.mark.slow
def test_what_a_user_registers_counts():
    run(
        f"""
from transformers import AutoModel
{PLUGIN} as vr
class Mine(vr.VideoReferForConditionalGeneration): pass
AutoModel.register(vr.VideoReferConfig, Mine, exist_ok=True)
assert type(AutoModel.from_pretrained({str(CHECKPOINT)!r})) is Mine
"""
    )


@pytest.mark.slow
def test_first_uses_in_several_threads():
    run(
        f"""
from concurrent.futures import ThreadPoolExecutor
from transformers import AutoProcessor
{PLUGIN}
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(AutoProcessor.from_pretrained, [{str(CHECKPOINT)!r}] * 4))
assert [type(processor).__name__ for processor in found] == ["VideoReferProcessor"] * 4, found
"""
    )


@pytest.mark.slow
def test_trust_remote_code_and_saving_again(tmp_path):
    """Saved folders carry files that import this package, for those who do not import it themselves."""
    first, again = tmp_path / "first", tmp_path / "again"
    run(
        f"""
{PLUGIN}
{LOADS}
model.save_pretrained({str(first)!r})
processor.save_pretrained({str(first)!r})
"""
    )
    program = f"""
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained({str(first)!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({str(first)!r}, trust_remote_code=True)
assert type(model).__module__ == "videorefer_plugin.models.videorefer.modeling", type(model)
assert type(processor).__module__ == "videorefer_plugin.models.videorefer.processing", type(processor)
for part in (model, model.config, processor):
    part.register_for_auto_class()
    assert part._auto_class is None
    part.save_pretrained({str(again)!r})
model.save_pretrained({str(again)!r})
"""
    run(program, HF_MODULES_CACHE=str(tmp_path / "modules"))
    sources = {path.name: path.read_text() for path in first.rglob("*.py")}
    assert {path.name: path.read_text() for path in again.rglob("*.py")} == sources
    for text in sources.values():  # nothing but imports of this package
        statements = ast.parse(text).body
        assert all(isinstance(node, ast.ImportFrom) and node.level == 0 for node in statements)
        assert {node.module.split(".")[0] for node in statements} == {"videorefer_plugin"}
    maps = [json.loads((folder / "config.json").read_text()).get("auto_map") for folder in (first, again)]
    assert maps[0] == maps[1]
    shutil.rmtree(first)
    run(f"{PLUGIN}\n{LOADS.replace(str(CHECKPOINT), str(again))}")
