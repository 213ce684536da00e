"""Sessions of models of the SAM 2 family, one for each object, that hold as little memory as the model reads.

A session of transformers keeps the outputs of every frame. Here it keeps the outputs that the model can still read:
those of the last frames and, on the way forward, those next to the first frame, which are the memory of the way back.
Results are exactly those of a session that keeps everything.

Each object has a session of its own, so that its result does not depend on the other objects. In a shared session,
transformers would start all objects in the first frame with any prompt, and prompts of one object would change the
memory of the others. The outputs of the vision tower are shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import get_ident
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videorefer_plugin.segment.events import FrameMask
from videorefer_plugin.segment.prompts import Prompt

__all__ = ["Followed", "FrameAtWork", "ScoreReader"]

_ONLY = 0  # the number of the one object of a session


class FrameAtWork(Mapping[int, Tensor]):
    """The frames of a video for a session: `len` counts all frames, but only the current one is present.

    Args:
        processor: the processor that prepares frames.
        count: number of frames of the video. Sessions of short videos read fewer earlier frames. For a single frame,
            the session counts two, since a correction would divide by zero.
        device, dtype: device and dtype of the model.
    """

    def __init__(self, processor: Any, count: int, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        self._count = max(count, 2)
        self._device, self._dtype = device, dtype
        self._frames: dict[int, Tensor] = {}

    def show(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Make this frame the current one."""
        if index not in self._frames:
            frame = torch.tensor(pixels).permute(2, 0, 1)
            made = self._processor.video_processor(
                videos=[frame[None]], device=self._device, input_data_format="channels_first"
            )
            self._frames = {index: torch.as_tensor(made["pixel_values_videos"][0][0]).to(self._device, self._dtype)}

    def __getitem__(self, index: int) -> Tensor:
        return self._frames[index]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))

    def __len__(self) -> int:
        return self._count


class ScoreReader:
    """Reads the model's own score of its last mask, which sessions do not return.

    Several threads may use one model; each of them reads the scores of its own masks.
    """

    def __init__(self, model: Any) -> None:
        self._last: dict[int, Tensor] = {}  # by thread
        model.mask_decoder.register_forward_hook(self._read)

    def _read(self, module: Any, inputs: Any, output: Any) -> None:
        self._last[get_ident()] = output[1]

    def take(self) -> float:
        """Return the predicted IoU of the mask that the model has chosen, the best one of several."""
        last = self._last.pop(get_ident(), None)
        return 1.0 if last is None else float(last.float().max().clamp(0, 1))


