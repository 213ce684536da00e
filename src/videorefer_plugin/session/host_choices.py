"""Choices of frames that a session shows to a host. Each choice, and each row of features, is encoded once."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from videorefer_plugin.hosts.grids import FrameGrids
from videorefer_plugin.hosts.registry import Host
from videorefer_plugin.hosts.rows import RowHost, TowerRow, visual_modules
from videorefer_plugin.models.batches import is_by_position
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.feature_store import FeatureKey, FeatureStore, preprocessing_digest, tower_revision
from videorefer_plugin.models.videorefer.region_inputs import FlatRegions
from videorefer_plugin.session.prompts import Shown

__all__ = ["Choice", "Choices", "host_revision"]

_WAITING_BYTES = 1 << 28  # of preprocessed pixels that wait to be encoded together
_ASIDE = ("text_config", "_name_or_path", "transformers_version", "architectures", "dtype")


@dataclass(eq=False)
class Choice:
    """Frames that are shown to a host, with their features as far as they are computed.

    Attributes:
        key (`Hashable`): equal for the same frames shown in the same way.
        replies (`list`): the replies of the host's processor for the pixels, without the pixels.
        kind (`str`): `"video"` or `"image"`, as the host takes the visual.
        shown ([`Shown`]): inputs of the model; complete once the frames are encoded.
        rows (`list[TowerRow]`): the rows of features, without pixels.
        digests (`list[str]`): digests of the rows.
        features (`list[torch.Tensor]`): the features of each row, while they are needed; the store keeps them.
        grids ([`FrameGrids`], *optional*): the features, if the tower encodes the visual as a whole.
    """

    key: Hashable
    replies: list[Any] = field(default_factory=list)
    kind: str = ""
    shown: Shown = field(init=False)
    rows: list[TowerRow] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    grids: FrameGrids | None = None

    def __post_init__(self) -> None:
        self.shown = Shown(self.key, {}, {})

    def memory(self) -> int:
        """Return the bytes that are held, without features of rows."""
        return self.shown.memory() + (0 if self.grids is None else self.grids.cells.nbytes)

    def features_below(self, model: Any, flat: FlatRegions) -> tuple[Tensor, Tensor]:
        """Return the features of the rows that masks lie on, and for each mask the index of its row."""
        rows = flat.frames.to(device_of(model)) - 1
        masks = flat.masks.to(device_of(model))
        if self.grids is not None:
            return self.grids.gather(masks, rows)
        used, place = rows.unique(return_inverse=True)
        some = [(self.rows[row], self.features[row].to(device_of(model))) for row in used.tolist()]
        host: RowHost = model.region_host
        return host.lay_out_rows(model, self.kind, *zip(*some, strict=True)).gather(masks, place)


class Choices:
    """Encodes several choices of frames in one run of the vision tower.

    Args:
        model (`PreTrainedModel`): a host with an attached object encoder.
        host ([`Host`]): the host's description.
        processor (`ProcessorMixin`): the host's processor.
        store ([`FeatureStore`]): the store of the features of rows.
        revision (`str`): revision of the vision tower in the store, see [`host_revision`]. With an empty one, no rows
            are kept.

    Attributes:
        way (`tuple[str, ...]`): how frames are preprocessed.
        added (`dict[Hashable, Choice]`): the choices that were added, by key.
        computed (`int`): how many rows of features the vision tower has computed.
    """

    def __init__(self, model: Any, host: Host, processor: Any, store: FeatureStore, revision: str):
        self.model = model
        self.host = host
        self.store = store
        self.computed = 0
        self.added: dict[Hashable, Choice] = {}
        self._revision = revision
        parts = (getattr(processor, name, None) for name in ("image_processor", "video_processor"))
        ratio = getattr(processor, "image_aspect_ratio", None)
        self.way = tuple(preprocessing_digest(part, ratio) for part in parts if part is not None)
        self._waiting: list[Choice] = []
        self._rows: dict[str, TowerRow] = {}
        self._at_once = 1

    def add(self, choice: Choice, data: dict[str, Any]) -> None:
        """Add pixels to encode. Waiting pixels are encoded first where they would take too much memory.

        Args:
            choice ([`Choice`]): the choice of frames.
            data (`dict`): output of the host's processor for one prompt that shows the choice.
        """
        ids = data["input_ids"]
        visual = {
            name: value
            for name, value in data.items()
            if isinstance(value, (Tensor, list)) and not is_by_position(name, [value], [ids])
        }
        self.model.check_visuals(ids, visual, None, None)
        choice.kind = next(kind for kind, (name, _) in self.host.encoders.items() if visual.get(name) is not None)
        choice.shown.inputs = {
            name: value
            for name, value in visual.items()
            if isinstance(value, Tensor) and not name.startswith("pixel_")
        }
        rows = None
        if isinstance(self.host, RowHost) and self._revision:
            rows = self.host.cut_rows(self.model, choice.kind, visual)
        if rows is None:
            self._encode_whole(choice, visual)
        else:
            choice.digests = [row.digest() for row in rows]
            choice.rows = [row.hollow() for row in rows]
            self._rows |= dict(zip(choice.digests, rows, strict=True))
            self._at_once = max(self._at_once, len(rows))
            self._waiting.append(choice)
        self.added[choice.key] = choice
        if sum(row.pixels.nbytes for row in self._rows.values()) > _WAITING_BYTES:
            self.encode()

    def encode(self) -> None:
        """Encode the added choices, except rows that the store holds."""
        if not self._waiting:
            return
        host, device = self.host, device_of(self.model)
        assert isinstance(host, RowHost)
        names, joined = host.row_parts(self.model), host.joined_parts(self.model)
        distinct = dict.fromkeys(digest for choice in self._waiting for digest in choice.digests)
        parts = {self._key(digest, name): (digest, name) for digest in distinct for name in names}
        found = self.store.fetch(list(parts), lambda wanted: self._compute([parts[key] for key in wanted]))
        known = dict(zip(parts.values(), found, strict=True))
        for choice in self._waiting:
            choice.features = [known[digest, "features"] for digest in choice.digests]
            needed = [{name: known[digest, name].to(device) for name in joined} for digest in choice.digests]
            choice.shown.encoded = {choice.kind: host.join_rows(self.model, choice.kind, needed)}
        self._waiting.clear()
        self._rows.clear()

    def find_features(self, choice: Choice) -> bool:
        """Set the features of a choice that was encoded before; returns `False` if the store has dropped them."""
        keys = [self._key(digest, "features") for digest in choice.digests]
        if choice.grids is not None or choice.features:
            return True
        if self.store.known(keys) != set(keys):
            return False
        try:
            choice.features = self.store.fetch(keys, _not_computed)
        except LookupError:  # the files of a folder were deleted
            return False
        return True

    def _key(self, digest: str, name: str) -> FeatureKey:
        return FeatureKey(digest, 0, "", self._revision + ("" if name == "features" else f"/{name}"))

    def _compute(self, wanted: Sequence[tuple[str, str]]) -> list[Tensor]:
        """Run the vision tower over rows, as many at once as one choice has."""
        host: Any = self.host
        kind = self._waiting[0].kind
        digests = list(dict.fromkeys(digest for digest, _ in wanted))
        alike: dict[Hashable, list[str]] = {}
        for digest in digests:
            alike.setdefault(self._rows[digest].shape, []).append(digest)
        parts: dict[str, dict[str, Tensor]] = {}
        for own in alike.values():
            for first in range(0, len(own), self._at_once):
                some = own[first : first + self._at_once]
                made = host.encode_rows(self.model, kind, [self._rows[digest] for digest in some])
                parts |= dict(zip(some, made, strict=True))
        self.computed += len(digests)
        return [parts[digest][name] for digest, name in wanted]

    def _encode_whole(self, choice: Choice, visual: dict[str, Any]) -> None:
        device = device_of(self.model)
        given = {
            name: value.to(device) if isinstance(value, Tensor) else [each.to(device) for each in value]
            for name, value in visual.items()
            if isinstance(value, Tensor) or all(isinstance(each, Tensor) for each in value)
        }
        output = self.host.encode(self.model, given, None)[choice.kind]
        choice.grids = self.host.lay_out(self.model, choice.kind, output, given)
        aside = ("hidden_states", "attentions")
        output = type(output)(**{name: value for name, value in output.items() if name not in aside})
        choice.shown.encoded = {choice.kind: output}
        self.computed += len(choice.grids.sizes)


def _not_computed(keys: list[FeatureKey]) -> list[Tensor]:
    raise LookupError


def host_revision(model: Any) -> str:
    """Return a name for everything but pixels that features depend on; empty if weights are not in memory."""
    modules = visual_modules(model)
    if any(value.is_meta for module in modules for value in module.state_dict().values()):
        return ""
    config = {name: value for name, value in model.config.to_dict().items() if name not in _ASIDE}
    says = json.dumps(config, sort_keys=True, default=str)
    return "+".join(tower_revision(module, says) for module in modules)
