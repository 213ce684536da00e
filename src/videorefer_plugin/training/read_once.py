"""Items of a data set for a collator that keeps the records that it has read."""

from typing import Any

from videorefer_plugin.training.dataset import VideoReferDataset

__all__ = ["ReadOnce"]


class ReadOnce:
    """A data set for a collator that keeps records: an item is the whole record once, and later its index only.

    Reading a record takes longer than a training step if everything else about it is already computed.

    Args:
        dataset ([`VideoReferDataset`]): the records; other attributes are those of this data set.
        regions (`bool`, *optional*, defaults to `True`): whether the collator needs regions.
    """

    def __init__(self, dataset: VideoReferDataset, regions: bool = True):
        self._dataset = dataset
        self._regions = regions
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self._dataset._number(range(len(self))[index])
        if number in self._seen:
            return {"index": number}
        self._seen.add(number)
        return self._dataset[index] if self._regions else self._dataset.without_regions(index)

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._dataset, name)
