"""Follows objects with EdgeTAM, a SAM 2 for small devices."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from videorefer_plugin.segment.sam_video import SamVideo

__all__ = ["EdgeTamVideo", "without_the_hub"]

_AT_WORK = threading.Lock()
_TOWER = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}


class EdgeTamVideo(SamVideo):
    """See [`SamVideo`]: EdgeTAM."""

    name = "edgetam_video"
    model_types = ("edgetam_video",)

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        """See [`SamVideo.classes`]; EdgeTAM has no processor of its own."""
        from transformers import EdgeTamVideoModel, Sam2VideoProcessor

        return EdgeTamVideoModel, Sam2VideoProcessor

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> SamVideo:
        """See [`SamVideo.load`]."""
        with without_the_hub():
            return super().load(checkpoint, device, dtype, **settings)


@contextlib.contextmanager
def without_the_hub() -> Iterator[None]:
    """Keep transformers from fetching the configuration of a vision tower that is not used.

    Transformers 5.18 compares a configuration of EdgeTAM, when it is converted to a `dict`, with a default one, part
    of which is on the Hub. Without a network, a checkpoint in a folder could not be loaded. A lock admits one thread
    at a time, since a class is changed meanwhile.
    """
    from transformers import EdgeTamVisionConfig, TimmWrapperConfig

    def finish_here(self: Any, **kwargs: Any) -> None:
        if self.backbone_config is None:
            self.backbone_config = TimmWrapperConfig(architecture="repvit_m1", model_args=_TOWER)
        finish(self, **kwargs)

    with _AT_WORK:
        finish = EdgeTamVisionConfig.__post_init__
        EdgeTamVisionConfig.__post_init__ = finish_here
        try:
            yield
        finally:
            EdgeTamVisionConfig.__post_init__ = finish
