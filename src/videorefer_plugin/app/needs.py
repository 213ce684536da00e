"""Checks the packages that the page needs."""

from __future__ import annotations

import importlib.util

from videorefer_plugin.errors import ConfigurationError

__all__ = ["check"]


def check() -> None:
    """Check that gradio is installed.

    Raises:
        ConfigurationError: gradio is not installed, or is too old.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigurationError("The page needs gradio: pip install 'videorefer-plugin[app]'.")
    from importlib.metadata import version

    from packaging.version import Version

    found = version("gradio")
    if Version(found) < Version("6"):
        raise ConfigurationError(
            f"The page needs gradio 6 or newer, but {found} is installed: pip install 'videorefer-plugin[app]'."
        )
