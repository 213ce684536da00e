"""Options that say where objects are, in the order in which they were given."""

from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from videorefer_plugin.regions.text import REGION_KINDS

__all__ = ["InOrder"]

_KINDS = (*REGION_KINDS, "negative")
_TRACK, _TRACKER = "--track", "classical"


class InOrder(TyperCommand):
    """A command that knows in which order objects of different kinds were given, as `context.meta["given"]`.

    Its option `--track`, if it has one, may stand without a value.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note kinds and texts; the options by themselves are sorted by name."""
        args = _with_tracker(args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))  # an option as often as it was given
        rest = super().parse_args(ctx, args)
        texts = {kind: iter(ctx.params.get(kind) or []) for kind in _KINDS}
        kinds = [param.name for param in order if param.name in texts]
        ctx.meta["given"] = [] if ctx.resilient_parsing else [(kind, next(texts[kind])) for kind in kinds]
        return rest


def _with_tracker(args: list[str]) -> list[str]:
    """The same arguments, with a name for `--track` where none follows it.

    What follows is its value if it can be a name and is no file: `--track VIDEO` and `--track "What is it?"` stand
    without one.
    """
    written: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return written + args[place:]
        value = args[place + 1] if place + 1 < len(args) else ""
        alone = arg == _TRACK and not (value.isidentifier() and not Path(value).exists())
        written.append(f"{_TRACK}={_TRACKER}" if alone else arg)
    return written
