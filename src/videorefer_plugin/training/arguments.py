"""What transformers' Trainer is told of a recipe."""

import torch
from transformers import TrainingArguments

from videorefer_plugin.training.recipe import Recipe

__all__ = ["training_arguments"]


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Translate a recipe's training section for transformers.

    Raises:
        ConfigurationError: the global batch size does not fit the number of processes.
    """
    arguments = _translated(recipe)
    arguments.gradient_accumulation_steps = recipe.accumulation_steps(max(arguments.world_size, 1))
    return arguments


def _translated(recipe: Recipe) -> TrainingArguments:
    settings = recipe.train
    return TrainingArguments(
        output_dir=recipe.output.folder,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps if settings.max_steps is not None else -1,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup,
        optim=settings.optimizer,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        logging_steps=settings.log_every,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=settings.keep_checkpoints,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=recipe.model.dtype == "bfloat16",  # autocast; what is trained stays in float32
        fp16=recipe.model.dtype == "float16",
        dataloader_num_workers=recipe.data.workers,
        remove_unused_columns=False,
        label_names=["labels"],
        ddp_find_unused_parameters=False,  # `train` says otherwise of models where there are some
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
