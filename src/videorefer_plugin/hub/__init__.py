"""Publishing: a folder becomes a repository on the Hub that loads, with a model card."""

from videorefer_plugin.hub.cards import dataset_card, model_card
from videorefer_plugin.hub.contents import FolderContents
from videorefer_plugin.hub.folder import inspect_folder
from videorefer_plugin.hub.publish import PreparedFolder, PublishReport, prepare_folder, publish, push_model
from videorefer_plugin.hub.run_summary import RUN_FILE, DataFile, Recipe, Result, RunSummary

__all__ = [
    "RUN_FILE",
    "DataFile",
    "FolderContents",
    "PreparedFolder",
    "PublishReport",
    "Recipe",
    "Result",
    "RunSummary",
    "dataset_card",
    "inspect_folder",
    "model_card",
    "prepare_folder",
    "publish",
    "push_model",
]
