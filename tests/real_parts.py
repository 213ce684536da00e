"""Parts of a real chain that work without a hub: small packages that whoever runs the check has at hand."""

import os
from pathlib import Path

import cv2
import numpy as np

from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.items import Description, Drop, Made, Refined, RegionCaption
from videorefer_plugin.segment import Segmenter
from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.segment.events import Candidate

MODEL = "VIDEOREFER_SEGMENTATION_MODEL"  # path of a person segmentation model, TFLite with (1, 256, 256) in and out
_SIDE = 256
_LEAST = 0.02  # of a frame


class ForegroundFinder(Segmenter):
    """Finds the person or animal of a frame with a small network, whatever words it is given."""

    name = "foreground"

    def __init__(self):
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(os.environ[MODEL], num_threads=1)
        self._network.allocate_tensors()

    @classmethod
    def load(cls, checkpoint=None, device=None, dtype=None, **settings):
        return cls()

    def _find(self, frame, phrase, max_objects):
        height, width = frame.shape[:2]
        given = cv2.resize(frame, (_SIDE, _SIDE)).astype(np.float32)[None] / 255
        self._network.set_tensor(self._network.get_input_details()[0]["index"], given)
        self._network.invoke()
        small = self._network.get_tensor(self._network.get_output_details()[0]["index"])[0, ..., 0]
        sure = cv2.resize(small, (width, height))
        count, labels, stats, _ = cv2.connectedComponentsWithStats((sure > 0.5).astype(np.uint8))
        if count < 2:
            return []
        mask = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
        if mask.mean() < _LEAST:
            return []
        return [Candidate(mask, box_around(mask), float(sure[mask].mean()), phrase)]


class _Given(Agent):
    """Says what is written in a table: file of the video -> noun -> words."""

    def __init__(self, said):
        self.said = said

    def identity(self):
        return {"said": self.said}

    def run(self, items):
        return [
            Made(tuple(self._one(self.said[Path(item.source.path).stem], one) for one in item.objects))
            for item in items
        ]


class GivenAnnotator(_Given):
    stage = "annotator"

    def _one(self, said, one):
        words = said.get(one.noun.text.split()[-1])
        return Drop("not_seen", "Nobody has described it.") if words is None else Description("", words)


class GivenCaptioner(_Given):
    stage = "captioner"

    def _one(self, said, one):
        return RegionCaption(said["foreground"], one.found.frame)


class GivenRefiner(_Given):
    stage = "refiner"

    def _one(self, said, one):
        return Refined(one.description.text)
