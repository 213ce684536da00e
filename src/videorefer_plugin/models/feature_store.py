"""A cache of the features of a frozen vision tower, so that each frame passes through it once.

Everything that computes features of frames asks a [`FeatureStore`] for them by a [`FeatureKey`], which says of what
they are and how they are made. Sessions, attached hosts and training that name the same folder share what lies there.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.models.feature_folder import FeatureFolder, remove_features
from videorefer_plugin.models.feature_keys import FeatureKey, preprocessing_digest, text_digest, tower_revision

__all__ = [
    "FeatureKey",
    "FeatureStore",
    "preprocessing_digest",
    "remove_features",
    "text_digest",
    "tower_revision",
]


class FeatureStore:
    """Features of frames, each computed once.

    Those used last are held in memory. In a folder, all of them are kept: other processes and later runs find them
    there, and what memory has no room for is read back. A file appears there whole or not at all. One that turns out
    to be cut off, or not to be of this kind, is left alone with a warning, and its features are computed again.

    Several threads may use a store; while one computes, others wait.

    Args:
        max_bytes (`int`, *optional*, defaults to 2 GiB): The most bytes to hold in memory; `None` for no limit.
        device (`str` or `torch.device`, *optional*): Where to hold them; by default where they were computed.
        folder (`str` or `os.PathLike`, *optional*): Where to keep them beyond that.

    Attributes:
        computed (`int`): How many features were computed so far.

    Raises:
        ConfigurationError: the device does not exist, the limit is not a number of bytes, or the folder is unusable.
    """

    def __init__(
        self,
        max_bytes: int | None = 2 << 30,
        *,
        device: str | torch.device | None = None,
        folder: str | os.PathLike | None = None,
    ):
        self.max_bytes = None if max_bytes is None else _check_bytes(max_bytes)
        self.device = None if device is None else _check_device(device)
        self.computed = 0
        self._folder = None if folder is None else FeatureFolder(folder)
        self._held: OrderedDict[FeatureKey, Tensor] = OrderedDict()
        self._memory = 0
        self._computed_on = torch.device("cpu")
        self._lock = threading.RLock()

    def fetch(
        self, keys: Sequence[FeatureKey], compute: Callable[[list[FeatureKey]], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Return features, computing those that are not cached.

        Args:
            keys (`Sequence[FeatureKey]`): whose features are wanted; a key may occur more than once.
            compute (`Callable`): makes one tensor for each key. It is called at most once, with the distinct keys
                whose features are not known, in order. It may fetch other features from the same store.

        Returns:
            `list[Tensor]`: a feature for each key, in order, without gradients. They are those that are held: do not
            change them in place. Some may lie on another device than others, such as those read from the folder.

        Raises:
            TensorError: `compute` did not give one tensor for each key.
            ConfigurationError: features cannot be written to the folder.
        """
        with self._lock:
            distinct = list(dict.fromkeys(keys))
            found = {key: self._held[key] for key in distinct if key in self._held}
            absent = [key for key in distinct if key not in found]
            read = self._folder.read(absent) if self._folder is not None and absent else {}
            unknown = [key for key in absent if key not in read]
            new = self._compute(unknown, compute) if unknown else {}
            found |= new | {key: self._own(feature, self._computed_on) for key, feature in read.items()}
            for key in distinct:
                self._hold(key, found[key])
            self._evict(self.max_bytes)
            if new and self._folder is not None:
                self._folder.write(new)
            return [found[key] for key in keys]

    def memory(self) -> int:
        """Bytes that are held."""
        return self._memory

    def shrink(self, max_bytes: int) -> None:
        """Drop the least recently used features until at most so many bytes are held.

        Raises:
            ConfigurationError: the value is not a number of bytes.
        """
        limit = _check_bytes(max_bytes)
        with self._lock:
            self._evict(limit)

    def clear(self) -> None:
        """Drop all features from memory. Those in the folder are kept."""
        with self._lock:
            self._held.clear()
            self._memory = 0

    def known(self, keys: Iterable[FeatureKey]) -> set[FeatureKey]:
        """Return which of these features need not be computed, since they are in memory or in the folder."""
        with self._lock:
            wanted = set(keys)
            held = wanted & self._held.keys()
            return held if self._folder is None else held | self._folder.known(wanted - held)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within this block, computed features are written to the folder many at a time, the last ones at its end.

        Files are fewer, and a process that is killed loses what it has not written.

        Raises:
            ConfigurationError: features cannot be written to the folder.
        """
        with nullcontext() if self._folder is None else self._folder.together():
            yield

    def __contains__(self, key: object) -> bool:
        """Whether a feature need not be computed: it is held, or lies in the folder."""
        return isinstance(key, FeatureKey) and bool(self.known([key]))

    def __len__(self) -> int:
        """How many features are held."""
        return len(self._held)

    def __bool__(self) -> bool:
        return True  # also while nothing is held

    def __getstate__(self) -> dict[str, Any]:
        """What a process that is started with this store is given; it reads from the folder what it needs."""
        state = {name: value for name, value in self.__dict__.items() if name != "_lock"}
        return state if self._folder is None else {**state, "_held": OrderedDict(), "_memory": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.RLock()}

    def _compute(
        self, keys: list[FeatureKey], compute: Callable[[list[FeatureKey]], Sequence[Tensor]]
    ) -> dict[FeatureKey, Tensor]:
        features = compute(list(keys))
        if len(features) != len(keys) or not all(isinstance(feature, Tensor) for feature in features):
            kinds = ", ".join(sorted({type(feature).__name__ for feature in features})) or "nothing"
            raise TensorError(
                f"Features of {len(keys)} frame(s) were to be computed, one tensor each, but {len(features)} came "
                f"({kinds}). Return a tensor for each key, in order."
            )
        self.computed += len(keys)
        self._computed_on = features[0].device
        return {key: self._own(feature, feature.device) for key, feature in zip(keys, features, strict=True)}

    def _own(self, feature: Tensor, device: torch.device) -> Tensor:
        """A feature in memory of its own; a row of a batch would keep the whole batch."""
        with torch.inference_mode(False), torch.no_grad():
            feature = feature.detach().to(self.device or device)
            if feature.is_inference() or feature.untyped_storage().nbytes() != feature.nbytes:
                feature = feature.clone(memory_format=torch.contiguous_format)
            return feature

    def _hold(self, key: FeatureKey, feature: Tensor) -> None:
        if key in self._held:
            self._memory -= self._held.pop(key).nbytes
        if self.max_bytes is None or feature.nbytes <= self.max_bytes:
            self._held[key] = feature
            self._memory += feature.nbytes

    def _evict(self, limit: int | None) -> None:
        while limit is not None and self._held and self._memory > limit:
            self._memory -= self._held.popitem(last=False)[1].nbytes


def _check_bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(
            f"max_bytes is {short(value)}; expected a whole number of bytes, such as 2 << 30 for 2 GiB, or None for "
            "no limit."
        )
    return value


def _check_device(value: Any) -> torch.device:
    try:
        return torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ConfigurationError(f'device is {short(value)}; expected a device of torch, such as "cpu".') from error
