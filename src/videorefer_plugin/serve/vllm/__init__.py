"""The plugin of vLLM that serves VideoRefer models with regions."""

from videorefer_plugin.serve.vllm.plugin import register

__all__ = ["register"]
