"""The sections of a recipe: their settings, and the range of every number among them."""

from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin.training.ranges import (
    ARGUMENT,
    COUNT,
    ENTRY,
    FROM_ZERO,
    LARGEST,
    LAYER,
    RANGE,
    Range,
    number,
    setting,
)
from videorefer_plugin.video.sampling import MAX_SAMPLED_FRAMES

__all__ = [
    "DataFile",
    "DataSettings",
    "LoraSettings",
    "ModelSettings",
    "OutputSettings",
    "PretrainSettings",
    "TrainSettings",
]


@dataclass
class ModelSettings:
    """What is trained.

    Attributes:
        checkpoint (`str`, *optional*):
            Folder or Hub id of the model to start from. One of the supported hosts gets an object encoder attached.
        language_model, vision_tower (`str`, *optional*):
            Instead of a checkpoint: a language model and a vision tower to build a new model from.
        processor (`str`, *optional*): where the processor is, if not with the checkpoint.
        dtype (`str`): dtype that the weights are loaded in.
        attn_implementation (`str`, *optional*): attention backend.
        max_tokens_per_region (`int`, *optional*): unions u of the object encoder; the checkpoint's by default.
        object_encoder (`str`, *optional*): folder or Hub id of an object encoder to load on top.
        vision_feature_layer (`int`, *optional*): hidden state of the tower that a new model uses; -2 by default.
        quantization (`dict`): fields of `transformers.BitsAndBytesConfig`, such as `{load_in_4bit: true}`, to load
            language model and vision tower in few bits and train a `lora` section on them (needs bitsandbytes).
            Connector and object encoder keep their weights.
    """

    checkpoint: str | None = None
    language_model: str | None = None
    vision_tower: str | None = None
    processor: str | None = None
    dtype: str = "bfloat16"
    attn_implementation: str | None = None
    max_tokens_per_region: int | None = number(None, COUNT)
    object_encoder: str | None = None
    vision_feature_layer: int | None = number(None, LAYER)
    quantization: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataFile:
    """One file of a mixture.

    Attributes:
        file (`str`): in the VideoRefer-700K format (JSON, JSONL or Parquet).
        limit (`int`, *optional*): the most records that are used, chosen evenly at random by `train.seed`; the same in
            every epoch and every process.
        weight (`float`): how often each record comes in an epoch. With 2 every record comes twice; with 0.5 half of
            them come, drawn anew every epoch; with 2.5 all come twice and half of them a third time.
        media_root (`str`, *optional*): folder that its media paths are relative to; that of all files by default.
    """

    file: str
    limit: int | None = number(None, COUNT)
    weight: float = number(1.0, Range(0, 1000, above=True))
    media_root: str | None = None


@dataclass
class DataSettings:
    """What it is trained on.

    Attributes:
        files (`list`): files in the VideoRefer-700K format (JSON, JSONL or Parquet): names, or [`DataFile`]s such as
            `{file: a.json, limit: 1000, weight: 2}`.
        eval_files (`list`): files that the loss is computed on every `train.eval_every` steps, as `files` has them.
        media_root (`str`, *optional*): folder that media paths are relative to; each file's own by default.
        mode (`str`): `"single"`, `"multi"` or `"mixed"` frames of regions (paper, appendix B.1).
        template (`str`): `"chat"`, or `"plain"` for the first stage.
        clip (`bool`): whether conversations show their clips or images. Without them, objects are seen alone, and what
            the frozen vision tower makes of them is computed once.
        keep_features (`bool`): whether what the frozen vision tower makes of objects, clips and images is computed
            once, and kept in memory and in the output folder until the run ends, instead of in every step.
        features (`str`, *optional*): folder in which such features stay, for other runs with the same tower; what it
            holds is not computed again.
        on_bad_sample (`str`): `"error"`, or `"skip"` to count and log bad records.
        num_frames (`int`, *optional*): frames sampled from each video, at most 4096; the processor's by default.
        max_frames_per_region (`int`, *optional*): most frames used of a region.
        max_length (`int`, *optional*): longest conversation in tokens; longer ones lose their last turns.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`; the processor's by default.
        workers (`int`): processes that decode videos, for each training process.
        packing (`bool`): whether records of a batch are laid end to end instead of padded; for models that look at
            crops of objects.
        keep_scan (`bool`): whether what was found in `records.json` is kept beside it, in `records.json.scan`, so that
            the next start is quick. It may be deleted at any time.
    """

    files: list[Any] = field(default_factory=list, metadata={ENTRY: DataFile})
    eval_files: list[Any] = field(default_factory=list, metadata={ENTRY: DataFile})
    media_root: str | None = None
    mode: str = "mixed"
    template: str = "chat"
    clip: bool = True
    keep_features: bool = False
    features: str | None = None
    on_bad_sample: str = "error"
    num_frames: int | None = number(None, Range(1, MAX_SAMPLED_FRAMES))
    max_frames_per_region: int | None = number(None, COUNT)
    max_length: int | None = number(None, COUNT)
    mask_policy: str | None = None
    workers: int = number(4, Range(0, 1024))
    packing: bool = False
    keep_scan: bool = True


