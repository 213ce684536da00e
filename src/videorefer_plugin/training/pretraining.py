"""Make the parts that other models take from elsewhere: tokenizer, language model, vision tower and connector.

A model so small that nobody has trained its parts needs them made first: the language model learns conversations in
words, and the tower learns to name what is below a mask. Both are saved as the parts of other models are, so that
stage 1 cannot tell the difference. The connector, which only fits the two that it lies between, learns in the model
that stage 1 made of them what is where in a clip, and which way it goes (see `connector_pretraining`).
"""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
    set_seed,
)

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.models.videorefer.region_inputs import frames_with_masks
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.training.arguments import training_arguments
from videorefer_plugin.training.collator import VideoReferCollator
from videorefer_plugin.training.connector_pretraining import ConnectorPart
from videorefer_plugin.training.dataset import DataSource, ReadOnce, VideoReferDataset
from videorefer_plugin.training.naming import naming_loss, object_names
from videorefer_plugin.training.recipe import PretrainSettings, Recipe
from videorefer_plugin.training.trainer import VideoReferTrainer, find_checkpoint

__all__ = ["RegionNamer", "pretrain", "train_tokenizer"]

logger = logging.getLogger(__name__)

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # as Qwen2 has them
_NAME_TOKENS = 1024  # that names of objects are made of, at most
_TEMPLATE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|im_start|>assistant\n"


