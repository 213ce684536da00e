"""Options that locate objects, in the order of the command line."""

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from videorefer_plugin.regions.text import REGION_KINDS

__all__ = ["InOrder"]

_KINDS = (*REGION_KINDS, "negative")
_TRACK, _TRACKER = "--track", "classical"
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]*(?:\.[0-9][A-Za-z0-9_-]*)*")  # "sam2.1-video", but not "clip.mp4"


class InOrder(TyperCommand):
    """A command that keeps the order in which objects of different kinds were given, in `context.meta["given"]`.

    Its option `--track`, if it has one, may be given without a value.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep kinds and texts in order; Click itself groups the values by option."""
        args = _with_tracker(args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))  # an option as often as it was given
        rest = super().parse_args(ctx, args)
        texts = {kind: iter(ctx.params.get(kind) or []) for kind in _KINDS}
        kinds = [param.name for param in order if param.name in texts]
        ctx.meta["given"] = [] if ctx.resilient_parsing else [(kind, next(texts[kind])) for kind in kinds]
        return rest


def _with_tracker(args: list[str]) -> list[str]:
    """Return the arguments with a name for `--track` where none follows it."""
    written: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return written + args[place:]
        alone = arg == _TRACK and not _is_tracker(args[place + 1 : place + 2])
        written.append(f"{_TRACK}={_TRACKER}" if alone else arg)
    return written


def _is_tracker(following: list[str]) -> bool:
    """Return whether the argument after `--track` is its value, and not VIDEO or QUESTION.

    The name of a segmenter is a value. So is a word that looks like such a name and is not a file, so that the error
    lists the known names. In `--track VIDEO` and `--track "What is it?"`, the option has no value.
    """
    from videorefer_plugin.segment.registry import segmenters

    if not following:
        return False
    value = following[0]
    return value in segmenters() or (bool(_NAME.fullmatch(value)) and not (value and Path(value).exists()))
