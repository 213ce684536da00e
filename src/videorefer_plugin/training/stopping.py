"""Stops runs after signals: a checkpoint is saved first, and all processes stop at the same step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.utils import logging

__all__ = ["Stopped", "call_worker", "stopping"]

logger = logging.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal stopped a run. The message tells what the same run does next.

    Attributes:
        signum (`int`): the signal.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class _StopCallback(TrainerCallback):
    """Ends a run with a checkpoint after the step in which any of its processes got a signal."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.come = 0  # the signal that this process got
        self.agreed = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.agreed = self.come
        if args.world_size > 1:
            come = torch.tensor([self.come], device=args.device)
            self.agreed = int(self._trainer.accelerator.gather(come).max())
        if self.agreed:
            control.should_save = control.should_training_stop = True


@contextmanager
def stopping(trainer: Any) -> Iterator[None]:
    """Make a trainer save a checkpoint at the end of its step, and stop, when SIGINT or SIGTERM comes.

    A second signal stops it at once. The previous handlers are restored at the end. In threads other than the main
    one, which get no signals, handlers are not changed.

    Args:
        trainer (`transformers.Trainer`): the trainer, whose state has the current step.

    Raises:
        Stopped: a signal came.
    """
    callback = _StopCallback(trainer)
    trainer.add_callback(callback)

    def take(signum: int, frame: Any) -> None:
        if callback.come:
            signal.signal(signum, signal.SIG_DFL)  # a third signal does not wait for Python
            raise Stopped("The steps since the newest checkpoint are lost; the same run goes on from there.", signum)
        callback.come = signum
        logger.warning(
            "%s: a checkpoint is saved at the end of this step, and the run stops there. A second signal stops it at "
            "once.",
            signal.Signals(signum).name,
        )

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {signum: signal.signal(signum, take) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        trainer.remove_callback(callback)
    if callback.agreed:
        raise Stopped(
            f"checkpoint-{trainer.state.global_step} is saved in {trainer.args.output_dir}; the same run goes on from "
            "there.",
            callback.agreed,
        )
    if callback.come:  # after the last step, at which the run ends anyway
        raise Stopped("The run was at its end; the same run saves its result.", callback.come)


def call_worker(start: Callable[[int], Any] | None, number: int) -> None:
    """Start a process that loads data, which ignores signals to all processes of a terminal or job.

    The training process needs it until its step ends. A second SIGTERM ends it, so that a hanging process can be
    ended.

    Args:
        start (`Callable`, *optional*): function that is called at the start.
        number (`int`): number of the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.signal(signum, signal.SIG_DFL))
    if start is not None:
        start(number)
