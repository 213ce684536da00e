"""SAM 3 with cleanup by SciPy instead of compiled kernels, and a session that needs little memory."""

from __future__ import annotations

import math
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Sam3VideoModel
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from videorefer_plugin.segment.cleaning import fill_holes, keep_surest, mask_overlaps, remove_sprinkles

__all__ = ["CLEANERS", "CleaningSam3", "LeanSession"]

CLEANERS = ("scipy", "kernels", "none")
"""Implementations of the cleanup."""


class LeanSession(Sam3VideoInferenceSession):
    """A session that takes frames one by one, and drops them when they are done.

    This is not streaming as in transformers, where an object that nothing confirms is never given up: here the model
    knows the length of the video.

    Args:
        length: number of frames of the video.
        start: the first frame.
        settings: arguments of `Sam3VideoInferenceSession`.

    Attributes:
        best: highest score of the detector so far.
        closed: whether new objects are ignored.
    """

    def __init__(self, length: int, start: int, **settings: Any):
        super().__init__(**settings)
        self.processed_frames: dict[int, Tensor] = {}
        self.length = length
        self.start = start
        self.best = 0.0
        self.closed = False

    @property
    def num_frames(self) -> int:
        """The number of frames of the video."""
        return self.length

    def turn(self) -> None:
        """Start the way backward. Unconfirmed objects of the way forward do not count there."""
        self.unmatched_frame_inds.clear()
        self.overlap_pair_to_frame_inds.clear()

    def forget(self, frame: int, model: Sam3VideoModel) -> None:
        """Drop everything that no later frame depends on, after a frame is done. Results stay the same."""
        self.processed_frames.pop(frame, None)
        self.obj_id_to_tracker_score_frame_wise.clear()
        self.suppressed_obj_ids.clear()
        for counted in (self.unmatched_frame_inds, self.overlap_pair_to_frame_inds):
            for frames in counted.values():
                del frames[max(model.hotstart_unmatch_thresh, model.hotstart_dup_thresh) :]
        for given in (*self.mask_inputs_per_obj.values(), *self.frames_tracked_per_obj.values()):
            given.clear()
        config = model.tracker_model.config
        for outputs in self.output_dict_per_obj.values():
            self._thin(outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"], frame, config)

    def _thin(self, tracked: dict[int, Any], pinned: dict[int, Any], frame: int, config: Any) -> None:
        def far(index: int, most: int) -> bool:
            return min(abs(index - frame), abs(index - self.start)) > most

        for index in [index for index in tracked if far(index, config.max_object_pointers_in_encoder)]:
            del tracked[index]
        for output in (*tracked.values(), *pinned.values()):
            output["high_res_masks"] = None
        # The model reads the nearest few frames that the detector confirmed, and the object pointers of all others.
        most = config.max_cond_frame_num
        for index in sorted(pinned)[most:-most] if most > 0 else ():
            if far(index, config.num_maskmem):
                pinned[index].update(dict.fromkeys(("maskmem_features", "maskmem_pos_enc", "pred_masks")))


class CleaningSam3(Sam3VideoModel):
    """`Sam3VideoModel` whose masks may be cleaned up without compiled kernels.

    Transformers downloads these kernels when they are first used. Without them, it skips the choice among several
    masks of one object, the filling of holes and the removal of sprinkles. This class does all of it at the same steps
    by the same rules.

    Several threads may use one model, each with sessions of its own.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        self._best: dict[int, float] = {}  # by thread, highest score of the running detection
        self._closed: set[int] = set()  # threads whose session ignores new objects at the moment
        self._cleaner = "kernels"
        self.detector_model.register_forward_hook(self._note_best)

    @property
    def new_det_thresh(self) -> float:
        """The lowest score of new objects; a closed session takes none."""
        return math.inf if get_ident() in self._closed else self._new_det_thresh

    @new_det_thresh.setter
    def new_det_thresh(self, threshold: float) -> None:
        self._new_det_thresh = threshold

    def clean_with(self, cleaner: str) -> None:
        """Choose the implementation of the cleanup, one of [`CLEANERS`]."""
        self._cleaner = cleaner
        by_kernels = cleaner == "kernels"
        self.det_nms_thresh = self.config.det_nms_thresh if by_kernels else 0.0
        self.fill_hole_area = self.config.fill_hole_area if by_kernels else 0

    @property
    def cleans(self) -> bool:
        """Whether its results are cleaned up."""
        return self._cleaner == "scipy" or (
            self._cleaner == "kernels" and bool(getattr(modeling_sam3_video, "cv_utils_kernel", None))
        )

    def _note_best(self, _module: Any, _inputs: Any, found: Any) -> None:
        scores = found.pred_logits.sigmoid() * found.presence_logits.sigmoid()
        thread = get_ident()
        self._best[thread] = max(self._best.get(thread, 0.0), float(scores.max()))

    def run_detection(self, inference_session: Any, vision_embeds: Tensor) -> dict[int, dict[str, Tensor]]:
        """See `Sam3VideoModel`: the detections, with only the surest of several masks of one object."""
        found = super().run_detection(inference_session=inference_session, vision_embeds=vision_embeds)
        inference_session.best = max(inference_session.best, self._best.pop(get_ident(), 0.0))
        if self._cleaner != "scipy" or self.config.det_nms_thresh <= 0:
            return found
        return {prompt: self._surest(each) for prompt, each in found.items()}

    def _surest(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        masks = (found["mask"] > 0).cpu().numpy()
        scores = found["scores"].float().cpu().numpy()
        kept = sorted(keep_surest(mask_overlaps(masks, masks), scores, self.config.det_nms_thresh))
        return {name: values[kept] for name, values in found.items()}

    def run_tracker_propagation(self, inference_session: Any, frame_idx: int, reverse: bool) -> tuple[Tensor, Tensor]:
        """See `Sam3VideoModel`: the masks of followed objects, cleaned up."""
        masks, scores = super().run_tracker_propagation(
            inference_session=inference_session, frame_idx=frame_idx, reverse=reverse
        )
        return self._cleaned(masks), scores

    def build_outputs(self, **given: Any) -> dict[int, Tensor]:
        """See `Sam3VideoModel`: the masks of a frame, with those of new objects cleaned up."""
        masks = super().build_outputs(**given)
        new = given["tracker_update_plan"]["new_det_obj_ids"]
        return {number: self._cleaned(mask) if number in new else mask for number, mask in masks.items()}

    def run_tracker_update_planning_phase(self, **given: Any) -> Any:
        """See `Sam3VideoModel`: the plan for detections, without new objects if the session is closed."""
        if given["inference_session"].closed:
            self._closed.add(get_ident())
        try:
            return super().run_tracker_update_planning_phase(**given)
        finally:
            self._closed.discard(get_ident())

    def _cleaned(self, logits: Tensor) -> Tensor:
        """Return masks (N, height, width) as logits, without small holes and sprinkles."""
        most = self.config.fill_hole_area
        if self._cleaner != "scipy" or most <= 0 or not len(logits):
            return logits
        before = (logits > 0).cpu().numpy()
        filled = np.stack([fill_holes(mask, most) for mask in before])
        after = np.stack([remove_sprinkles(mask, most) for mask in filled])
        # Filled and removed pixels get the same logits as in transformers.
        logits = torch.where(torch.from_numpy(filled & ~before).to(logits.device), 0.1, logits)
        return torch.where(torch.from_numpy(filled & ~after).to(logits.device), -0.1, logits)
