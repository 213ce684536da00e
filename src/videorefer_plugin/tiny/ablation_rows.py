"""The rows of ablations, as in tables 5 to 7 of the paper: frames of a region, unions, and kinds of data."""

from dataclasses import dataclass, field

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world.stages import PRODUCTS, STAGES

__all__ = ["TABLES", "Variant", "trained_stages", "variants"]

TABLES = ("modes", "unions", "data")
UNIONS = (1, 4, 8, 16)


def trained_stages(products: tuple[str, ...] = PRODUCTS) -> tuple[str, ...]:
    """Return the stages of these kinds of data, in the order of training."""
    return tuple(name for name, stage in STAGES.items() if stage.product in products)


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        name (`str`): name of the row.
        mode (`str`): mode of the objects: `"single"` or `"multi"`.
        stages (`tuple[str, ...]`): stages to run one after the other, from the same start.
        products (`tuple[str, ...]`): kinds of data that the stages may use; records of other kinds are left out.
        settings (`tuple[str, ...]`): settings to change in the recipes.
    """

    name: str
    mode: str = "multi"
    stages: tuple[str, ...] = field(default_factory=trained_stages)
    products: tuple[str, ...] = PRODUCTS
    settings: tuple[str, ...] = ()


def variants(table: str) -> list[Variant]:
    """Return the rows of a table.

    Raises:
        ConfigurationError: the table is unknown.
    """
    if table == "modes":  # table 5: one training, measured in two modes
        return [Variant("single-frame", "single"), Variant("multi-frame", "multi")]
    if table == "unions":  # table 7
        frames = "data.max_frames_per_region=16"
        return [Variant(f"u = {u}", settings=(f"model.max_tokens_per_region={u}", frames)) for u in UNIONS]
    if table == "data":  # table 6: each row adds one kind of data
        shares = [PRODUCTS[: count + 1] for count in range(len(PRODUCTS))]
        more = [Variant(f"+ {some[-1]}", stages=trained_stages(some), products=some) for some in shares]
        return [Variant("none", stages=()), *more]
    raise ConfigurationError(f"Unknown table {table!r}; known are {', '.join(TABLES)}.")
