"""The documentation: a page for every public name, whole docstrings, blocks that run, and a build without warnings."""

import ast
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.blocks import read_blocks, run_blocks
from videorefer_plugin import errors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
EXPORTING = ("videorefer_plugin", *(f"videorefer_plugin.{room}" for room in ("bench", "training", "data_engine")))


def _load(name):
    specification = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


pages = _load("pages")
NAMES = pages.public_names()
GENERATED = pages.api_pages()


def by_path(names):
    return pytest.mark.parametrize("each", names, ids=[each.path for each in names])


# --- which pages there are -------------------------------------------------------------------------------------------


def test_every_public_name_has_a_page():
    there = {pages.identity(each): each.page for each in NAMES}
    for room in pages.ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            each = pages.PublicName(room, name, inspect.unwrap(getattr(module, name)))
            assert there[pages.identity(each)] in GENERATED, each.path


def test_every_page_has_a_public_name():
    lists = {"api/index.md", *(pages.room_page(room) for room in pages.ROOMS)}
    assert set(GENERATED) == {each.page for each in NAMES} | lists


def test_a_name_has_one_page_however_often_it_is_exported():
    identities = [pages.identity(each) for each in NAMES]
    assert len(identities) == len(set(identities))
    assert next(each for each in NAMES if each.name == "Masklet").path == "videorefer_plugin.Masklet"


def test_the_tables_of_public_names_are_among_the_rooms():
    assert set(EXPORTING) <= set(pages.ROOMS)


def test_what_the_readme_imports_has_a_page():
    paths = {each.path for each in NAMES}
    for language, body in read_blocks(ROOT / "README.md"):
        for node in ast.walk(ast.parse(body if language == "python" else "")):
            if isinstance(node, ast.ImportFrom) and node.module in pages.ROOMS[1:]:
                public = {f"videorefer_plugin.{alias.name}" for alias in node.names}
                assert public <= paths or {f"{node.module}.{alias.name}" for alias in node.names} <= paths


def test_the_table_of_contents_names_every_generated_page():
    assert sorted(_leaves(pages.navigation())) == sorted(GENERATED)


def _leaves(entry):
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [leaf for each in below for leaf in _leaves(each)]


@pytest.mark.parametrize(
    ("reference", "page", "found"),
    [
        ("ask", "index.md", "videorefer_plugin.ask"),
        ("ask", "api/videorefer_plugin/VideoSession.md", "videorefer_plugin.VideoSession.ask"),
        ("VideoSession.ask", "index.md", "videorefer_plugin.VideoSession.ask"),
        ("ask", "api/videorefer_plugin/world/Clip.md", "videorefer_plugin.world.ask"),
        ("apply", "index.md", "patches.apply"),  # where the source lies
        ("no_such_name", "index.md", None),
    ],
)
def test_names_are_found_from_near_to_far(reference, page, found):
    assert pages.find(reference, page) == found


# --- what they say ---------------------------------------------------------------------------------------------------


@by_path(NAMES)
def test_a_docstring_has_a_sentence(each):
    assert re.match(r"\S+ .*[.:)]$", pages.summary(each), re.S), pages.summary(each)


def _functions(each):
    """The function, or the public methods of the class, but for those that point at the class that documents them."""
    found = [each.value]
    if inspect.isclass(each.value):
        public = [name for name in vars(each.value) if not name.startswith("_") or name == "__call__"]
        found = [inspect.unwrap(getattr(each.value, name)) for name in public]
    functions = [getattr(one, "__func__", one) for one in found]
    return [
        one
        for one in functions
        if inspect.isfunction(one) and not (inspect.getdoc(one) or "").startswith(("See [", "See `"))
    ]


@by_path(NAMES)
def test_a_docstring_names_the_errors_that_its_function_raises(each):
    for function in _functions(each):
        raised = {
            name
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
            for name in {ast.unparse(node.exc.func)} & set(errors.__all__)
        }
        assert raised <= set(re.findall(r"\w+", inspect.getdoc(function) or "")), function.__qualname__


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_says_how_to_fix_it(name):
    assert re.search(r"^How to fix it:\n    \w+", inspect.getdoc(getattr(errors, name)), re.M)
    assert f"::: videorefer_plugin.errors.{name}\n" in pages.error_list()


# --- pages that are written by hand ----------------------------------------------------------------------------------


def test_the_table_of_contents_names_every_page_written_by_hand():
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(named) == [path.relative_to(DOCS).as_posix() for path in PAGES]


