"""The hooks of mkdocs: they add generated pages, and turn names written as in docstrings into links.

"[`Region`]" links to the page of `Region`, in docstrings and on pages alike, and a name without a page is a warning,
which ends a strict build.
"""

import logging
import re
from functools import partial
from html import escape

import pages
from mkdocs.structure.files import File

ERRORS = "<!-- every error -->"
_NAME = re.compile(r"\[<code>([A-Za-z_][\w.]*)</code>\](?!\()")
_log = logging.getLogger("mkdocs.hooks.videorefer")


def on_config(config):
    """Put the API reference after the pages that `mkdocs.yml` names."""
    config.nav.append({"API": pages.navigation()})
    return config


def on_files(files, config):
    """Add the generated pages."""
    for path, text in pages.api_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """List the errors on pages with the marker for it."""
    return markdown.replace(ERRORS, pages.error_list()) if ERRORS in markdown else markdown


def on_page_content(html, page, config, files):
    """Link the names."""
    return _NAME.sub(partial(_link, page=page), html)


def _link(found, page):
    path = pages.find(found[1], page.file.src_uri)
    if path is None:
        _log.warning("%s: [`%s`] names nothing that has a page.", page.file.src_uri, found[1])
        return f"<code>{found[1]}</code>"
    return f'<autoref identifier="{escape(path)}"><code>{found[1]}</code></autoref>'
