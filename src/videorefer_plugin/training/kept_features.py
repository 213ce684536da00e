"""Training on what a frozen vision tower makes of frames, computed once.

A tower that is not trained says the same of a clip and of an object in every step. Kept, it costs nothing any more,
nor does decoding the clip. What can be seen in an object itself, how it looks and where it goes, can even be learnt
without the clip: then prompts are short, and in the same time, many times more objects are seen.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import logging

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.models.videorefer.region_inputs import RegionInputs, frames_with_masks
from videorefer_plugin.object_encoder import ObjectEncoderConfig, pool_masks
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.prompts import check_template, make_prompt
from videorefer_plugin.training.records import Record

__all__ = ["FeatureCollator", "compute_features", "remove_features"]

_IGNORED = -100
_AT_ONCE = 2048  # features written together; more than these are not lost


def compute_features(
    model: VideoReferForConditionalGeneration,
    processor: Any,
    dataset: VideoReferDataset,
    folder: str | os.PathLike,
    clips: bool = False,
) -> dict[str, Tensor]:
    """Compute what the vision tower makes of the objects of a data set, and of its clips and images; each once.

    What the folder holds already of the same files, seen by the same tower in the same way, is not computed again: of
    this run before it was interrupted, or of other runs that use the folder. Of several processes, each computes its
    share and writes it to the folder, where all find it.

    Args:
        model ([`VideoReferForConditionalGeneration`]): the model.
        processor ([`VideoReferProcessor`]): its processor.
        dataset ([`VideoReferDataset`]): records, with objects if `clips` is `False`.
        folder (`str` or `os.PathLike`): where to keep them.
        clips (`bool`, *optional*, defaults to `False`): whether clips and images are kept, too.

    Returns:
        `dict`: key of an object in its clip -> float tensor `(num_masks, vision_hidden_size)`; and key of a clip or
        image -> half-precision tensor `(num_frames, grid_height, grid_width, vision_hidden_size)`. On the CPU.

    Raises:
        ConfigurationError: a record has no objects, and clips are not kept either.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(model, processor, dataset)
    known = {key for name in names for key in _keys(folder, name)}
    wanted: set[str] = set()
    jobs: list[tuple[int, list[int], bool]] = []  # a record, which objects no earlier one has, and whether it's clip
    for index in range(len(dataset)):
        record = dataset.record(index)
        keys = _object_keys(record)
        if not keys and not clips:
            raise ConfigurationError(
                f"{record.place}: it has no objects, so that without its clip nothing is left to learn "
                "from. Leave it out, or set data.clip: true."
            )
        new = [place for place, key in enumerate(keys) if key not in known and key not in keys[:place]]
        shown = _visual_key(record) if clips else None
        new_clip = shown is not None and shown not in known
        if new or new_clip:
            jobs.append((index, new, new_clip))
        both = {*keys, *([shown] if shown else [])}
        known |= both
        wanted |= both
    state = PartialState()
    model.to(state.device)
    state.wait_for_everyone()  # until all have seen what is there already
    mine: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    share = jobs[state.process_index :: state.num_processes]
    for index, places, new_clip in logging.tqdm(share, desc="Features", disable=not state.is_main_process):
        for kept, new_ones in zip(mine, _encode(model, processor, dataset[index], places, new_clip), strict=True):
            kept |= new_ones
        if sum(map(len, mine)) >= _AT_ONCE:
            _write(folder, names, mine)
            mine = ({}, {})
    _write(folder, names, mine)
    state.wait_for_everyone()
    return {key: value for name in names for key, value in _load(folder, name, wanted).items()}


def remove_features(folder: str | os.PathLike) -> None:
    """Remove what [`compute_features`] left in a folder."""
    for path in Path(folder).glob("features-*"):
        path.unlink(missing_ok=True)


