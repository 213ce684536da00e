"""The visual of a session with a host that has an attached object encoder."""

import copy
import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.hosts.placing import Plan
from videorefer_plugin.hosts.processing import RegionProcessor
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.models.batches import is_by_position
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.models.videorefer.region_inputs import FlatRegions
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.regions import Region
from videorefer_plugin.session.crops import not_pooled
from videorefer_plugin.session.host_choices import Choice, Choices
from videorefer_plugin.session.prompts import Computed, Prepared
from videorefer_plugin.video import Video

__all__ = ["HostVisuals"]

_FRAME_BYTES = 1 << 28  # of decoded frames that are held; 43 of 1920 x 1080

_Filled = tuple[Choice, dict[str, Any], Any]


class HostVisuals:
    """See [`Visuals`]. The host's own processor runs for each prompt, except for its work on pixels.

    Prompts whose regions lie on other frames show other frames. The host's processor preprocesses the pixels of each
    such choice of frames once. The vision tower computes each row of features (of one frame, or of a few fused frames)
    once for all choices, unless the store has it.

    Args:
        model (`PreTrainedModel`): the host.
        processor ([`RegionProcessor`]): the host's processor.
        kind (`str`): `"video"` or `"image"`.
        video (`Video`): the visual; an image is a video of one frame.
        store ([`FeatureStore`]): the store of the features of rows.
        revision (`str`): revision of the vision tower in the store. With an empty one, visuals are kept as a whole.
        settings (`dict`): settings of [`RegionProcessor.__call__`].
        computed ([`Computed`]): counts frames and positions.
    """

    at_once = 16  # each may be shown other frames

    def __init__(
        self,
        model: Any,
        processor: RegionProcessor,
        kind: str,
        video: Video,
        store: FeatureStore,
        revision: str,
        settings: dict[str, Any],
        computed: Computed,
    ):
        self._model = model
        self._processor = processor
        self._kind = kind
        self._video = video
        self._store = store
        self._revision = revision
        self._settings = settings
        self._computed = computed
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        self._choices: OrderedDict[Hashable, Choice] = OrderedDict()

    def memory(self) -> int:
        """See [`Visuals.memory`]."""
        frames = sum(frame.nbytes for frame in list(self._frames.values()))
        return frames + sum(choice.memory() for choice in list(self._choices.values()))

    def forget(self) -> bool:
        """See [`Visuals.forget`]. Decoded frames are dropped first."""
        for held in (self._frames, self._choices):
            if held:
                held.popitem(last=False)
                return True
        return False

    def check(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> None:
        """See [`Visuals.check`]."""
        for number, (text, own) in enumerate(zip(texts, regions, strict=True)):
            with _numbered(number, len(texts)):
                self._plan(text, own)

    def prepare(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> list[Prepared]:
        """See [`Visuals.prepare`].

        Raises:
            PromptError: placeholders and regions do not match, or the text was truncated.
            RegionError: a region does not fit the video, or lies on frames that are not shown.
            VideoError: a frame cannot be decoded.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        plans = []
        for number, (text, own) in enumerate(zip(texts, regions, strict=True)):
            with _numbered(number, len(texts)):
                plans.append(self._plan(text, own))
        filled = self._encoded(plans)
        try:
            objects = self._object_tokens(filled)
        finally:
            self._keep(filled)
        return [_prepared(choice, data, tokens) for (choice, data, _), tokens in zip(filled, objects, strict=True)]

    def pooled(self, text: str, region: Region) -> tuple[Sequence[int], Tensor]:
        """See [`Visuals.pooled`]."""
        if self._processor.shows_crops:
            raise not_pooled(self._model)
        plan = self._plan(text, [region])
        filled = self._encoded([plan])
        ((choice, _, regions),) = filled
        assert regions is not None
        flat = regions.flatten()
        features, rows = choice.features_below(self._model, flat)
        pooled = pool_masks(features, flat.masks.to(features.device), rows.to(features.device))
        self._keep(filled)
        return plan.used[0][0].masks.frames, pooled

    def _encoded(self, plans: Sequence[Plan]) -> list[_Filled]:
        """Return the plans of prompts with the encoded choices of frames that they show."""
        new = Choices(self._model, self._processor.host, self._processor.processor, self._store, self._revision)
        filled = []
        for number, plan in enumerate(plans):
            with _numbered(number, len(plans)):
                filled.append(self._fill_in(plan, new))
        new.encode()
        self._computed.frames_encoded += new.computed
        return filled

    def _keep(self, filled: Sequence[_Filled]) -> None:
        for choice, _, _ in filled:
            choice.features = []  # which would stay in memory after the store has dropped them
            self._choices[choice.key] = choice
            self._choices.move_to_end(choice.key)

    def _plan(self, text: str, regions: Sequence[Region]) -> Plan:
        shown = {f"{self._kind}s": [self._video]}
        return self._processor.plan(text=[text], regions=[list(regions)], **shown, **self._settings)

    def _fill_in(self, plan: Plan, new: Choices) -> _Filled:
        """Run the processor for a prompt, and return its output and the choice of frames that the prompt shows."""
        (clip,) = plan.clips
        key = (self._kind, tuple(clip.sampled), new.way)
        choice = new.added.get(key) or self._choices.get(key)
        if choice is None or (any(plan.used) and choice.key not in new.added and not new.find_features(choice)):
            choice = Choice(key)
            with named(f"Sample {clip.sample}"):
                frames = self._read(clip)
            data, regions = self._process(plan, frames, choice.replies, known=False)
            choice.replies = [_without_pixels(reply) for reply in choice.replies]
            new.add(choice, data)
        else:
            stand_ins = np.zeros((len(clip.sampled), 2, 2, 3), dtype=np.uint8)
            data, regions = self._process(plan, stand_ins, choice.replies, known=True)
        return choice, {name: value for name, value in data.items() if not name.startswith("pixel_")}, regions

    def _process(self, plan: Plan, frames: np.ndarray, replies: list[Any], known: bool) -> tuple[dict[str, Any], Any]:
        """Run the host's processor. The pixels are not read if the outputs of its parts are `known`."""
        host = self._processor.host
        told = iter(list(replies)) if known else None
        own = host.with_parts(self._processor.processor, lambda part: _Part(part, replies, told))
        data = dict(self._processor.finish(plan, plan.call(host, own, [frames])))
        regions = self._model.collect_regions(data)
        self._model.check_regions(data["input_ids"], regions)
        return data, regions

    def _read(self, clip: Clip) -> np.ndarray:
        """Return the frames that a clip shows; frames that were read lately are not decoded again."""
        rows = clip.rows_of(clip.sampled)
        missing = sorted(set(rows) - self._frames.keys())
        self._computed.frames_read += len(missing)
        if len(missing) == len(set(rows)):
            frames = clip.video.read(rows)
        else:
            new = dict(zip(missing, clip.video.read(missing), strict=True)) if missing else {}
            frames = np.stack([new[row] if row in new else self._frames[row] for row in rows])
        for row, frame in zip(rows, frames, strict=True):
            if row not in self._frames:
                self._frames[row] = frame.copy()  # a view would keep all frames in memory
            self._frames.move_to_end(row)
            while len(self._frames) * frame.nbytes > _FRAME_BYTES:
                self._frames.popitem(last=False)
        return frames

    def _object_tokens(self, filled: Sequence[_Filled]) -> list[Tensor]:
        """Return the object tokens of each prompt. Regions on grids of one size are encoded in one batch."""
        encoder = self._model.object_encoder
        empty = torch.zeros((0, encoder.config.hidden_size), dtype=encoder.dtype, device=device_of(encoder))
        tokens = [empty for _ in filled]
        if self._processor.shows_crops:
            return [
                empty if own is None else self._model.encode_crops(data["input_ids"], own).tokens.clone()
                for _, data, own in filled
            ]
        sizes = [None if regions is None else tuple(regions.masks.shape[2:]) for _, _, regions in filled]
        for size in dict.fromkeys(size for size in sizes if size is not None):
            places = [place for place, own in enumerate(sizes) if own == size]
            for place, own in zip(places, self._encode_objects([filled[place] for place in places]), strict=True):
                tokens[place] = own
        return tokens

    def _encode_objects(self, filled: Sequence[_Filled]) -> list[Tensor]:
        features: list[Tensor] = []
        parts: list[FlatRegions] = []
        for choice, _, regions in filled:
            assert regions is not None
            flat = regions.flatten()
            below, rows = choice.features_below(self._model, flat)
            parts.append(flat._replace(frames=rows + sum(map(len, features))))
            features.append(below)
        flat = FlatRegions(*(torch.cat(values) for values in zip(*parts, strict=True)))
        region = self._model.region_token_id
        # The object encoder reads only the number of <region>s of a prompt.
        ids = [data["input_ids"][data["input_ids"] == region] for _, data, _ in filled]
        padded = pad_sequence(ids, batch_first=True, padding_value=region + 1).to(flat.frames.device)
        tokens, counts = self._model.encode_regions(padded, torch.cat(features), flat)
        return [own[:count].clone() for own, count in zip(tokens, counts.tolist(), strict=True)]


def _prepared(choice: Choice, data: dict[str, Any], tokens: Tensor) -> Prepared:
    ids, mask = data["input_ids"], data.get("attention_mask")
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    by_position = {
        name: value[real]
        for name, value in data.items()
        if isinstance(value, Tensor) and is_by_position(name, [value], [ids]) and name != "attention_mask"
    }
    return Prepared(by_position.pop("input_ids"), choice.shown, tokens, by_position)


class _Part:
    """Wraps a part of a host's processor, and records its outputs for pixels, or returns recorded ones.

    Args:
        part (`Callable`): the part, such as a video processor.
        replies (`list`): outputs of all parts for the visual, in order; filled if `told` is not given.
        told (`Iterator`, *optional*): recorded outputs to return.
    """

    def __init__(self, part: Any, replies: list[Any], told: Iterator[Any] | None):
        self._part = part
        self._replies = replies
        self._told = told

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._told is None:
            self._replies.append(self._part(*args, **kwargs))
            return copy.copy(self._replies[-1])
        reply = next(self._told)
        # Large frames arrive as tensors in several pieces, their stand-ins as one.
        return torch.cat([reply, *self._told]) if isinstance(reply, Tensor) else copy.copy(reply)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


def _without_pixels(reply: Any) -> Any:
    """Return the output of a part of a processor, with the shape of pixels instead of the pixels."""
    if isinstance(reply, Tensor):
        return reply.new_zeros(()).expand(reply.shape)
    bare = copy.copy(reply)
    for name, value in reply.items():
        if name.startswith("pixel_"):
            several = isinstance(value, (list, tuple))
            parts = [_without_pixels(torch.as_tensor(part)) for part in (value if several else [value])]
            bare[name] = parts if several else parts[0]
    return bare


@contextmanager
def _numbered(number: int, count: int) -> Iterator[None]:
    """Put the index of a prompt among several into errors about the only prompt of a call."""
    try:
        yield
    except VideoReferError as error:
        if count == 1:
            raise
        raise type(error)(re.sub(r"\bSample 0\b", f"Sample {number}", str(error))) from error
