from .projector import load_mm_projector
from .videollama2_qwen2 import Videollama2Qwen2Config, Videollama2Qwen2ForCausalLM

VLLMs = {"videollama2_qwen2": Videollama2Qwen2ForCausalLM}

__all__ = ["VLLMs", "Videollama2Qwen2Config", "Videollama2Qwen2ForCausalLM", "load_mm_projector"]
