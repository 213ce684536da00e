"""Configuration of the object encoder that looks at crops."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.object_encoder.crops import CropRule

__all__ = ["CropEncoderConfig"]


@dataclass
class CropEncoderConfig:
    """Sizes of a [`CropEncoder`]. The defaults are those of VideoRefer-VideoLLaMA3-7B.

    Args:
        vision_hidden_size (`int`): width D of the vision tower's features.
        hidden_size (`int`): width H of the language model.
        max_tokens_per_mask (`int`, *optional*, defaults to 10):
            The most object tokens of one mask. A region seen in n frames becomes n groups of tokens; there is no
            merging over time.
        kmeans_rounds (`int`, *optional*, defaults to 20): the most rounds of k-means.
        projector_depth (`int`, *optional*, defaults to 2):
            Number of linear layers of the projector, with a GELU between them.
        patch_size (`int`, *optional*, defaults to 14): side of a cell of the crop's grid, in pixels.
        min_crop_pixels, max_crop_pixels (`int`, *optional*): the fewest and the most pixels of a crop, as resized.
        max_enlargement (`int`, *optional*, defaults to 8):
            The largest factor by which a small object is enlarged. The mask policy `"original"` has no limit.

    Raises:
        ConfigurationError: a size is not a positive integer.
    """

    vision_hidden_size: int = 1152
    hidden_size: int = 3584
    max_tokens_per_mask: int = 10
    kmeans_rounds: int = 20
    projector_depth: int = 2
    patch_size: int = 14
    min_crop_pixels: int = 3136
    max_crop_pixels: int = 1003520
    max_enlargement: int = 8

    kind = "crop"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"CropEncoderConfig.{field.name} must be a positive integer, but {short(value)} was given."
                )
        if self.max_crop_pixels < self.min_crop_pixels:
            raise ConfigurationError(
                f"CropEncoderConfig.max_crop_pixels is {self.max_crop_pixels}, less than min_crop_pixels, "
                f"{self.min_crop_pixels}."
            )

    @property
    def rule(self) -> CropRule:
        """The rule that cuts masks out of their frames."""
        return CropRule(
            patch_size=self.patch_size,
            wanted_cells=self.max_tokens_per_mask,
            min_pixels=self.min_crop_pixels,
            max_pixels=self.max_crop_pixels,
            max_enlargement=self.max_enlargement,
        )

    def tokens_of(self, cells: int) -> int:
        """Number of object tokens of a mask of so many cells."""
        return min(cells, self.max_tokens_per_mask)

    def num_tokens(self, frames: int) -> int:
        """The most object tokens of a region seen in so many frames; the actual number depends on its masks."""
        return frames * self.max_tokens_per_mask

    def count_tokens(
        self, masks: Sequence[Any], frame_sizes: Sequence[tuple[int, int]], policy: str = "keep"
    ) -> list[int]:
        """Number of object tokens that each region becomes; see [`ObjectEncoderConfig.count_tokens`].

        Args:
            masks (`Sequence`):
                For each region its masks on the frames of the video: a sequence of arrays or tensors of shape
                `(height, width)`. Every positive value counts.
            frame_sizes (`Sequence[tuple[int, int]]`):
                For each region, height and width of the frames that it lies on, in pixels.
            policy (`str`, *optional*, defaults to `"keep"`): the mask policy, `"keep"` or `"original"`.

        Raises:
            TensorError: a mask has no pixel, or another size than its frame.
        """
        counted = self.count_groups(masks, frame_sizes, policy)
        return [sum(groups) for groups in counted]

    def count_groups(
        self, masks: Sequence[Any], frame_sizes: Sequence[tuple[int, int]], policy: str = "keep"
    ) -> list[list[int]]:
        """Number of object tokens of each mask of each region; see `count_tokens`."""
        rule = self.rule
        return [
            [self.tokens_of(int(rule.cells(mask, size, policy).sum())) for mask in own]
            for own, size in zip(masks, frame_sizes, strict=True)
        ]

    def groups_of(self, region: Any) -> list[int]:
        """Number of object tokens of each of the `crops` of a region."""
        return [self.tokens_of(int(crop.cells.sum())) for crop in region.crops]

    def placeholder(self, token: str, count: int) -> str:
        """Return the text that replaces `<region>` in a prompt for one mask: brackets around `count` times `token`."""
        return f"[{token * count}]"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, with the kind of encoder."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CropEncoderConfig":
        """Build a configuration from a dictionary; unknown names are refused.

        Raises:
            ConfigurationError: a name is unknown or a value is not a positive integer.
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"Object encoder settings must be a dictionary, but are {short(values)}.")
        values = {name: value for name, value in values.items() if name != "kind"}
        known = {field.name for field in fields(cls)}
        unknown = sorted(map(str, set(values) - known))
        if unknown:
            raise ConfigurationError(
                f"Unknown crop encoder setting(s) {', '.join(unknown)}; known are {', '.join(sorted(known))}."
            )
        return cls(**values)
