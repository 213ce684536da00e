"""A stand-in for the original `videollama2` package, written for these tests.

Nothing of the original is copied: it has the modules, names and signatures that the patches build on, fails under
transformers 5 in the same places, and is otherwise as small as can be.
"""

from .constants import MODAL_INDEX_MAP, NUM_FRAMES
from .mm_utils import tokenizer_multimodal_token
from .model import VLLMs

__all__ = ["MODAL_INDEX_MAP", "NUM_FRAMES", "VLLMs", "tokenizer_multimodal_token"]
