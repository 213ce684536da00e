"""The plugin that vLLM calls in each of its processes, for any model that it serves."""

import logging

__all__ = ["register"]

logger = logging.getLogger("videorefer_plugin.serve")

_ARCHITECTURE = "VideoReferForConditionalGeneration"


def register() -> None:
    """Register the model with vLLM by name, so that nothing is imported before it is served.

    It may be called several times. Errors are logged and not raised, since other models can be served.
    """
    try:
        from vllm import ModelRegistry

        import videorefer_plugin  # noqa: F401  # registers the configurations

        ModelRegistry.register_model(_ARCHITECTURE, "videorefer_plugin.serve.vllm.model:VideoReferForVLLM")
    except Exception:  # a plugin that raises keeps vLLM from serving anything
        logger.exception("VideoRefer could not be registered with vLLM")