def pretrain(recipe: Recipe, *, resume: bool = True) -> Any:
    """Run a recipe that has a `pretrain` section, and save the part that it makes.

    Args:
        recipe ([`Recipe`]): what to do.
        resume (`bool`, *optional*, defaults to `True`): whether to go on from a checkpoint in the output folder.

    Returns:
        `transformers.Trainer`: the trainer, with the part and its log.

    Raises:
        ConfigurationError: the recipe cannot be run.
        RecordError: the data hold bad records.
    """
    recipe.check()  # it may have been made or changed since it was read
    settings = recipe.pretrain
    if settings is None:
        raise ConfigurationError(f"{recipe.name} has no pretrain section, so there is no part to make.")
    if not recipe.data.files:
        raise ConfigurationError("The recipe names no data. Give data.files, a list of files.")
    set_seed(recipe.train.seed)
    arguments = training_arguments(recipe)
    checkpoint = find_checkpoint(recipe.output.folder)
    if checkpoint is not None and not resume:
        raise ConfigurationError(f"{recipe.output.folder} holds checkpoints already; resume, or name another folder.")
    dataset = VideoReferDataset(
        [DataSource(path) for path in recipe.data.files],
        mode=recipe.data.mode,
        media_root=recipe.data.media_root,
        seed=recipe.train.seed,
        max_frames_per_region=recipe.data.max_frames_per_region,
        on_bad_sample=recipe.data.on_bad_sample,
        keep_scan=recipe.data.keep_scan,
    )
    part = _part(recipe, settings, dataset)
    # Towers have a layer above the one whose features are used, and not every batch has all that is learnt from.
    arguments.ddp_find_unused_parameters = settings.part != "language_model"
    started = time.monotonic()
    trainer = _PartTrainer(
        model=part.model,
        args=arguments,
        train_dataset=dataset if settings.part == "language_model" else ReadOnce(dataset),
        data_collator=part.collator,
        group_by_modality_length=recipe.train.group_by == "modality_length",
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.args.should_save:
        part.save(Path(recipe.output.folder))
        trainer.state.save_to_json(str(Path(recipe.output.folder) / "trainer_state.json"))
        logger.info("Saved to %s after %.0f s.", recipe.output.folder, time.monotonic() - started)
    return trainer


def _part(recipe: Recipe, settings: PretrainSettings, dataset: VideoReferDataset) -> Any:
    if settings.part == "connector":
        return ConnectorPart(recipe, dataset)
    part: Any = {"language_model": _LanguageModel, "vision_tower": _VisionTower}[settings.part]
    return part(settings, dataset, recipe.data.max_length)


class _PartTrainer(VideoReferTrainer):
    """A trainer of one part, of which there is nothing to tell apart."""

    def measure_gradients(self) -> None:
        """Do nothing: the norm of all gradients is that of the part."""


# --- the language model ---------------------------------------------------------------------------------------------


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Qwen2Tokenizer:
    """Learn a byte-level tokenizer of Qwen2's kind.

    Args:
        texts (`Iterator[str]`): what it is to read.
        vocab_size (`int`): most tokens that it may have, special ones included.
    """
    empty = Qwen2Tokenizer(vocab={_SPECIAL[0]: 0}, merges=[])
    tokenizer = empty.train_new_from_iterator(texts, vocab_size=vocab_size, new_special_tokens=list(_SPECIAL[1:]))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    return tokenizer


class _LanguageModel:
    """Learns to answer in conversations without a visual."""

    def __init__(self, settings: PretrainSettings, dataset: VideoReferDataset, max_length: int | None):
        sizes = dict(settings.sizes)
        vocab_size = int(sizes.pop("vocab_size", 1024))
        self.tokenizer = train_tokenizer(_texts(dataset), vocab_size)
        ids = {f"{name}_token_id": getattr(self.tokenizer, f"{name}_token_id") for name in ("eos", "pad")}
        config = Qwen2Config(**{"vocab_size": -(-len(self.tokenizer) // 8) * 8, "bos_token_id": None, **ids, **sizes})
        self.model = Qwen2ForCausalLM(config)
        self.model.config.use_cache = False
        processor = _processor(_image_processor(64), self.tokenizer, 8)
        self.collate = VideoReferCollator(processor, max_length=max_length)

    def collator(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        inputs = self.collate(samples)
        # Padding comes last, where nothing that is learnt attends to it: without a mask, attention is causal alone,
        # which is faster.
        return {name: inputs[name] for name in ("input_ids", "labels")}

    def save(self, folder: Path) -> None:
        self.model.config.use_cache = True
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _texts(dataset: VideoReferDataset) -> Iterator[str]:
    yield _TEMPLATE
    for index in range(len(dataset)):
        yield "\n".join(turn["content"] for turn in dataset[index]["record"].conversations)


# --- the vision tower -----------------------------------------------------------------------------------------------


class RegionNamer(nn.Module):
    """A vision tower with heads that say what is below a mask, where it is, and what is nearest to it.

    The names of an object are the tokens of what is said of it, learnt as labels all of which are true at once. The
    place of an object, and the way to the nearest other one, come from the masks. The heads are thrown away after
    training.

    Args:
        tower (`SiglipVisionModel`): the tower.
        feature_layer (`int`): index of the hidden state that is used.
        vocab_size (`int`): of the tokenizer.
    """

    def __init__(self, tower: SiglipVisionModel, feature_layer: int, vocab_size: int):
        super().__init__()
        self.tower = tower
        self.feature_layer = feature_layer
        width = tower.config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.names = nn.Linear(width, vocab_size)
        self.place = nn.Linear(width, 3)
        self.other_names = nn.Linear(width, vocab_size)
        self.other_place = nn.Linear(width, 2)

    def forward(
        self, region_pixel_values: Tensor, region_masks: Tensor, region_frames: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            region_pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`): frames.
            region_masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`): masks on the feature grid.
            region_frames (`torch.LongTensor` of shape `(num_masks,)`): frame of each mask.
            labels (`torch.LongTensor` of shape `(num_masks, num_names)`): tokens that name each object, padded with
                -100.
        """
        rows, columns = region_masks.shape[1:]
        states = self.tower(pixel_values=region_pixel_values, output_hidden_states=True).hidden_states
        grid = states[self.feature_layer].unflatten(1, (rows, columns))
        pooled = self.norm(pool_masks(grid, region_masks, region_frames, values=False))
        place = _places(region_masks)
        other = _nearest(place, region_frames)
        known = other >= 0
        losses = {
            "names": naming_loss(self.names(pooled), labels),
            "place": F.l1_loss(self.place(pooled), place),
        }
        if bool(known.any()):
            losses["other_names"] = naming_loss(self.other_names(pooled[known]), labels[other[known]])
            way = (place[other] - place)[known, :2]
            losses["other_place"] = F.l1_loss(self.other_place(pooled[known]), way)
        weights = {"names": 1.0, "place": 2.0, "other_names": 0.5, "other_place": 1.0}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}


def _places(masks: Tensor) -> Tensor:
    """Centre (x, y, in halves of the frame) and extent (square root of the area) of each mask, `(num_masks, 3)`."""
    rows, columns = masks.shape[1:]
    weights = masks.float()
    area = weights.sum((1, 2)).clamp(min=1)
    y = torch.linspace(-1 + 1 / rows, 1 - 1 / rows, rows, device=masks.device)
    x = torch.linspace(-1 + 1 / columns, 1 - 1 / columns, columns, device=masks.device)
    return torch.stack([(weights.sum(1) @ x) / area, (weights.sum(2) @ y) / area, (area / (rows * columns)).sqrt()], 1)


def _nearest(places: Tensor, frames: Tensor) -> Tensor:
    """Index of the nearest other mask of the same frame, -1 where there is none."""
    distance = torch.cdist(places[:, :2], places[:, :2])
    distance.masked_fill_(frames[:, None] != frames, float("inf")).fill_diagonal_(float("inf"))
    nearest, index = distance.min(1)
    return index.masked_fill(nearest.isinf(), -1)


class _VisionTower:
    """Learns to name objects: each turn of a record is about one object, and its answer is the name."""

    def __init__(self, settings: PretrainSettings, dataset: VideoReferDataset, max_length: int | None):
        self.tokenizer = train_tokenizer(_texts(dataset), _NAME_TOKENS)
        config = SiglipVisionConfig(**{"vision_use_head": False, **settings.sizes})
        self.image_processor = _image_processor(config.image_size)
        self.model = RegionNamer(SiglipVisionModel(config), settings.feature_layer, len(self.tokenizer))
        self.processor = _processor(self.image_processor, self.tokenizer, config.patch_size)
        self.seen: dict[int, dict[str, Any]] = {}
        self.processor.num_frames = 2  # of the clip, which is not looked at here; fewer make no token

    def collator(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join what records show; each is read once and kept, for decoding takes longer than learning from it."""
        for sample in samples:
            if sample["index"] not in self.seen:
                self.seen[sample["index"]] = self._read(sample)
        parts = [self.seen[sample["index"]] for sample in samples]
        counts = torch.tensor([len(part["region_pixel_values"]) for part in parts])
        first = (counts.cumsum(0) - counts).tolist()
        names = [name for part in parts for name in part["names"]]
        return {
            "region_pixel_values": torch.cat([part["region_pixel_values"] for part in parts]),
            "region_masks": torch.cat([part["region_masks"] for part in parts]),
            "region_frames": torch.cat([part["region_frames"] + at for part, at in zip(parts, first, strict=True)]),
            "labels": nn.utils.rnn.pad_sequence(names, True, -100),
        }

    def _read(self, sample: dict[str, Any]) -> dict[str, Any]:
        names = object_names(sample, self.processor.region_token, self.tokenizer)
        inputs = self.processor(
            text=["<video>\n" + self.processor.region_token * len(names)],
            videos=[sample["visual"]],
            regions=[sample["regions"]],
            return_tensors="pt",
        )
        lengths = inputs["region_lengths"][0].tolist()
        pixels, frames = frames_with_masks(inputs)
        return {
            "region_pixel_values": pixels,
            "region_masks": inputs["region_masks"][0],
            "region_frames": frames,
            "names": [name for name, length in zip(names, lengths, strict=True) for _ in range(length)],
        }

    def save(self, folder: Path) -> None:
        self.model.tower.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def _image_processor(size: int) -> Any:
    return SiglipImageProcessor(size={"height": size, "width": size}, resample=3)


def _processor(image_processor: Any, tokenizer: Any, patch_size: int) -> VideoReferProcessor:
    return VideoReferProcessor(image_processor, tokenizer, patch_size=patch_size)
