import os

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer
from transformers.trainer import ALL_LAYERNORM_LAYERS, get_parameter_names, has_length  # the first is gone


def maybe_zero_3(param, ignore_status=False, name=None):
    from deepspeed import zero
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    if hasattr(param, "ds_id"):
        assert ignore_status or param.ds_status != ZeroParamStatus.NOT_AVAILABLE
        with zero.GatheredParameters([param]):
            return param.detach().cpu().clone()
    return param.detach().cpu().clone()


class VideoLLaMA2Trainer(Trainer):
    def _get_train_sampler(self):
        if self.train_dataset is None or not has_length(self.train_dataset):
            return None
        if self.args.group_by_modality_length:
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler()

    def create_optimizer(self):
        decayed = set(get_parameter_names(self.model, ALL_LAYERNORM_LAYERS))
        named = [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
        groups = [
            {"params": [value for name, value in named if name in decayed], "weight_decay": self.args.weight_decay},
            {"params": [value for name, value in named if name not in decayed], "weight_decay": 0.0},
        ]
        optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    def _save_checkpoint(self, model, trial, metrics=None):
        if not getattr(self.args, "tune_mm_mlp_adapter", False):
            super(VideoLLaMA2Trainer, self)._save_checkpoint(model, trial, metrics)  # noqa: UP008 - as the original
            return
        folder = os.path.join(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        os.makedirs(folder, exist_ok=True)
        weights = {name: value for name, value in self.model.named_parameters() if "mm_projector" in name}
        weights = {name: maybe_zero_3(value, ignore_status=True, name=name) for name, value in weights.items()}
        self.model.config.save_pretrained(folder)
        torch.save(weights, os.path.join(folder, "mm_projector.bin"))
        self._save_optimizer_and_scheduler(folder)
        self._save_rng_state(folder)
        self.state.save_to_json(os.path.join(folder, "trainer_state.json"))
