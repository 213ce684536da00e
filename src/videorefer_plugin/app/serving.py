"""Serves the page."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videorefer_plugin.app.check_tab import CheckTab
from videorefer_plugin.app.checking import Desk
from videorefer_plugin.app.examples import examples
from videorefer_plugin.app.layout import Layout
from videorefer_plugin.app.passwords import check_host
from videorefer_plugin.app.shelf import Shelf
from videorefer_plugin.app.style import CSS, theme
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.app.wiring import Wiring
from videorefer_plugin.errors import AppError

__all__ = ["Served", "build", "serve"]

_CACHE = (600, 3600)  # seconds between deletions of shown pictures, and their age
_WAITING = 64  # requests
# The page loads from this server only, even if gradio or a text on the page asks for more.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


@dataclass
class Served:
    """A page that is being served.

    Attributes:
        url (`str`): address of the page.
        blocks: the page.
        shelf ([`Shelf`]): the work of its visitors.
    """

    url: str
    blocks: Any
    shelf: Shelf


class Guarded:
    """Adds headers to every answer that keep the page from loading anything from other servers."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [header for header in message["headers"] if header[0].lower() not in _HEADERS]
                message = {**message, "headers": [*given, *_HEADERS.items()]}
            await send(message)

        await self.app(scope, receive, guarded)


def build(shelf: Shelf, check: CheckTab | None = None) -> gr.Blocks:
    """Build the page, without serving it.

    Args:
        shelf ([`Shelf`]): the work of visitors.
        check ([`CheckTab`], *optional*): the check of a Reviewer, in a tab of its own.
    """
    given = examples()
    page = Layout(shelf.tools)
    with gr.Blocks(title="VideoRefer", analytics_enabled=False, delete_cache=_CACHE, fill_width=True) as blocks:
        if check is None:
            page.build(list(given))
        else:
            with gr.Tab("Click and talk"):
                page.build(list(given))
            with gr.Tab("Check a Reviewer"):
                check.build()
            blocks.load(check.begin, None, check.outputs, show_progress="hidden", api_visibility="private")
        Wiring(page, shelf, given).connect(blocks)
    return blocks


@contextmanager
def serve(
    tools: Tools,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    auth: tuple[str, str] | None = None,
    desk: Desk | None = None,
) -> Iterator[Served]:
    """Serve the page until the block ends. All files of visitors are deleted then.

    Args:
        tools ([`Tools`]): model and segmenter.
        host (`str`, *optional*, defaults to `"127.0.0.1"`): address to serve on.
        port (`int`, *optional*): the first free one from 7860 by default.
        auth (*optional*): name and password, which are required on an address that other machines can reach.
        desk ([`Desk`], *optional*): the check of a Reviewer, which gets a tab of its own.

    Raises:
        ConfigurationError: other machines can reach the address, and there is no password.
        AppError: the page cannot be served on the address.
    """
    check_host(host, auth)
    folder = Path(tempfile.mkdtemp(prefix="videorefer-app-"))
    before = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED")}
    os.environ |= {"GRADIO_TEMP_DIR": str(folder / "shown"), "GRADIO_ANALYTICS_ENABLED": "False"}
    shelf = Shelf(folder / "rooms", tools)
    try:
        blocks = build(shelf, None if desk is None else CheckTab(desk, folder / "check"))
        blocks.queue(max_size=_WAITING, default_concurrency_limit=4, api_open=False)
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                auth=auth,
                share=False,
                quiet=True,
                show_error=True,
                prevent_thread_lock=True,
                max_file_size=tools.limits.max_megabytes * 1024 * 1024,
                allowed_paths=[],
                enable_monitoring=False,
                footer_links=[],
                ssr_mode=False,
                mcp_server=False,
                css=CSS,
                theme=theme(),
                app_kwargs={"middleware": _middleware(host, auth), "docs_url": None, "redoc_url": None},
            )
        except OSError as error:
            raise AppError(f"The page cannot be served on {host}, port {port or 7860} ({error}).") from error
        try:
            yield Served(url, blocks, shelf)
        finally:
            blocks.close(verbose=False)
    finally:
        shelf.close()
        tools.close()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _middleware(host: str, auth: tuple[str, str] | None) -> list[Middleware]:
    """Return the middleware. A page without a password answers only to the names of this computer, so that no other
    page can reach it by a name of its own that leads here."""
    names = [Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", host])]
    return [*(names if auth is None and ":" not in host else []), Middleware(Guarded)]