@dataclass
class TrainSettings:
    """How it is trained.

    Attributes:
        parts (`list[str]`): parts that are trained, out of vision_tower, connector, object_encoder, language_model.
        learning_rate (`float`): learning rate of all of them.
        learning_rates (`dict[str, float]`): learning rates of single parts that differ, of those that are trained.
        global_batch_size (`int`): records an optimiser step, over all processes and accumulation.
        batch_size (`int`): records a process sees at once; accumulation follows.
        epochs (`float`), max_steps (`int`, *optional*):
            Length of the run; `max_steps` wins, unless it is `None` or, as in transformers, -1.
        scheduler (`str`), warmup (`float`): schedule of the learning rate; warm-up in steps, or a share below 1.
        optimizer (`str`), weight_decay (`float`), max_grad_norm (`float`): as in `TrainingArguments`; a
            `max_grad_norm` of 0 leaves gradients as they are.
        letter_loss (`float`, *optional*): weight of the mean loss of the letters of options in answers, such as the A
            of "Answer: red (A)", beside the mean of all other tokens; without it, letters count as these do.
        gradient_checkpointing (`bool`): whether to trade time for memory.
        group_by (`str`, *optional*): `"modality_length"` makes batches of one modality and similar length.
        log_every, save_every (`int`): optimiser steps between logs and checkpoints.
        keep_checkpoints (`int`): how many checkpoints to keep, at least 1.
        eval_every (`int`, *optional*): optimiser steps between two looks at `data.eval_files`, of which it needs some.
        report_to (`list[str]`): where logs go beside the output folder: `wandb`, `tensorboard`, or another that
            transformers knows; `none` by default.
        seed (`int`): seed of everything.
        extra (`dict`): any other argument of `transformers.TrainingArguments`, such as `{adam_beta2: 0.95}`. They are
            in the `training_args.bin` of checkpoints as they are, also those that came of `${oc.env:...}`.
    """

    parts: list[str] = field(default_factory=lambda: ["object_encoder"])
    learning_rate: float = number(1e-3, FROM_ZERO, "learning_rate")
    learning_rates: dict[str, float] = field(default_factory=dict, metadata={RANGE: FROM_ZERO})
    global_batch_size: int = number(256, COUNT)
    batch_size: int = number(8, COUNT, "per_device_train_batch_size")
    epochs: float = number(1.0, Range(0, 1e6, above=True), "num_train_epochs")
    max_steps: int | None = number(None, Range(1, LARGEST, also=(-1,)), "max_steps")
    scheduler: str = setting("cosine", "lr_scheduler_type")
    warmup: float = number(0.03, Range(0, LARGEST, whole_from=1), "warmup_steps")
    optimizer: str = setting("adamw_torch", "optim")
    weight_decay: float = number(0.0, FROM_ZERO, "weight_decay")
    max_grad_norm: float = number(1.0, FROM_ZERO, "max_grad_norm")
    letter_loss: float | None = number(None, Range(0, 1000))
    gradient_checkpointing: bool = False
    group_by: str | None = "modality_length"
    log_every: int = number(1, COUNT, "logging_steps")
    save_every: int = number(500, COUNT, "save_steps")
    keep_checkpoints: int = number(2, COUNT, "save_total_limit")
    eval_every: int | None = number(None, COUNT, "eval_steps")
    report_to: list[str] = field(default_factory=lambda: ["none"], metadata={ARGUMENT: "report_to"})
    seed: int = number(42, Range(0, 2**32 - 1), "seed")
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class LoraSettings:
    """Low-rank adaptation of the language model (needs `peft`).

    Attributes:
        rank (`int`), alpha (`int`), dropout (`float`): as in `LoraConfig`.
        targets (`list[str]`): names of the linear layers that are adapted.
    """

    rank: int = number(128, COUNT)
    alpha: int = number(256, COUNT)
    dropout: float = number(0.05, Range(0, 1, below=True))
    targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


@dataclass
class OutputSettings:
    """What becomes of it.

    Attributes:
        folder (`str`): where checkpoints and the result go.
        save (`str`): `"full"` model, `"object_encoder"` alone, or PEFT `"adapter"` with object encoder.
        licence (`str`, *optional*): licence of the weights, for their card.
    """

    folder: str = "output"
    save: str = "full"
    licence: str | None = None


@dataclass
class PretrainSettings:
    """A part that is made from nothing, for models whose parts nobody has trained.

    Attributes:
        part (`str`): `"language_model"` (with its tokenizer), `"vision_tower"`, or `"connector"`, which is trained in
            the model that `model` names.
        exercise (`str`, *optional*): instead of conversations, what a language model that `model.checkpoint` names
            learns the letters of options from: `"colors"`, `"words"` or `"options"`.
        until (`float`): share of the letters that an exercise ends with; `train.max_steps` is the most that it takes.
        sizes (`dict`): settings of the part's configuration, `Qwen2Config` or `SiglipVisionConfig`.
        feature_layer (`int`): hidden state of a vision tower that is trained, and that models are to use.
    """

    part: str
    exercise: str | None = None
    until: float = number(1.0, Range(0, 1))
    sizes: dict[str, Any] = field(default_factory=dict)
    feature_layer: int = number(-2, LAYER)
