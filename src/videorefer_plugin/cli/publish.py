"""`videorefer publish`: put a folder on the Hub."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from videorefer_plugin.cli._shell import printer, telling

__all__ = ["publish", "tell_report"]


class Card(str, Enum):
    """The treatment of a card that was written by hand."""

    auto = "auto"
    keep = "keep"
    overwrite = "overwrite"


# The token comes from `hf auth login` or HF_TOKEN only: other users of a machine can read its command lines.
def publish(
    folder: Annotated[Path, typer.Argument(help="A saved model and processor, PEFT adapter or object encoder.")],
    repo_id: Annotated[str, typer.Argument(help="Repository on the Hub: owner/name.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, list the files and show the card, without changing anything.")
    ] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility of a new repository. Default: the account's.")
    ] = None,
    card: Annotated[
        Card, typer.Option(help="If README.md was written by hand: stop (auto), keep it, or overwrite it.")
    ] = Card.auto,
    revision: Annotated[str | None, typer.Option(help="Branch to publish to.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of a commit.")] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Publish this file of the folder, too. May be repeated. Links are refused."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Publish a folder with weights, processor and model card, so that it loads with AutoModel and AutoProcessor.

    Files that do not belong to a checkpoint are left out and listed; --include
    adds one. Texts with a key or a password are refused.

    Log in first with `hf auth login`, or set HF_TOKEN.
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
    """Print the files that are left out or removed, and the address."""
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
