"""`videorefer data`: make object-level data from videos with captions."""

import typer

__all__ = ["app"]

app = typer.Typer(help="Make object-level data from videos with captions or masks.", no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Keep the names of commands, also while there is only one."""
