"""The words of code and pages: plain technical English, without the turns of phrase listed in CONTRIBUTING.md."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "patches", "recipes", "hub_cards", "docs")
ENDINGS = {".py", ".yaml", ".jinja", ".md"}
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")

# Data is not reworded for style: files of the embedded checkpoint, and the literals of modules with prompts, word
# lists or the language of the shapes world.
CHECKPOINTS = ("chat_template.jinja", "embedded/checkpoint/")
PROMPTS = (
    "bench/benchmarks/descriptions.py",
    "bench/benchmarks/dlc.py",
    "bench/judge_prompts.py",
    "data_engine/agents/captioner_endpoint.py",
    "data_engine/agents/refiner_prompts.py",
    "data_engine/agents/refiner_replies.py",  # its errors are sent to the model
    "data_engine/agents/reviewer_chat.py",
    "data_engine/agents/static_actions.py",
    "world/judge.py",
    "world/language.py",
)
STYLE_PAGE = "## Words"  # the section of CONTRIBUTING.md that quotes these phrases


# The phrases that should not be written, and how to write them instead. A blank stands for a line break as well.
TICS = {
    # A question may begin like this, and so may a prompt that continues with a region or a value.
    r"\b[Ww]hat (?:is|was|are|were|has|had|comes|came|becomes|became|remains|can|may) (?![<{\"]|[^.!]*\?)": "name it",
    r"\b(?:[Ww]hoever|[Ss]omebody|[Ss]omeone who|[Tt]hose who|[Bb]oth that)\b": "users, callers, both commands",
    r"\b(?:is|are|was|were|be) said\b": "say who says it: the message names, the report lists, a warning says",
    r"(?<!here\s)\b(?:is|are|was|were) no (?!longer|more|less|fewer|one\b|better|larger|smaller)": "is not a",
    r"\bspeaks? of\b": "names, mentions, refers to",
    # "place" as a verb, as in "hooks that place tokens", is fine.
    r"\bin place of\b": "instead of",
    r"\b(?:a|the|its|their|this|each|every|one|same|first|last) places?\b": "position, slot, path, folder, address",
    r"\b(?:in|at|of|from|to) that place\b": "position, slot, path, folder, address",
    r"\banew\b": "again",
    r"\botherwise than\b": "differently from",
    r"\bof (?:no|any) use\b": "unusable, or the reason why",
    r"\b(?:is|are) (?:not )?to be had\b": "available",
    # American spelling
    r"\b(?:learnt|spelt|burnt|whilst|amongst)\b": "learned, spelled, burned, while, among",
    r"\b[Ll]icence": "license",
    r"\b[Gg]rey\b": "gray",
    r"\b[Cc]entre": "center",
    r"\b(?:[Cc]ol|[Bb]ehavi|[Nn]eighb|[Ff]av|[Hh]on|[Ll]ab)our": "-or",
    r"\b(?:[Aa]rtefact|[Cc]atalogue|[Pp]rogramme\b|[Dd]efence)": "artifact, catalog, program, defense",
    r"(?:nitial|ormal|ecogn|ummar|rgan|erial|oken|ptim|isual)is(?:e|ed|es|er|ers|ing|ations?)\b": "-ize",
    r"(?:eneral|uant|inim|axim|til|iorit|ynchron|ategor|ustom|tandard)is(?:e|ed|es|er|ing|ations?)\b": "-ize",
    r"\b(?:label|model|cancel|travel|signal)l(?:ed|ing)\b": "one l",
}
COMPILED = {re.compile(pattern.replace(" ", r"\s+")): better for pattern, better in TICS.items()}
ANY = re.compile("|".join(pattern.replace(" ", r"(?:\s|#)+") for pattern in TICS))  # also across lines of comments


def prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """First line and text of every docstring, literal and block of comments of a module, or all of another file."""
    if path.suffix != ".py":
        start, _, rest = text.partition(f"\n{STYLE_PAGE}\n")
        skipped, heading, rest = rest.partition("\n## ")
        yield 1, start
        yield len((start + skipped).splitlines()) + 3, heading + rest
        return
    only_docstrings = path.as_posix().endswith(PROMPTS)
    tree = ast.parse(text)
    documented = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    docstrings = [node.body[0].value for node in documented if ast.get_docstring(node)]
    for node in docstrings if only_docstrings else ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    block: list[str] = []
    first = 0
    with path.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type == tokenize.COMMENT:
                if token.start[0] != first + len(block):
                    yield first, "\n".join(block)
                    first, block = token.start[0], []
                block.append(token.string.lstrip("#"))
    yield first, "\n".join(block)


def tics(path: Path) -> Iterator[str]:
    """Every phrase of the list in a file, with its line and the words to write instead."""
    text = path.read_text(encoding="utf-8")
    if not ANY.search(text):  # most files need no parsing
        return
    for line, block in prose(path, text):
        words = re.sub(r"`[^`\n]*`|https?://\S+", "``", block)
        for pattern, better in COMPILED.items():
            for found in pattern.finditer(words):
                number = line + words.count("\n", 0, found.start())
                yield f"{path.relative_to(ROOT).as_posix()}:{number}: {' '.join(found[0].split())!r}: {better}"


def files() -> list[Path]:
    """All files that are written for readers."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in ENDINGS]
    read = [path for path in found if not any(part in path.as_posix() for part in CHECKPOINTS)]
    return sorted(read) + [ROOT / name for name in PAGES]


def test_no_phrase_of_the_list_is_written():
    found = [line for path in files() for line in tics(path)]
    assert not found, "\n".join([f"{len(found)} phrases; see {STYLE_PAGE!r} in CONTRIBUTING.md:", *found])


def test_the_check_reads_across_lines_and_leaves_questions_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    module, page = tmp_path / "some.py", tmp_path / "CONTRIBUTING.md"
    module.write_text('"""Keeps what\n    is left."""\n\n# Of what\n# was read.\nASK = "What is <region>"\n')
    page.write_text(f"A\n\n{STYLE_PAGE}\n\nanew\n\n## Code\n\n`anew`, anew\n")
    found = [line for path in (module, page) for line in tics(path)]
    assert found == [
        "some.py:1: 'what is': name it",
        "some.py:4: 'what was': name it",
        "CONTRIBUTING.md:9: 'anew': again",
    ]