def _names(model: VideoReferForConditionalGeneration, processor: Any, dataset: VideoReferDataset) -> tuple[str, str]:
    """What files of features of clips and of objects begin with, which tells apart in which way they were seen."""
    digest = hashlib.blake2b(digest_size=8)
    tower = model.model.vision_tower
    for key, value in sorted(tower.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    aside = ("_name_or_path", "transformers_version", "architectures", "dtype")
    config = {key: value for key, value in tower.config.to_dict().items() if key not in aside}
    frames = [processor.num_frames, processor.image_aspect_ratio, processor.patch_size]
    ways = [config, model.config.vision_feature_layer, processor.image_processor.to_dict(), frames]
    digest.update(json.dumps(ways, sort_keys=True, default=str).encode())
    clips = digest.hexdigest()
    ways = [processor.mask_policy, processor.max_frames_per_region]
    ways += [dataset.mode, dataset.seed, dataset.max_frames_per_region]
    digest.update(json.dumps(ways).encode())
    return f"features-clips-{clips}", f"features-objects-{digest.hexdigest()}"


def _write(folder: Path, names: Sequence[str], features: Sequence[dict[str, Tensor]]) -> None:
    for name, some in zip(names, features, strict=True):
        if some:
            path = folder / f"{name}-{_key(' '.join(sorted(some)))}.safetensors"
            temporary = path.with_suffix(".part")
            save_file(some, temporary)
            temporary.replace(path)


def _keys(folder: Path, name: str) -> set[str]:
    found: set[str] = set()
    for path in folder.glob(f"{name}-*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= set(file.keys())
    return found


def _load(folder: Path, name: str, wanted: set[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {key: file.get_tensor(key) for key in file.keys() if key in wanted}  # noqa: SIM118
    return found


@torch.no_grad()
def _encode(
    model: VideoReferForConditionalGeneration,
    processor: Any,
    sample: dict[str, Any],
    places: list[int],
    new_clip: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The clip of a record, and some of its objects."""
    kind = sample["kind"]
    inputs = processor(
        text=[f"<{kind}>\n" + processor.region_token * len(places)],
        **{f"{kind}s": [sample["visual"]]},
        regions=[[sample["regions"][place] for place in places]],
        return_tensors="pt",
    )
    device, dtype = model.object_encoder.device, next(model.model.vision_tower.parameters()).dtype
    clips: dict[str, Tensor] = {}
    objects: dict[str, Tensor] = {}

    def encode(pixels: Tensor) -> Tensor:
        return model.model.get_frame_features(pixels.to(device, dtype))

    if new_clip:
        shown = inputs["pixel_values"] if kind == "image" else inputs["pixel_values_videos"][0]
        grids = encode(shown)
        clips[_visual_key(sample["record"]) or ""] = grids.half().cpu().contiguous()
    if places:
        regions = RegionInputs.collect(dict(inputs))
        assert regions is not None
        flat = regions.flatten()
        if new_clip:  # of which frames that carry masks may be part
            fresh = inputs["region_pixel_values"][0]
            features = torch.cat([grids, encode(fresh)]) if len(fresh) else grids
            rows = torch.where(flat.frames > 0, flat.frames - 1, len(grids) - 1 - flat.frames)
        else:
            pixels, rows = frames_with_masks(inputs)
            features = encode(pixels)
        pooled = pool_masks(features, flat.masks.to(device), rows.to(device)).float().cpu()
        keys = _object_keys(sample["record"])
        parts = pooled.split(flat.lengths.tolist())
        objects |= {keys[place]: part.clone() for place, part in zip(places, parts, strict=True)}
    return clips, objects


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _object_keys(record: Record) -> list[str]:
    """What tells the objects of a record from all others: their clips and masks."""
    shown = _visual_key(record)
    return [_key(f"{shown} {json.dumps(one, sort_keys=True)}") for one in record.annotation or []]


def _visual_key(record: Record) -> str | None:
    """What tells a file from all others, and from what lay in the same place before it."""
    if record.visual is None:
        return None
    state = os.stat(record.visual)
    return _key(f"{os.path.abspath(record.visual)} {state.st_size} {state.st_mtime_ns}")


class FeatureCollator:
    """Turn items of a [`VideoReferDataset`] into batches of features that were computed before. For a `DataLoader`.

    What is learnt is as with [`VideoReferCollator`]. Each `<region>` becomes as many positions as the object has
    tokens, each `<video>` or `<image>` as many as the connector makes of it; without clips, conversations lose theirs.
    Every record is read once; its items may be those of [`ReadOnce`].

    Args:
        processor ([`VideoReferProcessor`]): for its chat template and tokenizer.
        features (`Mapping[str, torch.Tensor]`): what [`compute_features`] returned.
        config ([`ObjectEncoderConfig`]): of the model's object encoder, which knows how many tokens an object has.
        clips (`bool`, *optional*, defaults to `False`): whether conversations show their clips and images.
        connector (`nn.Module`, *optional*):
            The model's connector if it is not trained either. Then what it makes of each clip is kept, too.

    Raises:
        ConfigurationError: the processor's chat template cannot be used.
    """

    def __init__(
        self,
        processor: Any,
        features: Mapping[str, Tensor],
        config: ObjectEncoderConfig,
        clips: bool = False,
        connector: nn.Module | None = None,
    ):
        check_template("chat", processor)
        self.processor = processor
        self.features = features
        self.config = config
        self.clips = clips
        self.connector = connector
        self._connected: dict[str, Tensor] = {}
        self._read: dict[int, tuple[list[str], tuple[str, str] | None, Tensor, Tensor]] = {}

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch.

        Args:
            samples (`list[dict]`): items of the data set.

        Returns:
            `dict` with `input_ids` and `labels` of shape `(batch, length)`, padded on the right, `region_pooled` of
            shape `(num_masks, vision_hidden_size)`, and `region_lengths` of shape `(num_regions,)`; with clips also
            `video_features` of shape `(num_videos, num_frames, grid_height, grid_width, vision_hidden_size)` and
            `image_features` of the same shape with one frame, where there are some; with a connector instead of these
            `video_tokens` of shape `(num_videos, num_tokens, hidden_size)` and `image_tokens`.
        """
        for sample in samples:
            if sample["index"] not in self._read:
                self._read[sample["index"]] = self._prepare(sample)
        rows = [self._read[sample["index"]] for sample in samples]
        pad = nn.utils.rnn.pad_sequence
        batch = {
            # Padding comes last, where nothing that is learnt attends to it: a mask would only slow attention down.
            "input_ids": pad([ids for _, _, ids, _ in rows], True, self.processor.tokenizer.pad_token_id),
            "labels": pad([labels for _, _, _, labels in rows], True, _IGNORED),
        }
        pooled = [self.features[key] for keys, _, _, _ in rows for key in keys]
        if pooled:
            batch["region_pooled"] = torch.cat(pooled)
            batch["region_lengths"] = torch.tensor([len(one) for one in pooled])
        for kind in ("image", "video"):
            shown = [visual[1] for _, visual, _, _ in rows if visual and visual[0] == kind]
            if shown and self.connector is not None:
                batch[f"{kind}_tokens"] = torch.stack([self._connect(self.connector, kind, key) for key in shown])
            elif shown:
                batch[f"{kind}_features"] = torch.stack([self.features[key] for key in shown]).float()
        return batch

    @torch.no_grad()
    def _connect(self, connector: nn.Module, kind: str, key: str) -> Tensor:
        """What the connector makes of a clip or image, `(num_tokens, hidden_size)`."""
        if key not in self._connected:
            features = self.features[key]
            frames = self.processor.num_frames if kind == "image" else len(features)
            one = next(connector.parameters())
            clip = features.expand(frames, -1, -1, -1)[None].to(one.device, one.dtype)
            self._connected[key] = connector(clip)[0].cpu()
        return self._connected[key]

    def _prepare(self, sample: dict[str, Any]) -> tuple[list[str], tuple[str, str] | None, Tensor, Tensor]:
        """Keys of the objects, kind and key of the visual, ids, and labels of one record."""
        kind = sample["kind"]
        messages = sample["messages"]
        visual = None
        if self.clips and (key := _visual_key(sample["record"])) is not None:
            visual = kind, key
        elif kind in ("image", "video"):
            head = f"<{kind}>\n"
            messages = [{**one, "content": one["content"].removeprefix(head)} for one in messages]
        prompt = make_prompt("chat", self.processor, {**sample, "messages": messages})
        keys = _object_keys(sample["record"])
        counts = [self.config.num_tokens(len(self.features[key])) for key in keys]
        places = iter([self.config.placeholder(self.processor.region_token, count) for count in counts])
        ids: list[int] = []
        labels: list[int] = []
        # Question and answer by turns; they meet at special tokens, so that they can be tokenised one by one.
        bounds = [0, *(place for span in prompt.learnt for place in span), len(prompt.text)]
        for number, (start, stop) in enumerate(pairwise(bounds)):
            text = prompt.text[start:stop]
            text = re.sub(re.escape(self.processor.region_token), lambda _: next(places), text)
            new = self._tokenize(text, visual)
            ids += new
            labels += new if number % 2 else [_IGNORED] * len(new)
        learnt = torch.tensor(labels)
        learnt[learnt == self.processor.region_token_id] = _IGNORED
        return keys, visual, torch.tensor(ids), learnt

    def _tokenize(self, text: str, visual: tuple[str, str] | None) -> list[int]:
        parts = [text] if visual is None else text.split(f"<{visual[0]}>")
        ids: list[int] = []
        for number, part in enumerate(parts):
            if number and visual is not None:
                ids += self._placeholders(*visual)
            ids += self.processor.tokenizer(part, add_special_tokens=False).input_ids if part else []
        return ids

    def _placeholders(self, kind: str, key: str) -> list[int]:
        shown, rows, columns = self.features[key].shape[:3]
        frames = self.processor.num_frames if kind == "image" else shown
        count = count_visual_tokens(frames, (rows, columns), self.processor.projector_type)
        return [getattr(self.processor, f"{kind}_token_id")] * count
