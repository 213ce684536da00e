"""The visual of a session with a model of this library whose object encoder reads crops of objects."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.videollama2.preparing import PlannedBatch
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.regions import Region
from videorefer_plugin.session.prompts import Computed, Prepared, Shown
from videorefer_plugin.video import Video

__all__ = ["CropVisuals"]


class CropVisuals:
    """See [`Visuals`]. All prompts show the same frames, which are encoded once; crops are encoded for each prompt.

    Args:
        model: a VideoRefer-VideoLLaMA3 model.
        processor: its processor.
        kind (`str`): `"video"` or `"image"`.
        video ([`Video`]): the visual.
        settings (`dict`): settings of the processor's call.
        computed ([`Computed`]): counts frames and positions.
    """

    at_once = 16  # their crops are in memory together

    def __init__(
        self, model: Any, processor: Any, kind: str, video: Video, settings: dict[str, Any], computed: Computed
    ):
        self._model = model
        self._processor = processor
        self._kind = kind
        self._video = video
        self._settings = settings
        self._computed = computed
        self._shown: tuple[Shown, str] | None = None

    def prepare(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> list[Prepared]:
        """See [`Visuals.prepare`].

        Raises:
            PromptError: placeholders and regions do not match. The message names the prompt.
            RegionError: a region does not fit the video, or has no pixel in any frame. The message names the prompt.
            VideoError: a frame cannot be read.
        """
        plan = self._plan(texts, regions)
        shown, written = self._show(plan)
        token = self._processor.video_token if self._kind == "video" else self._processor.image_token
        for sample in plan.samples:
            sample.replacements[token] = [written]
        ids = self._processor.tokenize_plan(plan, padding=False, return_tensors=None)["input_ids"]
        rows = [torch.tensor(own, dtype=torch.long) for own in ids]
        tokens = self._object_tokens(plan, rows)
        return [Prepared(own, shown, objects) for own, objects in zip(rows, tokens, strict=True)]

    def check(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> None:
        """See [`Visuals.check`]."""
        self._plan(texts, regions)

    def pooled(self, text: str, region: Region) -> tuple[Sequence[int], Tensor]:
        """See [`Visuals.pooled`].

        Raises:
            ConfigurationError: always, since this object encoder merges nothing over time.
        """
        raise not_pooled(self._model)

    def memory(self) -> int:
        """See [`Visuals.memory`]."""
        return 0 if self._shown is None else self._shown[0].memory()

    def forget(self) -> bool:
        """See [`Visuals.forget`]."""
        known, self._shown = self._shown, None
        return known is not None

    def _plan(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> PlannedBatch:
        settings = dict(self._settings)
        if (metadata := settings.get("video_metadata")) is not None:
            one = metadata if isinstance(metadata, (list, tuple)) else [metadata]
            settings["video_metadata"] = [*one] * len(texts)
        if any(regions):
            settings["regions"] = [list(own) for own in regions]
        return self._processor.plan(text=list(texts), **{f"{self._kind}s": [[self._video] for _ in texts]}, **settings)

    @torch.no_grad()
    def _show(self, plan: PlannedBatch) -> tuple[Shown, str]:
        """Return the encoded visual, and the text that replaces its placeholder."""
        clip = plan.clips[0]
        key = (self._kind, tuple(clip.sampled), plan.settings["compress_tokens"], self._processor.max_visual_tokens)
        if self._shown is not None and self._shown[0].key == key:
            return self._shown
        one = PlannedBatch(plan.samples[:1], [clip], [], plan.settings, plan.text_settings, plan.preprocess)
        data = self._processor.pack_visuals(one)
        self._computed.frames_read += len(clip.sampled)
        self._computed.frames_encoded += len(clip.sampled)
        device = device_of(self._model)
        encoded = self._model.encode_visuals({name: value.to(device) for name, value in data.items()}, None)
        inputs = {name: value for name, value in data.items() if not name.startswith("pixel_")}
        token = self._processor.video_token if self._kind == "video" else self._processor.image_token
        self._shown = Shown(key, encoded, inputs), one.samples[0].replacements[token][0]
        return self._shown

    @torch.no_grad()
    def _object_tokens(self, plan: PlannedBatch, ids: Sequence[Tensor]) -> list[Tensor]:
        device = device_of(self._model)
        width = self._model.config.text_config.hidden_size
        tokens = [torch.zeros((0, width), device=device)] * len(ids)
        with_regions = [number for number, own in enumerate(plan.regions) if own]
        if not with_regions:
            return tokens
        data = self._processor._region_tensors(plan.clips, [plan.regions[number] for number in with_regions], None)
        regions = CropInputs.collect({name: value.to(device) for name, value in data.items()})
        assert regions is not None
        self._computed.frames_read += len({frame for own in plan.regions for one in own for frame in one.frames})
        self._computed.frames_encoded += int(regions.lengths.sum())
        region_id = self._model.region_token_id
        places = torch.cat([own[own == region_id] for own in ids])[None].to(device)
        output = self._model.encode_crops(places, regions).tokens
        counts = [int((own == region_id).sum()) for own in ids]
        return [part.clone() for part in output.split(counts)]


def not_pooled(model: Any) -> ConfigurationError:
    """Return the error for a call that needs an object encoder that merges over time."""
    return ConfigurationError(
        f"The object encoder of this {type(model).__name__} looks at crops and merges nothing over time, so there are "
        "no similarities of neighboring frames. Use a model with a pooled object encoder."
    )
