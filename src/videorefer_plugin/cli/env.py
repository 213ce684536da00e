"""`videorefer env`: print the versions that a bug report needs."""

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from videorefer_plugin import __version__
from videorefer_plugin.cli._shell import printer

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["env"]

_DISTRIBUTION = "videorefer-plugin"
_VARIABLES = ("HF_HOME", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


def env() -> None:
    """Print the versions of Python and the packages, the devices, and the extras that are installed.

    Paste the output into bug reports. It holds no names of users or folders,
    and no credentials.
    """
    printer(soft_wrap=True).print("\n".join(f"- {name}: {value}" for name, value in _lines()), highlight=False)


def _lines() -> Iterator[tuple[str, str]]:
    import torch

    yield _DISTRIBUTION, __version__
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "platform", f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(number)
            yield f"cuda:{number}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    else:
        mps = torch.backends.mps.is_available()
        yield "accelerator", "mps" if mps else "none that torch can use"
    for variable in _VARIABLES:
        if variable in os.environ:
            # Paths of caches name the user, and help nobody else.
            yield variable, "set" if variable == "HF_HOME" else os.environ[variable]
    core, extras = _requirements()
    for requirement in core:
        yield requirement.name, _state(requirement)
    for extra, wanted in extras.items():
        lacking = [f"{each.name} {_state(each)}" for each in wanted if not _fits(each)]
        yield f"[{extra}]", "installed" if not lacking else "; ".join(lacking)


def _requirements() -> tuple[list["Requirement"], dict[str, list["Requirement"]]]:
    """Return the requirements of the installed package and of each extra, for this platform."""
    from packaging.requirements import Requirement

    try:
        installed = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:  # the package is run from a folder without an installation
        return [], {}
    all_of_them = [Requirement(each) for each in installed.requires or ()]
    core = [each for each in all_of_them if each.marker is None or each.marker.evaluate({"extra": ""})]
    extras = {
        extra: [
            each for each in all_of_them if each not in core and each.marker and each.marker.evaluate({"extra": extra})
        ]
        for extra in installed.metadata.get_all("Provides-Extra") or ()
    }
    return core, extras


def _version(requirement: "Requirement") -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: "Requirement") -> bool:
    version = _version(requirement)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _state(requirement: "Requirement") -> str:
    version = _version(requirement)
    if version is None:
        return "is not installed"
    return version if _fits(requirement) else f"{version}, but {requirement.specifier} is required"
