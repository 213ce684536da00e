"""Training of a pretrained language model on the letters of options, in exercises without visuals."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.tiny.pretraining.exercises import Exercise, Exercises
from videorefer_plugin.tiny.pretraining.processing import image_processor, processor_of
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import Recipe
from videorefer_plugin.world.questions import LETTERS

__all__ = ["LettersPart"]

logger = logging.getLogger(__name__)

_IGNORED = -100
_MEASURED = 128  # exercises for measuring
_AT_ONCE = 64
_FRESH = "colors"  # the first exercise, before which the letters are untrained


class LettersPart:
    """A language model that learns the letters of options; the loss is that of letters alone.

    The run ends when the model knows enough letters of the exercises for measuring, or at its last step.

    Args:
        recipe ([`Recipe`]): recipe with `pretrain.exercise` and `pretrain.until`.
        dataset ([`VideoReferDataset`]): records whose questions have options.

    Raises:
        CheckpointError: the language model cannot be loaded.
        ConfigurationError: the records have no options.
    """

    def __init__(self, recipe: Recipe, dataset: VideoReferDataset):
        settings, train = recipe.pretrain, recipe.train
        if settings is None or settings.exercise is None:
            raise ValueError("the recipe has no exercise")
        folder = str(recipe.model.checkpoint)
        try:
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder!r} cannot be loaded as a language model: {error}") from error
        self.model.config.use_cache = False
        turns = (turn for index in range(len(dataset)) for turn in dataset[index]["record"].conversations)
        questions = [turn["content"] for turn in turns if turn["role"] == "user"]
        self.exercises = Exercises(settings.exercise, questions, train.seed)
        if settings.exercise == _FRESH:
            self._forget_letters()
        self.processor = processor_of(image_processor(64), self.tokenizer, 8)
        self.dataset = _Numbers((train.max_steps or 1) * train.global_batch_size)
        self.callback = _UntilKnown(self, settings.until, train.log_every)

    def _forget_letters(self) -> None:
        """Give letters and their brackets new vectors: those of unused tokens become too similar to tell apart."""
        text = "".join(f"{before}({letter})" for before in ("", " ") for letter in LETTERS)
        ids = sorted(set(self.tokenizer(text, add_special_tokens=False).input_ids))
        table = self.model.get_input_embeddings().weight
        with torch.no_grad():
            table[ids] = torch.randn(len(ids), table.shape[1]) * self.model.config.initializer_range

    def collator(self, samples: Sequence[int]) -> dict[str, Tensor]:
        """Return the exercises of these numbers, with labels for their letters."""
        return self.batch([self.exercises.make(number) for number in samples])

    def batch(self, exercises: Sequence[Exercise]) -> dict[str, Tensor]:
        """Return tokens and labels of exercises, `(batch, length)`, padded on the right."""
        texts, heads = [], []
        for exercise in exercises:
            head = "" if exercise.question is None else self._asked(exercise.question)
            texts.append(head + exercise.text)
            heads.append(len(head))
        encoded = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        rows, labels = [], []
        for ids, offsets, skipped, exercise in zip(
            encoded["input_ids"], encoded["offset_mapping"], heads, exercises, strict=True
        ):
            places = {skipped + place for place in exercise.letters}
            known = [any(start <= place < end for place in places) for start, end in offsets]
            rows.append(torch.tensor(ids))
            labels.append(torch.where(torch.tensor(known), rows[-1], _IGNORED))
        pad = nn.utils.rnn.pad_sequence
        padding = self.tokenizer.pad_token_id
        return {"input_ids": pad(rows, True, padding), "labels": pad(labels, True, _IGNORED)}

    def _asked(self, question: str) -> str:
        messages = [{"role": "user", "content": question}]
        return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    @torch.no_grad()
    def known(self) -> float:
        """Return the share of letters in the exercises for measuring that the model knows, from 0 to 1."""
        training = self.model.training
        self.model.eval()
        device, right = next(self.model.parameters()).device, []
        for first in range(0, _MEASURED, _AT_ONCE):
            batch = self.batch([self.exercises.make(first + number, kept_back=True) for number in range(_AT_ONCE)])
            wanted = batch["labels"][:, 1:]
            said = self.model(input_ids=batch["input_ids"].to(device)).logits[:, :-1].argmax(-1).cpu()
            right.append((said == wanted)[wanted != _IGNORED])
        self.model.train(training)
        return float(torch.cat(right).double().mean())

    def save(self, folder: Path) -> None:
        """Save model and tokenizer."""
        self.model.config.use_cache = True
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class _Numbers(Dataset):
    """The numbers of exercises; the collator makes the exercises."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class _UntilKnown(TrainerCallback):
    """Ends a run as soon as enough letters are known, and logs that, or warns at the end if they are not."""

    def __init__(self, part: LettersPart, until: float, every: int):
        self.part, self.until, self.every = part, until, every
        self.trainer: Any = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        share = torch.tensor(self.part.known(), device=args.device)
        known = float(self.trainer.accelerator.reduce(share, reduction="mean"))  # all processes end at the same step
        due = control.should_log  # writing a log resets this
        self.trainer.log({"letters_known": round(known, 4)})
        control.should_log = due
        if known >= self.until:
            control.should_training_stop = True
        elif state.global_step >= state.max_steps:
            logger.warning(
                "After %d steps, %.1f %% of letters are known, less than the %.1f %% that pretrain.until asks for. "
                "Later stages may not learn them; train.max_steps gives the exercise more time.",
                state.global_step,
                100 * known,
                100 * self.until,
            )
