"""The public names of every package: those that are listed, those that are shown, and those that load are the same."""

import importlib
import inspect
import subprocess
import sys

import pytest

import videorefer_plugin
from videorefer_plugin import errors

PACKAGES = ("videorefer_plugin", *(f"videorefer_plugin.{room}" for room in ("bench", "data_engine", "training")))


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_listed_is_shown_and_loads(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(set(module.__all__))
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is getattr(module, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_said_to_be_missing(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018


def test_every_error_is_public():
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == classes
    for name in classes:
        assert getattr(videorefer_plugin, name) is getattr(errors, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_listing_names_loads_nothing_heavy(package):
    look = f"import sys, {package} as it; it.__all__, dir(it); print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_name_that_a_package_inside_has_too_can_be_called_whichever_was_loaded_first():
    from videorefer_plugin import data_engine

    before = data_engine.agents()
    importlib.import_module("videorefer_plugin.data_engine.agents.nouns")
    assert data_engine.agents() == before
