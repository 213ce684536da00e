"""A `transformers.Trainer` for models with an object encoder."""

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from videorefer_plugin.errors import CheckpointError, ConfigurationError, TrainingError
from videorefer_plugin.hosts import load_object_encoder
from videorefer_plugin.hosts.attach import AttachedRegionMixin
from videorefer_plugin.models.sharded import is_sharded
from videorefer_plugin.models.weights import Findings
from videorefer_plugin.training.checkpoints import UNFINISHED, complete_checkpoints, loading, saving, write_identity
from videorefer_plugin.training.parts import parameters_by_part
from videorefer_plugin.training.sample_losses import losses_of_samples, region_ids
from videorefer_plugin.training.sampling import ModalityLengthSampler
from videorefer_plugin.training.stopping import call_worker

__all__ = ["VideoReferTrainer", "VideoReferTrainerMixin", "trainer_class"]

logger = logging.get_logger(__name__)

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object  # the mixin comes before the trainer that a recipe names


class VideoReferTrainerMixin(_Trainer):
    """Adds the needs of training with regions to a trainer:

    - learning rates of single parts (`learning_rates`), for instance `{"connector": 1e-5}`;
    - batches by modality and length (`group_by_modality_length`);
    - logs of supervised tokens, gradient norms by part and records a second;
    - a stop with an explanation when nothing is supervised or the loss is not a number;
    - checkpoints that are complete or not there at all, even if the process is killed while writing one.

    Args:
        learning_rates (`dict[str, float]`, *optional*): learning rates of parts that differ from that of the others.
        group_by_modality_length (`bool`, *optional*, defaults to `False`): whether to group records.
        eval_collator (*optional*): collator of evaluations; by default that of training.
        identity (`dict`, *optional*): identity of the run, from [`identity_of`], which is written into checkpoints.
    """

    data_collator: Any

    def __init__(
        self,
        *args: Any,
        learning_rates: dict[str, float] | None = None,
        group_by_modality_length: bool = False,
        eval_collator: Any = None,
        identity: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._say_what_is_left_out()
        self.identity = identity
        self.learning_rates = dict(learning_rates or {})
        self.group_by_modality_length = group_by_modality_length
        self.eval_collator = eval_collator or self.data_collator
        self._supervised = self._records = 0
        self._evaluated: list[torch.Tensor] = []
        self._since = time.perf_counter()
        self._part_norms: dict[str, torch.Tensor] = {}
        self.add_callback(_RegionCallback(self))

    def _say_what_is_left_out(self) -> None:
        """Warn of launchers whose settings accelerate ignores on CPUs."""
        for kind, runs in (("FSDP", self.is_fsdp_enabled), ("DeepSpeed", self.is_deepspeed_enabled)):
            wanted = os.environ.get(f"ACCELERATE_USE_{kind.upper()}", "false").lower() == "true"
            if wanted and not runs:
                logger.warning(
                    "The launcher asks for %s, which accelerate leaves out on CPUs: on %s every process holds the "
                    "whole model.",
                    kind,
                    self.args.device,
                )

    # ------------------------------------------------------------------ optimizer

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer, with a parameter group for each part with a learning rate of its own."""
        optimizer = super().create_optimizer(*([] if model is None else [model]))
        if not self.learning_rates:
            return optimizer
        by_part = parameters_by_part(self.accelerator.unwrap_model(self.model))
        rates = {id(p): rate for part, rate in self.learning_rates.items() for p in by_part[part].values()}
        groups = list(optimizer.param_groups)
        optimizer.param_groups.clear()
        for group in groups:
            split: dict[float, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                split.setdefault(rates.get(id(parameter), group["lr"]), []).append(parameter)
            for rate, parameters in split.items():
                optimizer.add_param_group({**group, "params": parameters, "lr": rate})
        return optimizer

    # ------------------------------------------------------------------ loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the loss. Inputs may be outputs of the vision tower and connector instead of pixels."""
        plain = self.accelerator.unwrap_model(model)
        plain = plain.get_base_model() if hasattr(plain, "get_base_model") else plain  # the model of an adapter
        inputs = dict(inputs)
        if "region_pooled" in inputs:
            made = plain.object_encoder.from_pooled(
                inputs.pop("region_pooled"), inputs.pop("region_lengths"), values=False
            )
            tokens, counts = plain.tokens_by_sample(inputs["input_ids"], made.tokens)
            inputs |= {"object_tokens": tokens, "object_token_counts": counts}
        encoded = {}
        for kind in ("image", "video"):
            if (features := inputs.pop(f"{kind}_features", None)) is not None:
                frames = plain.config.num_frames if kind == "image" else features.shape[1]
                clips = features.expand(-1, frames, -1, -1, -1).to(plain.model.connector.dtype)
                encoded[kind] = BaseModelOutputWithPooling(pooler_output=plain.model.connector(clips))
            elif (tokens := inputs.pop(f"{kind}_tokens", None)) is not None:
                encoded[kind] = BaseModelOutputWithPooling(pooler_output=tokens)
        if encoded:
            inputs["mm_encoder_outputs"] = encoded
        labels, ids = inputs.get("labels"), region_ids(plain)
        computed = super().compute_loss(model, inputs, *args, **kwargs)
        if not model.training and isinstance(computed, tuple):
            self._evaluated.append(self._gathered(losses_of_samples(computed[1], labels, ids)))
        return computed

    def _gathered(self, losses: torch.Tensor) -> torch.Tensor:
        """Return the losses of the samples of all processes, without those that only fill the last batch."""
        padded = self.accelerator.pad_across_processes(losses, dim=0)
        return self.accelerator.gather_for_metrics(padded).double().cpu()

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate. As in training, the loss is the mean over all tokens, whatever the batches."""
        self._evaluated = []
        output = super().evaluation_loop(*args, **kwargs)
        losses, tokens = torch.cat(self._evaluated or [torch.zeros(0, 2)]).sum(dim=0).tolist()
        for name in output.metrics if tokens else ():
            if name.endswith("_loss"):
                output.metrics[name] = losses / tokens
        return output

    # ------------------------------------------------------------------ data

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        if not self.group_by_modality_length:
            return super()._get_train_sampler(dataset)
        if not hasattr(dataset, "lengths") or not hasattr(dataset, "modalities"):
            raise ConfigurationError(
                f"Grouping by modality and length needs a data set with lengths and modalities, which "
                f"{type(dataset).__name__} does not have; use VideoReferDataset."
            )
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        # The sampler's batches are for all processes together; accelerate distributes them.
        at_once = self.args.train_batch_size * self.args.world_size
        return ModalityLengthSampler(lambda: dataset.lengths, lambda: dataset.modalities, at_once, seed=seed)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate with the result of a single process, and without changing the random state of training."""
        averaged = self.args.average_tokens_across_devices
        # Tokens of samples that only fill the last batch would count in the mean of the loss.
        self.args.average_tokens_across_devices = False
        try:
            with torch.random.fork_rng(devices=[]):
                return super().evaluate(*args, **kwargs)
        finally:
            self.args.average_tokens_across_devices = averaged

    def get_train_dataloader(self) -> Any:
        """Return the batches of training, whose processes outlive a signal that stops the run after its step."""
        return _outliving(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the batches of an evaluation, made by the collator for its records."""
        training, self.data_collator = self.data_collator, self.eval_collator
        try:
            return _outliving(super().get_eval_dataloader(eval_dataset))
        finally:
            self.data_collator = training

    # ------------------------------------------------------------------ steps

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Train on one batch.

        Raises:
            TrainingError: the batch supervises nothing, or its loss is not finite.
        """
        labels = inputs["labels"]
        supervised = int((labels[:, 1:] != -100).sum())
        if supervised == 0:
            raise TrainingError(
                f"No token of the batch at step {self.state.global_step + 1} is supervised, so nothing can be learned "
                "from it. Are the answers empty, or cut off by max_length?"
            )
        self._supervised += supervised
        self._records += len(labels)
        loss = super().training_step(model, inputs, *args, **kwargs)
        if not torch.isfinite(loss).all():
            raise TrainingError(
                f"The loss at step {self.state.global_step + 1} is {loss.item()}. The weights before this step are in "
                "the last checkpoint. A learning rate that is too high, half precision without loss scaling (use "
                "bfloat16), or broken weights are the usual causes."
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the counts since the last log."""
        if "loss" in logs:
            seconds = time.perf_counter() - self._since
            counts = torch.tensor([self._supervised, self._records], device=self.args.device)
            supervised, records = self.accelerator.reduce(counts, reduction="sum").tolist()
            logs["supervised_tokens"] = supervised
            logs["samples_per_second"] = round(records / max(seconds, 1e-9), 3)
            # Norms of parts are measured after clipping, which is undone here, so that they add up to the total norm.
            clipped = logs.get("grad_norm", 0.0) / (self.args.max_grad_norm or float("inf"))
            logs.update(
                {f"grad_norm_{part}": norm.item() * max(clipped, 1) for part, norm in self._part_norms.items()}
            )
            self._supervised = self._records = 0
            self._since = time.perf_counter()
        super().log(logs, *args, **kwargs)

    def measure_gradients(self) -> None:
        """Keep the gradient norm of each part, as the optimizer gets it."""
        self._part_norms = {}
        for part, parameters in parameters_by_part(self.accelerator.unwrap_model(self.model)).items():
            norms = [p.grad.detach().norm().float() for p in parameters.values() if p.grad is not None]
            if norms:
                self._part_norms[part] = torch.stack(norms).norm()

    # ------------------------------------------------------------------ checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, UNFINISHED) if getattr(self, "_writing", False) else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._writing = True
        try:
            with saving(self.args.output_dir):
                super()._save_checkpoint(model, trial)
        except (CheckpointError, TrainingError):
            shutil.rmtree(self._get_output_dir(trial), ignore_errors=True)  # which makes some room
            raise
        finally:
            self._writing = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial))
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            if self.identity is not None:
                write_identity(folder / UNFINISHED / name, self.identity)
            shutil.rmtree(folder / name, ignore_errors=True)
            os.replace(folder / UNFINISHED / name, folder / name)
            shutil.rmtree(folder / UNFINISHED)
            for old in complete_checkpoints(folder)[: -(self.keep_checkpoints or 0) or None]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not getattr(self, "_writing", False) or not isinstance(self.model, AttachedRegionMixin):
            super()._save(output_dir, state_dict)
            return
        # Hosts are saved with their published names, but checkpoints are read with the names that parameters have
        # here. With sharded weights, all processes call this.
        self.model.save_pretrained(
            output_dir or self.args.output_dir,
            is_main_process=self.args.should_save,
            state_dict=state_dict,
            save_original_format=False,
        )

    def gathered(self, module: nn.Module) -> dict[str, torch.Tensor] | None:
        """Return the weights of a module of the model in the main process; all processes have to call this.

        Returns:
            `dict[str, torch.Tensor]`: weights by name in the module; `None` if every process has them anyway.
        """
        if not is_sharded(self.model):
            return None
        modules = self.accelerator.unwrap_model(self.model).named_modules()
        (prefix,) = (name for name, each in modules if each is module)
        prefix = f"{prefix}.".replace("_fsdp_wrapped_module.", "")
        whole = self.accelerator.get_state_dict(self.model_wrapped)
        return {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            plain = self.accelerator.unwrap_model(self.model if model is None else model)
            if isinstance(plain, AttachedRegionMixin) and not is_sharded(plain):  # its checkpoint is in one piece
                load_object_encoder(plain, resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # torch finds an optimizer's weights by the states of its parameters, and fails without any.
        stateless = self.is_fsdp_enabled and checkpoint and "sgd" in str(self.args.optim.value)
        if stateless and not any(group.get("momentum") for group in self.optimizer.param_groups):
            raise CheckpointError(
                f"train.optimizer={self.args.optim.value} keeps nothing for its parameters, and torch cannot load "
                "such an optimizer where FSDP shares a model out. Take another optimizer, or start again in another "
                "folder."
            )
        with loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with loading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        missing = set(load_result.missing_keys) - set(getattr(self.model, "all_tied_weights_keys", None) or ())
        if isinstance(self.model, AttachedRegionMixin):  # its object encoder is in a file of its own
            missing = {name for name in missing if not name.startswith("object_encoder.")}
        load_result.missing_keys[:] = sorted(missing)
        unsaved = set(getattr(self.model, "_keys_to_ignore_on_save", None) or ())
        findings = Findings(missing - unsaved, (), load_result.unexpected_keys)
        if any(findings):
            raise CheckpointError(
                f"The checkpoint to go on from does not hold the weights of this model. {findings} Delete it, to go "
                "on from an earlier one."
            )
        super()._issue_warnings_after_load(load_result)

    @property
    def keep_checkpoints(self) -> int | None:
        """Number of checkpoints to keep; `None` keeps all."""
        return self.args.save_total_limit


class VideoReferTrainer(VideoReferTrainerMixin, Trainer):
    """The trainer of this library; see [`VideoReferTrainerMixin`]."""


class _RegionCallback(TrainerCallback):
    """Passes the epoch to the data set, and measures gradients before the optimizer uses them."""

    def __init__(self, trainer: Any):
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        dataset = self._trainer.train_dataset
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(int(state.epoch or 0))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (state.global_step + 1) % max(int(args.logging_steps), 1) == 0:
            self._trainer.measure_gradients()


def _outliving(loader: Any) -> Any:
    if getattr(loader, "num_workers", 0):
        loader.worker_init_fn = partial(call_worker, loader.worker_init_fn)
    return loader


def trainer_class(name: str) -> type:
    """Return the trainer class of a name in recipes.

    Args:
        name (`str`): `"transformers"`, or `"videollama2"` for the trainer of the original package.

    Raises:
        ConfigurationError: the name is unknown, or the original package is not installed.
    """
    if name == "transformers":
        return VideoReferTrainer
    if name != "videollama2":
        raise ConfigurationError(f"Unknown trainer {name!r}; known are 'transformers' and 'videollama2'.")
    try:
        from videollama2.videollama2_trainer import VideoLLaMA2Trainer
    except ImportError as error:
        raise ConfigurationError(
            f"trainer: videollama2 needs the original videollama2 package, which cannot be imported ({error}). "
            "Install it, or use trainer: transformers."
        ) from error
    return type("VideoReferVideoLLaMA2Trainer", (VideoReferTrainerMixin, VideoLLaMA2Trainer), {})
