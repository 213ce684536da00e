"""What every command shares: where it prints, how it shows how far it is, and how it ends."""

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
"""What a command says that was interrupted and can simply be started again."""

_FAILED = 1
_LONGEST_NAME = 200
_SIGNALED = 128  # what a shell reports for a command that a signal ended, with the number of the signal added

_came: int = signal.SIGINT  # the signal of the newest interruption


class Commands(TyperGroup):
    """All commands, which end with a sentence where nothing can be printed, such as on a full disk."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that is named."""
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
    """Print what is left, so that nothing can go wrong with it at the end of the process."""
    if sys.stdout is None:  # closed by whoever started the command
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _unprinted(error) from None


def _unprinted(error: OSError) -> SystemExit:
    """What ends a command whose output cannot be written, so that it is not tried again at the end of the process."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a file, or none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):  # where nobody reads any more, nobody asks why
        print(_refusal(error), file=sys.stderr)
    return SystemExit(_FAILED)


@contextmanager
def telling(stopped: str = "") -> Iterator["Console"]:
    """The console for what is said beside the result; errors of the library are said there and end the command.

    An error ends it with 1, and so does what the system says of a file or folder by its name. An interruption ends it
    with 130, and is said if it explains itself, as those of runs do that know how far they came, or else if the
    command has something to say. SIGTERM, by which schedulers and containers end what they run, is an interruption as
    well, which ends it with 143.

    Args:
        stopped (`str`): what is said of an interruption that does not explain itself. A command that gives nothing
            has nothing to go on with, so that no interruption is said there.
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
        raise  # nobody reads what is written any more, which Typer knows how to end
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
    """Take SIGTERM for an interruption. In threads other than the main one, which get no signals, nothing is done."""

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
    """What the system said, of which file or folder if it said so."""
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"The system could not read or write what it was asked to: {said}."
    named = cut(os.fsdecode(error.filename), _LONGEST_NAME)
    return f"{named!r} cannot be used: {said}. Name another file or folder, or free this one."


def failed(errors: "Console", error: Exception) -> typer.Exit:
    """Say an error; what is returned ends the command when it is raised."""
    errors.print(str(error), style="red", highlight=False)
    return typer.Exit(_FAILED)


def interrupted(errors: "Console", said: str) -> typer.Exit:
    """Say that the command was interrupted; what is returned ends it when it is raised."""
    warn(errors, said)
    return typer.Exit(_SIGNALED + _came)


def warn(errors: "Console", said: str) -> None:
    """Say something that the user should know, although the command does what it was asked."""
    errors.print(said, style="yellow", highlight=False)


def printer(*, stderr: bool = False, soft_wrap: bool = False) -> "Console":
    """A console that prints texts as they are, without markup or emoji."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False)


@contextmanager
def bars(
    errors: "Console", *, rate: bool = False, one: bool = False, stay: bool = False
) -> Iterator[Callable[[str, int, int], None]]:
    """Bars of what is done: gives a function that takes what it is, how much is done, and of how much.

    Args:
        errors (`Console`): where they are drawn.
        rate (`bool`): also show how many are done in a second or minute.
        one (`bool`): show only the newest bar.
        stay (`bool`): leave them on the screen.
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
