"""Objects in sessions of SAM 2 and its kin, each followed by itself, with as much memory as the model looks back at.

A session of transformers keeps what it made of every frame. Here it holds what the model can still reach: of the last
frames on the way, and, while an object is followed forward, of those next to the frame where that began, which are the
memory of the way back. Results are exactly those of a session that holds all of it.

Each object has a session of its own, so that it is followed in the same way whichever others are followed beside it.
In a shared one, transformers would begin with all objects in the first frame in which any of them is pointed at, and
encode what one of them was told at the cost of the others' memory. What the vision tower made of a frame is shared.
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
    """The frames of a video, as sessions see them: all are counted, and the one at work is there.

    Args:
        processor: what prepares frames.
        count: how many frames the video has. Sessions of short videos look back at fewer; those of a single frame
            would divide by zero if something were corrected in it, so that they are told of two.
        device, dtype: of the model.
    """

    def __init__(self, processor: Any, count: int, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        self._count = max(count, 2)
        self._device, self._dtype = device, dtype
        self._frames: dict[int, Tensor] = {}

    def show(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Put the frame there, in the place of the one before."""
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
    """Reads how good a model thinks its last mask is, which its sessions leave out of what they return.

    Several threads may use one model; each of them reads the scores of its own masks.
    """

    def __init__(self, model: Any) -> None:
        self._last: dict[int, Tensor] = {}  # by thread
        model.mask_decoder.register_forward_hook(self._read)

    def _read(self, module: Any, inputs: Any, output: Any) -> None:
        self._last[get_ident()] = output[1]

    def take(self) -> float:
        """The IoU that the model expects of the mask that it has chosen, the best one of several."""
        last = self._last.pop(get_ident(), None)
        return 1.0 if last is None else float(last.float().max().clamp(0, 1))


class Followed:
    """One object in a session of its own.

    Args:
        model, processor: of transformers.
        reader: of the model.
        frames: of the video; the frame that a method is told must be at work.
        size: height and width of the frames.
        beside: another object of the same video; what the vision tower made of the frame at work is shared with it.
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
        """Say where the object is in a frame, which it is recognized by in all of the others.

        Told before the object is followed, in order of time.
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
        """Follow the object into a frame in which more is said of it, seen in the light of the frames before."""
        # A frame that was followed already is corrected on what is remembered, instead of being begun with.
        self.session.frames_tracked_per_obj[0][frame] = {"reverse": reverse}
        found = self._run(frame, prompt, reverse)
        self._prune(frame, reverse)
        return found

    def follow(self, frame: int, reverse: bool = False) -> FrameMask:
        """Follow the object into a frame; one that it was recognized in is as it was then."""
        found = self._run(frame, None, reverse)
        self._prune(frame, reverse)
        return found._replace(score=self._told[frame]) if frame in self._told else found

    def _refined(self, frame: int, prompt: Prompt) -> Prompt:
        """A rough mask as the model corrects it by the points or the box that came with it.

        Sessions take either of them, so the mask is told first, in a session that serves for nothing else.
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
        # A mask that was given is taken as it is; the model does not judge it.
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
        # The model is run after each call of this: a second call before that would overwrite the first. The list of
        # objects is emptied by the model, so it is made by the processor out of a number.
        self._processor.add_inputs_to_inference_session(self.session, frame_idx=frame, obj_ids=_ONLY, **said)

    def _prune(self, frame: int, reverse: bool) -> None:
        """Drop what no later frame looks at."""
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
