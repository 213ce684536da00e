"""Tables of reports in Markdown, and the format of figures in them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "LISTED",
    "Result",
    "cell",
    "comparable",
    "drawn",
    "escaped",
    "judged_by",
    "label",
    "mode_of",
    "percent",
    "remarks",
    "table",
]

Result = Mapping[str, Any]
LISTED = 20  # items named in one remark
_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~$]")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with text in the first column, and figures in all others."""
    lines = [[_inside(text) for text in cells] for cells in (columns, *rows)]
    lines.insert(1, ["---"] + ["---:"] * (len(columns) - 1))
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _inside(text: str) -> str:
    """Return a text escaped for a table."""
    return " ".join(text.splitlines()).replace("|", "\\|")


def cell(value: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    """Return a figure with its interval, or a dash."""
    if value is None:
        return "-"
    low_high = f" ({interval[0]:.{digits}f}-{interval[1]:.{digits}f})" if interval else ""
    return f"{value:.{digits}f}{low_high}"


def percent(share: Mapping[str, Any]) -> str:
    """Return a share of right answers in percent with its interval, or a dash."""
    if share["accuracy"] is None:
        return "-"
    return cell(100 * share["accuracy"], [100 * end for end in share["interval"]] if share["interval"] else None)


def mode_of(result: Result) -> str:
    """Return the mode of a result: `"single"` or `"multi"`."""
    return str(result["settings"].get("mode", ""))


def label(result: Result) -> str:
    """Return a label with the model, the form in which it saw objects, and the mode."""
    return f"{result['name']}, {result['settings'].get('sees', '')}, {mode_of(result)}-frame"


def escaped(text: Any) -> str:
    """Return a text escaped for Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(text).split()))


def judged_by(result: Result) -> str:
    """Return the judge of a result, the dates, and the prompt's hash."""
    judge = result["judge"]
    temperature = f", temperature {judge['temperature']}" if "temperature" in judge else ""
    dates = " to ".join(dict.fromkeys(result["dates"]))
    called = f" ({escaped(result['judge_prompt'])})" if "judge_prompt" in result else ""
    return f"judged by {judge['name']}{temperature}, {dates or 'never'}, prompt {judge['prompt_hash']}{called}"


def comparable(results: Sequence[Result], own: str) -> str:
    """Return a sentence on the comparability of judged figures; `own` is the hash of this library's prompt."""
    hashes = {result["judge"]["prompt_hash"] for result in results if result["scores"] is not None}
    if hashes and own not in hashes:
        return "Figures of different judges, or of different prompts of a judge, cannot be compared."
    wording, these = ("", "these") if hashes <= {own} else (f" {own}", "those of it")
    return (
        f"The judge's wording{wording} is this library's, so that figures published elsewhere cannot be compared with "
        f"{these}, and neither can those of different judges."
    )


def drawn(text: str) -> str:
    """Return a text escaped for matplotlib, which would read a formula between two `$`."""
    return text.replace("$", r"\$")


def remarks(result: Result) -> list[str]:
    """Return the missing parts of a result, as items of a list."""
    lines = []
    if result["answered"] < result["items"]:
        lines.append(f"- {label(result)}: **incomplete**, {result['answered']} of {result['items']} items answered.")
    skipped = list(result.get("skipped", {}).values())
    if skipped:
        lines.append(f"- {label(result)}: {len(skipped)} not used, and not counted among the items:")
        lines += [f"  - {reason}" for reason in skipped[:LISTED]]
        if len(skipped) > LISTED:
            lines.append(f"  - ... and {len(skipped) - LISTED} more")
    for identity, reason in list(result["failed"].items())[:LISTED]:
        lines.append(f"- {label(result)}: item {identity} failed: {reason}")
    return lines
