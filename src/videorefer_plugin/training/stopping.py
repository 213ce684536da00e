"""Signals that stop a run: a checkpoint is saved first, and all processes stop at the same step."""

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
    """A signal stopped a run; says what the same run does next.

    Attributes:
        signum (`int`): the signal.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class _StopCallback(TrainerCallback):
    """Ends a run after the step in which a signal came to any of its processes, with a checkpoint."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.come = 0  # to this process
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
    """While a trainer trains, SIGINT and SIGTERM have it save a checkpoint at the end of its step, and stop.

    A second signal stops it at once. Handlers that were there are put back in the end; in threads other than the main
    one, which get no signals, nothing is done.

    Args:
        trainer (`transformers.Trainer`): what trains; its state says how far it came.

    Raises:
        Stopped: a signal came.
    """
    callback = _StopCallback(trainer)
    trainer.add_callback(callback)

    def take(signum: int, frame: Any) -> None:
        if callback.come:
            signal.signal(signum, signal.SIG_DFL)  # a third one need not wait for Python
            raise Stopped(
                "What was done since the newest checkpoint is lost; the same run goes on from there.", signum
            )
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
    if callback.come:  # after the last step, which nobody needs to be asked to stop at
        raise Stopped("The run was at its end; the same run saves its result.", callback.come)


def call_worker(start: Callable[[int], Any] | None, number: int) -> None:
    """Start a process that loads data, which goes on when all processes of a terminal or a job get a signal.

    The process that trains needs it until its step ends. A second SIGTERM does end it, which is how it is ended
    when it hangs.

    Args:
        start (`Callable`, *optional*): what else is done at the start.
        number (`int`): of the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.signal(signum, signal.SIG_DFL))
    if start is not None:
        start(number)
