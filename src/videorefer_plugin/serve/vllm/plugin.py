"""What vLLM calls in each of its processes, whatever model it serves."""

import logging

__all__ = ["register"]

logger = logging.getLogger("videorefer_plugin.serve")

_ARCHITECTURE = "VideoReferForConditionalGeneration"


def register() -> None:
    """Tell vLLM of the model, by name: nothing is imported before it is served.

    May be called many times. Whatever goes wrong is logged and not raised, since other models can be served.
    """
    try:
        from vllm import ModelRegistry

        import videorefer_plugin  # noqa: F401  # configurations are known from then on

        ModelRegistry.register_model(_ARCHITECTURE, "videorefer_plugin.serve.vllm.model:VideoReferForVLLM")
    except Exception:  # a plugin that raises keeps vLLM from serving anything
        logger.exception("VideoRefer could not be registered with vLLM")
