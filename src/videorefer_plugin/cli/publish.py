"""`videorefer publish`: put a folder on the Hub."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["publish", "tell_report"]


class Card(str, Enum):
    """What becomes of a card that was written by hand."""

    auto = "auto"
    keep = "keep"
    overwrite = "overwrite"


# The token comes from `hf auth login` or HF_TOKEN only: other users of a machine can read its command lines.
def publish(
    folder: Annotated[Path, typer.Argument(help="A saved model and processor, PEFT adapter or object encoder.")],
    repo_id: Annotated[str, typer.Argument(help="Repository on the Hub: owner/name.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, list the files and show the card; change nothing.")
    ] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="For a new repository; the account's default otherwise.")
    ] = None,
    card: Annotated[
        Card, typer.Option(help="A README.md written by hand is an error (auto), kept, or overwritten.")
    ] = Card.auto,
    revision: Annotated[str | None, typer.Option(help="Branch to publish to.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    include: Annotated[
        list[str] | None, typer.Option(help="Publish also this file of the folder; may be repeated. No links.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Publish a folder so that it loads with AutoModel and AutoProcessor: weights, processor, model card.

    Files that no checkpoint has are left out and listed; --include adds one. A key or a password in a text is refused.

    Log in before with `hf auth login`, or set HF_TOKEN.
    """
    from rich.table import Table

    from videorefer_plugin import hub

    with telling() as errors:
        report = hub.publish(
            folder,
            repo_id,
            private=private,
            dry_run=dry_run,
            card=card.value,
            revision=revision,
            create_pr=create_pr,
            commit_message=message,
            include=include or (),
        )
    console = printer()
    table = Table(title=f"{report.repo_id}: {len(report.files)} files, {_size(sum(report.files.values()))}")
    table.add_column("file")
    table.add_column("size", justify="right")
    for name, size in report.files.items():
        table.add_row(name, _size(size))
    console.print(table)
    tell_report(report, errors, console, dry_run)


def tell_report(report: Any, errors: Any, console: Any, dry_run: bool) -> None:
    """Say what is published beside the files, and where."""
    for name, reason in report.left_out.items():
        console.print(f"left out: {name} ({reason})", highlight=False)
    for name in report.removed:
        console.print(f"removed from the repository: {name}", highlight=False)
    if dry_run:
        typer.echo(f"\n{report.card}")
        errors.print("Dry run: nothing was written or uploaded.")
    else:
        typer.echo(report.url)


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
