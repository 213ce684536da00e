"""Assigning the regions of conversations to the visuals of the prompt, which a chat template may move."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from videorefer_plugin.inputs.conversations import content_kinds
from videorefer_plugin.inputs.matching import named_region, regions_by_sample
from videorefer_plugin.inputs.placeholders import placeholder_kinds, visuals_before
from videorefer_plugin.regions import as_region

__all__ = ["place_regions"]


def place_regions(
    conversations: Sequence[Sequence[dict[str, Any]]],
    regions: Any,
    prompts: Callable[[], Sequence[str]],
    *,
    tokens: Mapping[str, str],
    region_token: str,
) -> Any:
    """Make regions of conversations name the visuals of the prompts that they lie on.

    Chat templates put visuals before the words around them, and some put images before videos. A region still lies on
    the last visual before it in the conversation, and one that names its visual counts in the order of the
    conversation.

    Args:
        conversations (`Sequence[list[dict]]`): the conversations, as [`as_conversations`] returns them.
        regions: as in [`match_samples`].
        prompts (`Callable`): makes the prompts; it is called only if a conversation has several visuals.
        tokens, region_token: as in [`match_samples`].

    Returns:
        The regions, as [`match_samples`] takes them. Those that do not fit the placeholders are unchanged, since
            they are refused there.

    Raises:
        PromptError: there are lists of regions for more or fewer prompts.
        RegionError: a region is not a [`Region`] or its JSON form.
    """
    said = [content_kinds(one, {**tokens, "region": region_token}) for one in conversations]
    if all(len(kinds) - kinds.count("region") < 2 for kinds in said):
        return regions
    given = regions_by_sample(regions, len(conversations))
    placed = []
    for index, (kinds, prompt, own) in enumerate(zip(said, prompts(), given, strict=True)):
        order = _order([kind for kind in kinds if kind != "region"], placeholder_kinds(prompt, tokens))
        fits = bool(order) and kinds.count("region") == len(own)
        placed.append(_on_visuals(index, own, visuals_before(kinds), order) if fits else own)
    return placed


def _order(before: Sequence[str], after: Sequence[str]) -> list[int]:
    """The index of each visual of a conversation in its prompt; empty if they are not the same."""
    if sorted(before) != sorted(after):
        return []
    places = {kind: iter([place for place, one in enumerate(after) if one == kind]) for kind in after}
    return [next(places[kind]) for kind in before]


def _on_visuals(sample: int, regions: Sequence[Any], before: Sequence[int], order: Sequence[int]) -> list[Any]:
    placed = []
    for number, (given, last) in enumerate(zip(regions, before, strict=True)):
        with named_region(sample, number, len(regions)):
            region = as_region(given)
        visual = last if region.visual is None else region.visual
        placed.append(region.on_visual(order[visual]) if visual < len(order) else region)
    return placed