class Followed:
    """One object in a session of its own.

    Args:
        model, processor: the model and processor of transformers.
        reader: the score reader of the model.
        frames: the frames of the video; the frame of a method call must be the current one.
        size: height and width of the frames.
        beside: another object of the same video, which shares the outputs of the vision tower for the current frame.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        reader: ScoreReader,
        frames: FrameAtWork,
        size: tuple[int, int],
        beside: Followed | None = None,
    ) -> None:
        self._parts = (model, processor, reader, frames, size)
        self._model, self._processor, self._reader, self._size = model, processor, reader, size
        self.session = processor.init_video_session(inference_device=model.device, dtype=model.dtype)
        self.session.processed_frames = frames
        self.session.video_height, self.session.video_width = size
        if beside is not None:
            self.session.cache = beside.session.cache
        self._told: dict[int, float] = {}
        self._start: int | None = None

    def condition(self, frame: int, prompt: Prompt) -> FrameMask:
        """Set the object's prompt in a frame by which it is recognized in all other frames.

        Call this in order of time, before the object is followed.
        """
        if self._start is None:
            self._start = frame
        if prompt.mask is not None and (len(prompt.points) or prompt.box is not None):
            prompt = self._refined(frame, prompt)
        found = self._run(frame, prompt)
        self._told[frame] = found.score
        self._prune(frame, reverse=False)
        return found

    def correct(self, frame: int, prompt: Prompt, reverse: bool = False) -> FrameMask:
        """Follow the object into a frame with a further prompt, which is combined with the memory of frames before."""
        # A frame that has a result is corrected with the memory, instead of becoming a conditioning frame.
        self.session.frames_tracked_per_obj[0][frame] = {"reverse": reverse}
        found = self._run(frame, prompt, reverse)
        self._prune(frame, reverse)
        return found

    def follow(self, frame: int, reverse: bool = False) -> FrameMask:
        """Follow the object into a frame; frames with a conditioning prompt keep their result."""
        found = self._run(frame, None, reverse)
        self._prune(frame, reverse)
        return found._replace(score=self._told[frame]) if frame in self._told else found

    def _refined(self, frame: int, prompt: Prompt) -> Prompt:
        """Return a rough mask after the model has corrected it by the points or box of the same prompt.

        Sessions take either a mask or points, so the mask is given first, in a session for this purpose only.
        """
        rough = Followed(*self._parts, beside=self)
        rough.condition(frame, Prompt(mask=prompt.mask))
        mask = rough.correct(frame, Prompt(points=prompt.points, labels=prompt.labels, box=prompt.box)).mask
        return Prompt(mask=mask) if mask.any() else Prompt(absent=True)

    def _run(self, frame: int, prompt: Prompt | None, reverse: bool = False) -> FrameMask:
        given = None
        if prompt is not None:
            given = prompt.mask if prompt.tells_where or not prompt.absent else np.zeros(self._size, bool)
            self._tell(frame, prompt, given)
        seen = self._model(self.session, frame_idx=frame, reverse=reverse)
        self.session.remove_point_inputs(0, frame)
        self.session.remove_mask_inputs(0, frame)
        logit, good = seen.object_score_logits.float(), self._reader.take()
        drawn = self._processor.post_process_masks([seen.pred_masks], original_sizes=[[*self._size]])[0]
        mask = drawn[0, 0].cpu().numpy() & bool(logit > 0)
        there = float(logit.sigmoid())
        # A given mask is taken as it is; the model does not score it.
        return FrameMask(mask, there * good if given is None and mask.any() else there)

    def _tell(self, frame: int, prompt: Prompt, mask: NDArray[np.bool_] | None) -> None:
        said: dict[str, Any] = {}
        if mask is not None:
            said["input_masks"] = [mask]
        else:
            if len(prompt.points):
                said |= {"input_points": [[prompt.points.tolist()]], "input_labels": [[list(prompt.labels)]]}
            if prompt.box is not None:
                said["input_boxes"] = [[list(prompt.box)]]
            said["original_size"] = self._size
        # The model must run after each call of this, since a second call would overwrite the first. The model empties
        # the list of objects, so the processor makes it out of a number.
        self._processor.add_inputs_to_inference_session(self.session, frame_idx=frame, obj_ids=_ONLY, **said)

    def _prune(self, frame: int, reverse: bool) -> None:
        """Drop the outputs that no later frame reads."""
        spatial, pointers = self._model.config.num_maskmem, self._model.config.max_object_pointers_in_encoder
        outputs = self.session.output_dict_per_obj[0]
        for each in (*outputs["cond_frame_outputs"].values(), *outputs["non_cond_frame_outputs"].values()):
            each.pop("high_res_masks", None)
        anchors = [frame] if reverse or self._start is None else [frame, self._start]
        remembered = outputs["non_cond_frame_outputs"]
        for index in list(remembered):
            away = min(abs(index - anchor) for anchor in anchors)
            remembered[index].pop("pred_masks", None)
            if away >= max(spatial, pointers):
                del remembered[index]
            elif away >= spatial:
                for name in ("maskmem_features", "maskmem_pos_enc"):
                    remembered[index].pop(name, None)
        self.session.frames_tracked_per_obj[0].clear()
