"""The entry point of `python -m videorefer_plugin.cli`, for launchers that start modules."""

from videorefer_plugin.cli import app

app()