MADE = {
    "attach.md": ["my-object-encoder/object_encoder.safetensors"],
    "train.md": ["my-adapter/adapter_model.safetensors", "my-host-adapter/adapter_model.safetensors"],
    "data-engine.md": ["engine/run/records.json", "engine/run/review/review.html", "engine/figures/data_types.png"],
    "evaluate.md": ["results/report.md", "results/report.png"],
    "publish.md": ["converted/model.safetensors"],
    "describe.md": ["frame.png", "masks.png", "circle.json"],
    "lora.md": ["my-adapter/adapter_model.safetensors"],
    "records.md": ["run/records.json", "run/provenance.jsonl", "run/records.json.look"],
    "marks.md": ["marked.png", "report.md"],
}
"""What the blocks of a page leave in the desk."""


@pytest.fixture
def registries(monkeypatch):
    """What a page registers is forgotten afterwards."""
    for room in ("hosts", "segment", "bench.benchmarks", "data_engine"):
        module = importlib.import_module(f"videorefer_plugin.{room}.registry")
        for table in {"_HOSTS", "_ENTRIES", "_PATHS", "_LOADED"} & set(vars(module)):
            monkeypatch.setattr(module, table, dict(getattr(module, table)))


@pytest.mark.slow  # all pages together take minutes; `.ci/run docs` runs them
@pytest.mark.parametrize("path", PAGES, ids=[path.relative_to(DOCS).as_posix() for path in PAGES])
def test_blocks_run(path, desk, registries):
    run_blocks(read_blocks(path), path.name)
    assert [file for file in MADE.get(path.name, []) if not (desk / file).exists()] == []


def _run(page):
    return run_blocks(read_blocks(DOCS / page), page)


def test_a_converted_checkpoint_is_whole(desk):
    _run("checkpoints.md")
    for name in ("model.safetensors", "config.json", "processor_config.json"):
        assert (desk / "converted" / name).is_file()


def test_the_object_encoder_alone_gives_four_tokens(desk):
    assert _run("how-it-works.md")["tokens"].shape == (4, 768)


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_commands_that_are_shown_exist(path):
    """Also commands in `console` blocks, which nothing runs because they do not end or need weights."""
    for words in _shown_commands(path):
        known = _known_options(words)
        assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, words


def _shown_commands(path):
    """The words after "videorefer" of every command on a page."""
    for language, body in read_blocks(path):
        if language in ("bash", "console"):
            for line in body.replace("\\\n", " ").splitlines():
                for part in re.split(r" (?:&&|\|) ", line.removeprefix("$ ")):
                    words = shlex.split(part, comments=True) if "videorefer " in part else []
                    if words and words[0].split("/")[-1] == "videorefer":
                        yield words[1 : words.index("--") if "--" in words else None]  # what follows is another's


def _known_options(words):
    """The options of the command that the words call. Its name is removed from them."""
    import typer

    from videorefer_plugin.cli import app

    context, command = None, typer.main.get_command(app)
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        context = command.context_class(command, info_name=command.name, parent=context)
        command = command.get_command(context, name := words.pop(0))
        assert command is not None, f"There is no command {name!r}."
    return {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}


# --- the built site --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as a reader would, and every warning an error."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_built(site):
    wanted = [*GENERATED, *(path.relative_to(DOCS).as_posix() for path in PAGES)]
    assert [page for page in wanted if not (site / page).with_suffix(".html").is_file()] == []


@pytest.mark.slow
def test_sections_are_rendered_and_names_linked(site):
    text = (site / "api" / "videorefer_plugin" / "ask.html").read_text(encoding="utf-8")
    for section in ("Parameters:", "Returns:", "Raises:"):
        assert section in text
    assert 'href="open_video.html#videorefer_plugin.open_video"' in text


@pytest.mark.slow
def test_no_markup_of_docstrings_is_left(site):
    """Neither "[`Name`]" without a link, nor backquotes within code."""
    for path in site.glob("**/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\[<code>[A-Za-z_][\w.]*</code>\]|<code>[^<]*`[^<]*</code>", text), path


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site):
    """Links may lead out, but what makes up a page comes with it: readers may sit behind a firewall."""
    loads = re.compile(r"<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^>]*>")
    for path in site.glob("**/*.html"):
        assert loads.findall(path.read_text(encoding="utf-8")) == [], path
    styles = "".join(path.read_text(encoding="utf-8") for path in site.glob("**/*.css"))
    assert re.findall(r"url\(\"?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*;", styles) == []
