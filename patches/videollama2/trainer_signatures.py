"""`VideoLLaMA2Trainer`, and the methods of `transformers.Trainer` whose parameters have changed."""

import functools
import inspect
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

from videorefer_plugin.errors import CheckpointError, PatchError

from ..engine import Changes, Patch, expect_attribute, expect_parameters

# The file that the original saves for a run that trains the connector alone.
_CONNECTOR = "mm_projector.bin"


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
    expect_parameters(Trainer, "_load_from_checkpoint", ("resume_from_checkpoint", "model"), name)
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
        return get_train_sampler(self)  # uses self.train_dataset, which is what the trainer passes

    class FormerTrainer(Trainer):
        """A class between the two with the former parameters of `Trainer`, and its `tokenizer`."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Given both, Trainer itself raises the error.
            if "tokenizer" in kwargs and "processing_class" not in kwargs:
                kwargs["processing_class"] = kwargs.pop("tokenizer")
            super().__init__(*args, **kwargs)
            # The original's models accept the number of targets and ignore it. If Trainer relies on them, it does not
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

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            connector = Path(resume_from_checkpoint) / _CONNECTOR
            if getattr(self.args, "tune_mm_mlp_adapter", False) and connector.is_file():
                _load_connector(self.model if model is None else model, connector)
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    changes.set(trainer, "_get_train_sampler", get_train_sampler_of)
    changes.set(trainer, "__bases__", (FormerTrainer,))
    return None


def _load_connector(model: Any, file: Path) -> None:
    """Load the file of a run that trains the connector alone; the other weights are those of the base model.

    Raises:
        CheckpointError: the file is damaged, of another model, or lacks weights that are trained.
    """
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{str(file)!r} is damaged: {error}. Delete its folder to go on from the checkpoint before it."
        ) from error
    own = dict(model.named_parameters())
    lacking = [name for name, value in own.items() if value.requires_grad and name not in state]
    strange = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
    if lacking or strange:
        what = (
            f"the run trains {lacking[0]} ({len(lacking)} weights), which the original does not save where "
            "tune_mm_mlp_adapter is set. Freeze it, or leave tune_mm_mlp_adapter out"
            if lacking
            else f"its {strange[0]} is not a weight of this model, or has another shape. Delete the checkpoints to "
            "start again"
        )
        raise CheckpointError(f"Training cannot go on from {str(file)!r}: {what}.")
    model.load_state_dict(state, strict=False)


PATCH = Patch(
    name="trainer_signatures",
    target="videollama2.videollama2_trainer: VideoLLaMA2Trainer._get_train_sampler, .__bases__",
    modules=("videollama2.videollama2_trainer",),
    transformers=">=5,<6",
    package="<2",
    why="transformers 5 calls the trainer's tokenizer processing_class, passes the data set to _get_train_sampler, "
    "and no longer takes metrics in _save_checkpoint, so that train.py fails where it makes its trainer, and training "
    "at its start and at the first checkpoint. It also expects models to average over accumulated batches, so that "
    "gradients grow with gradient_accumulation_steps, and goes on from no checkpoint that holds the connector alone.",
    until="videollama2 follows the signatures of transformers 5",
    install=_install,
)
