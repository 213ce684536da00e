"""Shared parts of all commands: consoles, progress bars, and exit codes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from videorefer_plugin._text import cut
from videorefer_plugin.errors import VideoReferError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["GOES_ON", "Commands", "bars", "failed", "interrupted", "printer", "telling", "warn"]

GOES_ON = "Interrupted. The same command goes on from here."
"""The message of an interrupted command that continues when it is started again."""

_FAILED = 1
_LONGEST_NAME = 200
_SIGNALED = 128  # a shell reports this plus the number of the signal for a command that a signal ended

_came: int = signal.SIGINT  # the signal of the newest interruption


class Commands(TyperGroup):
    """The group of all commands. They end with a message if their output cannot be written, as on a full disk."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            result = super().main(*args, **kwargs)
        except SystemExit:
            _flush()
            raise
        except OSError as error:
            raise _unprinted(error) from None
        _flush()
        return result


def _flush() -> None:
    """Flush standard output, so that errors of it are raised here and not at the end of the process."""
    if sys.stdout is None:  # the parent process closed it
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _unprinted(error) from None


def _unprinted(error: OSError) -> SystemExit:
    """Return the exit of a command whose output cannot be written; the end of the process does not try again."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a file, or none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):  # after a broken pipe, nobody reads the message
        print(_refusal(error), file=sys.stderr)
    return SystemExit(_FAILED)


@contextmanager
def telling(stopped: str = "") -> Iterator["Console"]:
    """Yield the console for messages beside the result. It shows the library's errors, which end the command.

    An error of the library, or of the system about a named file or folder, ends the command with exit code 1. An
    interruption ends it with 130. The command prints the interruption's own message if it has one (runs tell how far
    they came), and `stopped` if not. SIGTERM, which schedulers and containers send, counts as an interruption and ends
    the command with 143.

    Args:
        stopped (`str`): the message for an interruption without one of its own. Leave it empty for commands that
            cannot be continued; they print no message.
    """
    global _came

    errors = printer(stderr=True)
    _came = signal.SIGINT
    try:
        with _terminable():
            yield errors
    except VideoReferError as error:
        raise failed(errors, error) from error
    except BrokenPipeError:
        raise  # the reader has closed the pipe, which Typer handles
    except OSError as error:
        raise failed(errors, OSError(_refusal(error))) from error
    except KeyboardInterrupt as stop:
        _came = getattr(stop, "signum", _came)
        said = f"Interrupted. {stop}" if str(stop) else stopped
        if said:
            raise interrupted(errors, said) from None
        if _came == signal.SIGINT:
            raise  # Typer ends the command, with the same number
        raise typer.Exit(_SIGNALED + _came) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM as an interruption. Other threads than the main one get no signals, so nothing changes there."""

    def interrupt(signum: int, frame: Any) -> None:
        global _came

        _came = signum
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _refusal(error: OSError) -> str:
    """Return the message of the system's error, with the file or folder if the system named one."""
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"The system could not read or write a file: {said}."
    named = cut(os.fsdecode(error.filename), _LONGEST_NAME)
    return f"{named!r} cannot be used: {said}. Name another file or folder, or free this one."


def failed(errors: "Console", error: Exception) -> typer.Exit:
    """Print an error, and return the exception that ends the command."""
    errors.print(str(error), style="red", highlight=False)
    return typer.Exit(_FAILED)


def interrupted(errors: "Console", said: str) -> typer.Exit:
    """Print that the command was interrupted, and return the exception that ends it."""
    warn(errors, said)
    return typer.Exit(_SIGNALED + _came)


def warn(errors: "Console", said: str) -> None:
    """Print a warning: the command succeeds, but the user should know of this."""
    errors.print(said, style="yellow", highlight=False)


def printer(*, stderr: bool = False, soft_wrap: bool = False) -> "Console":
    """Return a console that prints texts as they are, without markup or emoji."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False)


@contextmanager
def bars(
    errors: "Console", *, rate: bool = False, one: bool = False, stay: bool = False
) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress bars. Yields a function that takes a bar's label, the amount done and the total.

    Args:
        errors (`Console`): the console that shows the bars.
        rate (`bool`): also show the number done per second or minute.
        one (`bool`): show only the newest bar.
        stay (`bool`): leave the bars on the screen at the end.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if not speed else f"{speed:.1f}/s" if speed >= 1 else f"{speed * 60:.1f}/min")

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), *([Rate()] if rate else []), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=not stay) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for before in tasks.values() if one else ():
                    bar.update(before, visible=False)
                tasks[what] = bar.add_task(what, completed=done, total=total or None)
            bar.update(tasks[what], completed=done, total=total or None)

        yield tell
