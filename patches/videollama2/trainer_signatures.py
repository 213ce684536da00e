"""`VideoLLaMA2Trainer`, and what of `transformers.Trainer` takes other parameters than it did."""

import functools
import inspect
from types import ModuleType
from typing import Any

from videorefer_plugin.errors import PatchError

from ..engine import Changes, Patch, expect_attribute, expect_parameters


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    from transformers import Trainer

    name = PATCH.name
    trainer = expect_attribute(module, "VideoLLaMA2Trainer", name)
    if "train_dataset" in inspect.signature(expect_attribute(trainer, "_get_train_sampler", name)).parameters:
        return "VideoLLaMA2Trainer takes train_dataset already"
    get_train_sampler = expect_parameters(trainer, "_get_train_sampler", (), name)
    expect_parameters(trainer, "_save_checkpoint", ("model", "trial", "metrics"), name)
    expect_parameters(Trainer, "_get_train_sampler", ("train_dataset",), name)
    expect_parameters(Trainer, "_save_checkpoint", ("model", "trial"), name)
    if "processing_class" not in inspect.signature(Trainer).parameters:
        raise PatchError(
            f"The patch {name!r} expects transformers.Trainer to take processing_class, but it does not. Leave it out "
            f"with skip=({name!r},)."
        )
    if trainer.__bases__ != (Trainer,):
        raise PatchError(
            f"The patch {name!r} expects VideoLLaMA2Trainer to be derived from transformers.Trainer, but its bases "
            f"are {', '.join(base.__name__ for base in trainer.__bases__)}. Leave it out with skip=({name!r},)."
        )

    @functools.wraps(get_train_sampler)
    def get_train_sampler_of(self: Any, train_dataset: Any = None) -> Any:
        return get_train_sampler(self)  # looks at self.train_dataset, which is what the trainer passes

    class FormerTrainer(Trainer):
        """Between the two: takes what `Trainer` took when the original was written, and has its `tokenizer`."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Given both, Trainer itself says that there is no such argument.
            if "tokenizer" in kwargs and "processing_class" not in kwargs:
                kwargs["processing_class"] = kwargs.pop("tokenizer")
            super().__init__(*args, **kwargs)
            # The original's models take the number of targets and drop it. If Trainer counts on them, it does not
            # divide by the number of batches whose gradients it accumulates.
            self.model_accepts_loss_kwargs = False

        @property
        def tokenizer(self) -> Any:
            return self.processing_class

        @tokenizer.setter
        def tokenizer(self, tokenizer: Any) -> None:
            self.processing_class = tokenizer

        def _save_checkpoint(self, model: Any, trial: Any, metrics: Any = None) -> None:
            super()._save_checkpoint(model, trial)

    changes.set(trainer, "_get_train_sampler", get_train_sampler_of)
    changes.set(trainer, "__bases__", (FormerTrainer,))
    return None


PATCH = Patch(
    name="trainer_signatures",
    target="videollama2.videollama2_trainer: VideoLLaMA2Trainer._get_train_sampler, .__bases__",
    modules=("videollama2.videollama2_trainer",),
    transformers=">=5,<6",
    package="<2",
    why="transformers 5 calls the trainer's tokenizer processing_class, passes the data set to _get_train_sampler, "
    "and no longer takes metrics in _save_checkpoint, so that train.py fails where it makes its trainer, and training "
    "at its start and at the first checkpoint. It also expects models to average over accumulated batches, so that "
    "gradients grow with gradient_accumulation_steps.",
    until="videollama2 follows the signatures of transformers 5",
    install=_install,
)
