"""Configuration of the object encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError

__all__ = ["ObjectEncoderConfig"]

_DEEPEST = 64  # layers; the paper has two, and a damaged configuration could ask for millions


@dataclass
class ObjectEncoderConfig:
    """Sizes of an [`ObjectEncoder`].

    Args:
        vision_hidden_size (`int`):
            Width D of the vision tower's features.
        hidden_size (`int`):
            Width H of the language model.
        max_tokens_per_region (`int`, *optional*, defaults to 4):
            Number of unions u that the frames of one region are merged into (paper, section 3.2.2). A region seen in
            k frames becomes `min(k, u)` object tokens.
        projector_depth (`int`, *optional*, defaults to 2):
            Number of linear layers of the projector, with a GELU between them; at most 64.

    Raises:
        ConfigurationError: a size is not a positive integer, or the projector too deep.
    """

    vision_hidden_size: int = 1152
    hidden_size: int = 3584
    max_tokens_per_region: int = 4
    projector_depth: int = 2

    kind = "pooled"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"ObjectEncoderConfig.{field.name} must be a positive integer, but {short(value)} was given."
                )
        if self.projector_depth > _DEEPEST:
            raise ConfigurationError(
                f"ObjectEncoderConfig.projector_depth must be at most {_DEEPEST}, but {short(self.projector_depth)} "
                "was given."
            )

    def num_tokens(self, frames: int) -> int:
        """Number of object tokens of a region seen in so many frames: `min(k, u)` (paper, section 3.2.2)."""
        return min(frames, self.max_tokens_per_region)

    def count_tokens(
        self, masks: Sequence[Any], frame_sizes: Sequence[tuple[int, int]], policy: str = "keep"
    ) -> list[int]:
        """Number of object tokens that each region becomes; the interface that all object encoders share.

        Args:
            masks (`Sequence`):
                For each region its masks on the frames of the video: a sequence of arrays, or a tensor, of shape
                `(num_frames, height, width)`. This encoder uses their number only.
            frame_sizes (`Sequence[tuple[int, int]]`):
                For each region, height and width of the frames that it lies on, in pixels. Ignored by this encoder.
            policy (`str`, *optional*, defaults to `"keep"`): the mask policy. This encoder ignores it.
        """
        return [self.num_tokens(len(own)) for own in masks]

    def count_groups(
        self, masks: Sequence[Any], frame_sizes: Sequence[tuple[int, int]], policy: str = "keep"
    ) -> list[list[int]]:
        """Number of object tokens of each group that a region becomes; this encoder makes one group of a region."""
        return [[count] for count in self.count_tokens(masks, frame_sizes, policy)]

    def placeholder(self, token: str, count: int) -> str:
        """Return the text that replaces `<region>` in a prompt for one group, with `token` repeated `count` times."""
        return token * count

    def to_dict(self) -> dict[str, int]:
        """Return the fields as a plain dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ObjectEncoderConfig":
        """Build a configuration from a dictionary; unknown names are refused.

        Raises:
            ConfigurationError: a name is unknown or a value is not a positive integer.
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"Object encoder settings must be a dictionary, but are {short(values)}.")
        known = {field.name for field in fields(cls)}
        unknown = sorted(map(str, set(values) - known))
        if unknown:
            raise ConfigurationError(
                f"Unknown object encoder setting(s) {', '.join(unknown)}; known are {', '.join(sorted(known))}."
            )
        return cls(**values)
