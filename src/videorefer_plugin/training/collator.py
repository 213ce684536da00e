"""Makes batches from records: decodes media, tokenizes prompts, and sets labels for the supervised tokens."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from videorefer_plugin._kinds import PROCESSOR, check_kind
from videorefer_plugin.errors import ConfigurationError, RecordError, VideoReferError
from videorefer_plugin.inputs.matching import check_at_least_one, check_mask_policy, check_region_limit
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer_videollama3.packing import pack_batch
from videorefer_plugin.training.dataset import BAD_SAMPLE_POLICIES
from videorefer_plugin.training.prompts import TEMPLATES, Prompt, check_template, make_prompt
from videorefer_plugin.video.containers import share_cores

__all__ = ["TEMPLATES", "VideoReferCollator"]

logger = logging.getLogger(__name__)

IGNORED = -100
_MAX_WORKERS = 255  # with counts of their own
_TRUNCATED_TURNS, _DROPPED_RECORDS = range(2)


class _UnusableError(Exception):
    """Reasons why records of a batch are not usable, by index in the batch."""

    def __init__(self, reasons: dict[int, str]):
        super().__init__(reasons)
        self.reasons = reasons


class VideoReferCollator:
    """Converts items of a [`VideoReferDataset`] to the inputs of a model, with labels. For a `DataLoader`.

    With the chat template, every answer is supervised, with the `<|im_end|>` and the newline after it. The system
    message, questions, headers, and the positions of visual and object tokens are not. With `"plain"` (the first
    stage), question and answer are joined by a space, and all positions except those of visual and object tokens are
    supervised. Both follow the original code.

    Args:
        processor (`VideoReferProcessor` or `RegionProcessor`):
            The processor, which decodes, tokenizes and pads. Padding is on the right.
        template (`str`, *optional*, defaults to `"chat"`): `"chat"` or `"plain"`.
        max_length (`int`, *optional*):
            Largest number of tokens of a record, visual and object tokens included. Longer records lose whole turns at
            their end, with their regions, which `truncated_turns` counts.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`; by default that of the processor.
        num_frames (`int`, *optional*): number of frames sampled from a video; by default that of the processor.
        max_frames_per_region (`int`, *optional*): largest number of frames of a region; by default that of the
            processor.
        on_bad_sample (`str`, *optional*, defaults to `"error"`):
            What to do with a record whose media or masks are not usable. `"error"` raises; `"skip"` leaves it out of
            its batch, logs it and counts it in `dropped_records`.
        packing (`bool`, *optional*, defaults to `False`):
            Whether records are concatenated in one row instead of padded, each with its own positions; see
            `pack_batch`. Only for models that look at crops of objects.

    Raises:
        ConfigurationError: a setting has an unknown value, or the processor's chat template cannot be used.
    """

    def __init__(
        self,
        processor: Any,
        template: str = "chat",
        max_length: int | None = None,
        mask_policy: str | None = None,
        num_frames: int | None = None,
        max_frames_per_region: int | None = None,
        on_bad_sample: str = "error",
        packing: bool = False,
    ):
        check_kind(ConfigurationError, PROCESSOR, processor=processor)
        check_template(template, processor)
        if on_bad_sample not in BAD_SAMPLE_POLICIES:
            known = ", ".join(map(repr, BAD_SAMPLE_POLICIES))
            raise ConfigurationError(f"on_bad_sample is {on_bad_sample!r}; expected one of {known}.")
        for name, value in (("max_length", max_length), ("num_frames", num_frames)):
            if value is not None:
                check_at_least_one(value, name)
        check_region_limit(max_frames_per_region)
        if mask_policy is not None:
            check_mask_policy(mask_policy)
        self.processor = processor
        self.template = template
        self.max_length = max_length
        self.on_bad_sample = on_bad_sample
        if packing and getattr(getattr(processor, "object_encoder_config", None), "kind", None) != "crop":
            raise ConfigurationError(
                f"packing is for models that look at crops of objects, but a {type(processor).__name__} prepares "
                "another kind. Leave packing out."
            )
        self.packing = packing
        settings = {
            "mask_policy": mask_policy,
            "num_frames": num_frames,
            "max_frames_per_region": max_frames_per_region,
        }
        self._settings = {name: value for name, value in settings.items() if value is not None}
        # One shared row for this process and each worker, so that this process sees the counts of workers.
        self._counts = torch.zeros((1 + _MAX_WORKERS, 2), dtype=torch.int64).share_memory_()

    @property
    def truncated_turns(self) -> int:
        """Number of turns that this process and its workers left out for length so far."""
        return int(self._counts[:, _TRUNCATED_TURNS].sum())

    @property
    def dropped_records(self) -> int:
        """Number of records that this process and its workers left out of their batches so far."""
        return int(self._counts[:, _DROPPED_RECORDS].sum())

    def _count(self, what: int, number: int) -> None:
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id % _MAX_WORKERS, what] += number

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch.

        Args:
            samples (`list[dict]`): items of a [`VideoReferDataset`].

        Returns:
            `dict` with the outputs of [`VideoReferProcessor.__call__`], and `labels` of shape `(batch, length)`, which
            are -100 for positions without supervision.

        Raises:
            RecordError: a record is not usable (the message names file, line and reason), or no record of the batch
                is.
            ConfigurationError: a setting of the processor has an unknown value.
        """
        if (worker := get_worker_info()) is not None:
            share_cores(worker.num_workers * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        kept = list(samples)
        dropped: list[str] = []
        while kept:
            try:
                batch, truncated = self._batch(kept)
            except _UnusableError as error:
                reasons = [f"{kept[index]['record'].place}: {reason}" for index, reason in error.reasons.items()]
                if self.on_bad_sample == "error":
                    raise RecordError(reasons[0]) from error.__cause__
                dropped += reasons
                kept = [sample for index, sample in enumerate(kept) if index not in error.reasons]
            else:
                self._count(_TRUNCATED_TURNS, truncated)
                self._note(dropped)
                return batch
        self._note(dropped)
        raise RecordError(
            f"None of the {len(samples)} record(s) of a batch can be used, the first: {dropped[0]}"
            if dropped
            else "A batch needs at least one record, but got none."
        )

    def _note(self, dropped: list[str]) -> None:
        self._count(_DROPPED_RECORDS, len(dropped))
        for reason in dropped:
            logger.warning("A record was left out of its batch: %s", reason)

    # ------------------------------------------------------------------ one batch

    def _batch(self, samples: list[dict[str, Any]]) -> tuple[dict[str, Tensor], int]:
        prompts = self._prompts(samples)
        inputs = self._process(samples, prompts)
        starts, ends = inputs.pop("offset_mapping").unbind(dim=-1)
        places = [_Places(offsets) for offsets in inputs.pop("text_replacement_offsets")]
        # Special tokens that a tokenizer adds are not part of the text; some tokenizers give white space no extent.
        real = inputs["attention_mask"].bool() & ((ends > starts) | (starts > 0))
        kept = self._fitting(prompts, places, starts, inputs["attention_mask"].bool())
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, (prompt, place) in enumerate(zip(prompts, places, strict=True)):
            for first, last in prompt.learned:
                here = real[row] & (starts[row] >= place(first)) & (starts[row] < place(last))
                labels[row, here] = inputs["input_ids"][row, here]
        inputs["labels"] = labels.masked_fill(self._is_placeholder(labels), IGNORED)
        truncated = sum(len(prompt.ends) - turns for prompt, turns in zip(prompts, kept, strict=True))
        if truncated:
            inputs = self._truncate(inputs, prompts, places, starts, kept)
        return (pack_batch(inputs) if self.packing else inputs), truncated

    def _prompts(self, samples: list[dict[str, Any]]) -> list[Prompt]:
        prompts, unusable = [], {}
        for index, sample in enumerate(samples):
            try:
                prompts.append(make_prompt(self.template, self.processor, sample))
            except RecordError as reason:
                unusable[index] = str(reason)
        if unusable:
            raise _UnusableError(unusable)
        return prompts

    def _process(self, samples: list[dict[str, Any]], prompts: list[Prompt]) -> dict[str, Any]:
        try:
            return self._call(samples, prompts)
        except ConfigurationError:
            raise
        except VideoReferError as error:
            # Records are tried one by one only after an error, to find the unusable ones.
            unusable = {}
            for index, (sample, prompt) in enumerate(zip(samples, prompts, strict=True)):
                try:
                    self._call([sample], [prompt])
                except VideoReferError as reason:
                    unusable[index] = str(reason).removeprefix("Sample 0: ")
                    if self.on_bad_sample == "error":
                        break
            if not unusable:  # they do not fit together, as with a processor that samples by the second
                raise
            raise _UnusableError(unusable) from error

    def _call(self, samples: list[dict[str, Any]], prompts: list[Prompt]) -> dict[str, Any]:
        visuals = {
            kind: [one["record"].opened for one in samples if one["kind"] == kind] for kind in ("image", "video")
        }
        return dict(
            self.processor(
                text=[prompt.text for prompt in prompts],
                images=visuals["image"] or None,
                videos=visuals["video"] or None,
                regions=[sample["regions"] for sample in samples],
                padding_side="right",
                return_offsets_mapping=True,
                return_text_replacement_offsets=True,
                return_tensors="pt",
                **self._settings,
            )
        )

    def _is_placeholder(self, ids: Tensor) -> Tensor:
        # Not every host has all of these tokens.
        special = [getattr(self.processor, f"{kind}_token_id", None) for kind in ("image", "video", "region")]
        return torch.isin(ids, torch.tensor([token_id for token_id in special if token_id is not None]))

    # ------------------------------------------------------------------ length

    def _fitting(self, prompts: list[Prompt], places: list["_Places"], starts: Tensor, real: Tensor) -> list[int]:
        """Return how many turns of each record fit into `max_length`; all turns without a limit."""
        if self.max_length is None:
            return [len(prompt.ends) for prompt in prompts]
        kept, unusable = [], {}
        for row, (prompt, place) in enumerate(zip(prompts, places, strict=True)):
            lengths = [int((real[row] & (starts[row] < place(end))).sum()) for end in prompt.ends]
            turns = sum(length <= self.max_length for length in lengths)
            kept.append(turns)
            cut = prompt.text[prompt.ends[turns - 1] :] if turns else ""
            if not turns:
                unusable[row] = (
                    f"its first turn has {lengths[0]} tokens, visual and object tokens included, but max_length is "
                    f"{self.max_length}; raise max_length, or take fewer frames (num_frames)"
                )
            elif self.processor.video_token in cut or self.processor.image_token in cut:
                unusable[row] = (
                    f"only {turns} of its turns fit into max_length {self.max_length}, and its visual stands in a "
                    "later one; raise max_length, or put the visual into the first question"
                )
        if unusable:
            raise _UnusableError(unusable)
        return kept

    def _truncate(
        self, inputs: dict[str, Any], prompts: list[Prompt], places: list["_Places"], starts: Tensor, kept: list[int]
    ) -> dict[str, Any]:
        """Remove the turns after those that are kept, and their regions."""
        lengths, keep_region = [], []
        for row, (prompt, place, turns) in enumerate(zip(prompts, places, kept, strict=True)):
            end = prompt.ends[turns - 1]
            real = inputs["attention_mask"][row].bool()
            # Only some templates add text after the last turn.
            whole = turns == len(prompt.ends)
            lengths.append(int(real.sum()) if whole else int((real & (starts[row] < place(end))).sum()))
            inside = prompt.text[: None if whole else end].count(self.processor.region_token)
            total = prompt.text.count(self.processor.region_token)
            keep_region += [region < inside for region in range(total)]
        longest = max(lengths)
        beyond = torch.arange(longest) >= torch.tensor(lengths)[:, None]
        padding = {"input_ids": self.processor.tokenizer.pad_token_id, "labels": IGNORED}
        for name in ("input_ids", "labels", "attention_mask", "token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = inputs[name][:, :longest].masked_fill(beyond, padding.get(name, 0))
        return _select_regions(inputs, torch.tensor(keep_region, dtype=torch.bool))


class _Places:
    """Maps characters of a text to positions after its placeholders were expanded."""

    def __init__(self, offsets: list[dict[str, Any]]):
        self._moved = [(offset["span"][1], offset["new_span"][1]) for offset in offsets]

    def __call__(self, place: int) -> int:
        passed = [new - old for old, new in self._moved if old <= place]
        return place + (passed[-1] if passed else 0)


def _select_regions(inputs: dict[str, Any], keep: Tensor) -> dict[str, Any]:
    """Return the inputs with some of the regions only; `keep` is bool `(num_regions,)`."""
    if bool(keep.all()):
        return inputs
    others = {name: value for name, value in inputs.items() if not name.startswith("region_")}
    if not bool(keep.any()):
        return others
    if "region_grids" in inputs:
        return {**others, **CropInputs.collect(dict(inputs)).select(keep)}  # type: ignore[union-attr]
    names = [name for name in inputs if name.startswith("region_")]
    rows = []
    for sample, lengths in enumerate(inputs["region_lengths"]):
        own, keep = keep.split([int((lengths > 0).sum()), len(keep) - int((lengths > 0).sum())])
        rows.append(_select_in_row({name: inputs[name][sample] for name in names}, own))
    return {**others, **{name: nn.utils.rnn.pad_sequence([row[name] for row in rows], True) for name in names}}


def _select_in_row(row: dict[str, Tensor], keep: Tensor) -> dict[str, Tensor]:
    """Select some regions of one sample, and the frames that only they need."""
    lengths = row["region_lengths"][row["region_lengths"] > 0]
    masks = (row["region_frames"] != 0).nonzero().squeeze(1)[keep.repeat_interleave(lengths)]
    frames = row["region_frames"][masks]
    kept = {**row, "region_lengths": lengths[keep], "region_masks": row["region_masks"][masks]}
    if "region_pixel_values" in row:  # else masks lie on frames that the host sees anyway
        used, place = (-1 - frames[frames < 0]).unique(return_inverse=True)
        kept["region_pixel_values"] = row["region_pixel_values"][used]
        frames[frames < 0] = -1 - place
    return {**kept, "region_frames": frames}
