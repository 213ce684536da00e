"""The sections of a recipe: their settings, and the ranges of numbers."""

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
    """The model of a training run.

    Attributes:
        checkpoint (`str`, *optional*):
            Folder or Hub id of the model to start from. For a supported host, an object encoder is attached.
        language_model, vision_tower (`str`, *optional*):
            Instead of a checkpoint: a language model and a vision tower to build a new model from.
        processor (`str`, *optional*): folder or Hub id of the processor; by default that of the checkpoint.
        dtype (`str`): dtype of the loaded weights.
        attn_implementation (`str`, *optional*): attention backend.
        max_tokens_per_region (`int`, *optional*): unions u of the object encoder; by default those of the checkpoint.
        object_encoder (`str`, *optional*): folder or Hub id of an object encoder to load on top.
        vision_feature_layer (`int`, *optional*): hidden state of the vision tower for a new model; -2 by default.
        quantization (`dict`): fields of `transformers.BitsAndBytesConfig`, such as `{load_in_4bit: true}`, to load
            language model and vision tower in few bits, and train adapters of a `lora` section (needs bitsandbytes).
            Connector and object encoder are not quantized.
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
        file (`str`): path of a file in the VideoRefer-700K format (JSON, JSONL or Parquet).
        limit (`int`, *optional*): largest number of records to use, chosen at random by `train.seed`; the same in
            every epoch and every process.
        weight (`float`): how often each record comes in an epoch. With 2, every record comes twice; with 0.5, a random
            half of them comes, chosen again in every epoch; with 2.5, all come twice and half of them a third time.
        media_root (`str`, *optional*): folder of its relative media paths; by default that of all files.
    """

    file: str
    limit: int | None = number(None, COUNT)
    weight: float = number(1.0, Range(0, 1000, above=True))
    media_root: str | None = None


@dataclass
class DataSettings:
    """The data of a training run.

    Attributes:
        files (`list`): files in the VideoRefer-700K format (JSON, JSONL or Parquet): names, or [`DataFile`]s such as
            `{file: a.json, limit: 1000, weight: 2}`.
        eval_files (`list`): files for the evaluation loss every `train.eval_every` steps, in the form of `files`.
        media_root (`str`, *optional*): folder of relative media paths; by default the folder of each file.
        mode (`str`): `"single"`, `"multi"` or `"mixed"` frames of regions (paper, appendix B.1).
        template (`str`): `"chat"`, or `"plain"` for the first stage.
        clip (`bool`): whether conversations show their clips or images. Without them, the model sees objects only, and
            the frozen vision tower's features of objects are computed once.
        keep_features (`bool`): whether the frozen vision tower's features of objects, clips and images are computed
            once, and kept in memory and in the output folder until the run ends, instead of in every step.
        features (`str`, *optional*): folder in which such features stay, for other runs with the same tower; features
            in it are not computed again.
        on_bad_sample (`str`): `"error"`, or `"skip"` to count and log bad records.
        num_frames (`int`, *optional*): frames sampled from each video, at most 4096; by default that of the processor.
        max_frames_per_region (`int`, *optional*): largest number of frames of a region.
        max_length (`int`, *optional*): largest number of tokens of a conversation; longer ones lose their last turns.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`; by default that of the processor.
        workers (`int`): number of processes that decode videos, for each training process.
        packing (`bool`): whether records of a batch are concatenated instead of padded; for models that look at crops
            of objects.
        keep_scan (`bool`): whether a scan of `records.json` is kept beside it, in `records.json.scan`, so that the
            next start is quick. The scan can be deleted at any time.
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
    """The optimization of a training run.

    Attributes:
        parts (`list[str]`): trained parts, out of vision_tower, connector, object_encoder and language_model.
        learning_rate (`float`): learning rate of all parts.
        learning_rates (`dict[str, float]`): learning rates of trained parts that differ from `learning_rate`.
        global_batch_size (`int`): records in an optimizer step, over all processes and accumulation.
        batch_size (`int`): records in a batch of one process; accumulation follows from both.
        epochs (`float`), max_steps (`int`, *optional*):
            Length of the run; `max_steps` takes precedence, unless it is `None` or, as in transformers, -1.
        scheduler (`str`), warmup (`float`): schedule of the learning rate; warm-up in steps, or a share below 1.
        optimizer (`str`), weight_decay (`float`), max_grad_norm (`float`): as in `TrainingArguments`; a
            `max_grad_norm` of 0 does not clip gradients.
        letter_loss (`float`, *optional*): weight of the mean loss of the letters of options in answers, such as the A
            of "Answer: red (A)", in addition to the mean of all other tokens. By default, letters are ordinary tokens.
        gradient_checkpointing (`bool`): whether to save memory by computing activations again.
        group_by (`str`, *optional*): `"modality_length"` makes batches of one modality and similar length.
        log_every, save_every (`int`): optimizer steps between logs, and between checkpoints.
        keep_checkpoints (`int`): number of checkpoints to keep, at least 1.
        eval_every (`int`, *optional*): optimizer steps between two evaluations, which need `data.eval_files`.
        report_to (`list[str]`): targets of logs in addition to the output folder: `wandb`, `tensorboard`, or another
            that transformers knows; `none` by default.
        seed (`int`): seed of all random numbers.
        extra (`dict`): any other argument of `transformers.TrainingArguments`, such as `{adam_beta2: 0.95}`. The
            `training_args.bin` of checkpoints has their values, also those of references such as `${oc.env:...}`.
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
    """The result of a training run.

    Attributes:
        folder (`str`): folder of the checkpoints and the result.
        save (`str`): `"full"` model, `"object_encoder"` alone, or PEFT `"adapter"` with object encoder.
        license (`str`, *optional*): license of the weights, for their card.
    """

    folder: str = "output"
    save: str = "full"
    license: str | None = None


@dataclass
class PretrainSettings:
    """A part that is trained from scratch, for models of untrained parts.

    Attributes:
        part (`str`): `"language_model"` (with its tokenizer), `"vision_tower"`, or `"connector"`, which is trained in
            the model that `model` names.
        exercise (`str`, *optional*): a task instead of conversations, from which the language model of
            `model.checkpoint` learns the letters of options: `"colors"`, `"words"` or `"options"`.
        until (`float`): share of correct letters at which an exercise ends; `train.max_steps` limits its steps.
        sizes (`dict`): settings of the part's configuration, `Qwen2Config` or `SiglipVisionConfig`.
        feature_layer (`int`): hidden state of the vision tower that is trained, and that models use.
    """

    part: str
    exercise: str | None = None
    until: float = number(1.0, Range(0, 1))
    sizes: dict[str, Any] = field(default_factory=dict)
    feature_layer: int = number(-2, LAYER)
