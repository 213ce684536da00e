"""`videorefer data publish`: publish the records of a run on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from videorefer_plugin.cli._shell import printer, telling
from videorefer_plugin.cli.publish import tell_report

__all__ = ["publish"]


# The token comes from `hf auth login` or HF_TOKEN only: other users of a machine can read its command lines.
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    repo_id: Annotated[str, typer.Argument(help="Data set repository on the Hub: owner/name.")],
    media_root: Annotated[
        Path | None,
        typer.Option(help="Folder that names of videos are relative to. Default: the deepest that holds all."),
    ] = None,
    allow_unknown_licenses: Annotated[
        bool, typer.Option("--allow-unknown-licenses", help="Publish although some sources name no license.")
    ] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility of a new repository. Default: the account's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, list the files and show the card, without changing anything.")
    ] = False,
    card: Annotated[
        str, typer.Option(help="If the Hub has a card written by hand: stop (auto), keep it, or overwrite it.")
    ] = "auto",
) -> None:
    """Publish records, the source of each, and a card as a data set. The videos are not uploaded.

    Log in first with `hf auth login`, or set HF_TOKEN.
    """
    from videorefer_plugin.data_engine.publishing import publish_data

    with telling() as errors:
        report = publish_data(
            folder,
            repo_id,
            media_root=media_root,
            allow_unknown_licenses=allow_unknown_licenses,
            private=private,
            dry_run=dry_run,
            card=card,
        )
    console = printer()
    for name, size in report.files.items():
        console.print(f"{name}: {size} bytes", highlight=False)
    tell_report(report, errors, console, dry_run)
