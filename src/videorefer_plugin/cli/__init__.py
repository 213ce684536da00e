"""The command line: one file for each command, which imports heavy packages only when it runs."""

from typing import Annotated

import typer

from videorefer_plugin import __version__
from videorefer_plugin.cli import bench, data, demo, publish, train, world
from videorefer_plugin.cli._shell import Commands
from videorefer_plugin.cli.app import app as page
from videorefer_plugin.cli.ask import ask
from videorefer_plugin.cli.env import env
from videorefer_plugin.cli.in_order import InOrder
from videorefer_plugin.cli.segment import segment
from videorefer_plugin.cli.serve import serve

__all__ = ["app"]

app = typer.Typer(
    name="videorefer",
    cls=Commands,
    help="Point at an object in a video and ask about it.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.command("app")(page)
app.command(cls=InOrder)(ask)
app.command()(demo.demo)
app.command()(env)
app.command()(publish.publish)
app.command(cls=InOrder)(segment)
app.command()(serve)
app.command()(world.world)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"videorefer-plugin {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Point at an object in a video and ask about it."""
