"""Programs for the interpreters that `test_publish` starts."""

# Saves a model and processor, and the logits that its copies must give.
SAVE = """
import torch, videorefer_plugin as vr
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor
model, processor = AutoModel.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)
model.save_pretrained(folder); processor.save_pretrained(folder)
regions = [vr.Region.from_box((8, 8, 40, 40), frame=3)]
inputs = processor(text="<video>\\nWhat is <region>?", videos=video, regions=regions, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
save_file({**{name: value.contiguous() for name, value in inputs.items()}, "logits": logits}, reference)
"""

# Loads the published model in one of the ways, and says how far its logits are from what they were.
LOAD = """
import json, sys
{before}
from transformers import AutoModel, AutoProcessor
try:
    AutoProcessor.from_pretrained("{source}")
    print("loaded without trust")
except ValueError as error:
    print(error)
assert ("videorefer_plugin" in sys.modules) is {imported}
processor = AutoProcessor.from_pretrained("{source}"{flag})
model = AutoModel.from_pretrained("{source}"{flag}).eval()
import torch
import videorefer_plugin as vr
from safetensors.torch import load_file
wanted = load_file("{reference}")
logits = wanted.pop("logits")
inputs = processor(text="<video>\\nWhat is <region>?", videos="{video}",
                   regions=[vr.Region.from_box((8, 8, 40, 40), frame=3)], return_tensors="pt")
with torch.no_grad():
    found = model(**inputs).logits
model.save_pretrained("{saved}")
processor.save_pretrained("{saved}")
print(json.dumps({{
    "difference": float((found - logits).abs().max()),
    "inputs": sorted(inputs) == sorted(wanted) and all(torch.equal(inputs[name], wanted[name]) for name in wanted),
    "classes": [type(model).__name__, type(processor).__name__],
}}))
"""

# An interpreter in which the package is not installed, whatever the environment holds.
NOT_INSTALLED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "videorefer_plugin":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from transformers import AutoModel, AutoProcessor
for auto in (AutoModel, AutoProcessor):
    try:
        auto.from_pretrained("me/tiny", trust_remote_code=True)
    except Exception as error:
        print(type(error).__name__, error)
"""

SAVE_PARTS = """
import torch, videorefer_plugin as vr
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoProcessor
from videorefer_plugin.hosts.saving import save_object_encoder
from videorefer_plugin.hub import publish

model = AutoModel.from_pretrained("me/tiny").eval()
processor = AutoProcessor.from_pretrained("me/tiny")
torch.manual_seed(0)
with torch.no_grad():
    for parameter in model.object_encoder.parameters():
        parameter.normal_(std=0.3)
wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).eval()
wrapped.peft_config["default"].base_model_name_or_path = "me/tiny"
wrapped.save_pretrained(folder)
save_object_encoder(model, folder)
processor.save_pretrained(folder)
regions = [vr.Region.from_box((8, 8, 40, 40), frame=3)]
inputs = processor(text="<video>\\nWhat is <region>?", videos=video, regions=regions, return_tensors="pt")
with torch.no_grad():
    logits = wrapped(**inputs).logits
    with wrapped.disable_adapter():
        without = wrapped(**inputs).logits
publish(folder, "me/adapter")
for name in ("adapter_config.json", "adapter_model.safetensors"):
    (pathlib.Path(folder) / name).unlink()
publish(folder, "me/encoder")

found = {}
for repo_id in ("me/adapter", "me/encoder"):
    card = pathlib.Path(hf_hub_download(repo_id, "README.md")).read_text()
    names = {}
    exec(re.search(r"```python\\n(.*?)```", card, re.DOTALL).group(1), names)
    inputs = names["processor"](text="<video>\\nWhat is <region>?", videos=video, regions=regions, return_tensors="pt")
    with torch.no_grad():
        wanted = logits if repo_id == "me/adapter" else without
        found[repo_id] = float((names["model"].eval()(**inputs).logits - wanted).abs().max())
value = [found, float((logits - without).abs().max())]
"""
