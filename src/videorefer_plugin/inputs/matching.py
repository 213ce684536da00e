"""Matching prompts, visuals and regions, and refusing inputs that would be ignored."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError, VideoReferError
from videorefer_plugin.inputs.conversations import check_text
from videorefer_plugin.inputs.placeholders import placeholder_kinds, visuals_before
from videorefer_plugin.inputs.visuals import flatten_images, flatten_videos
from videorefer_plugin.object_encoder import MASK_POLICIES
from videorefer_plugin.regions import Region, as_region, is_one_region

__all__ = [
    "REGION_SETTINGS",
    "SETTING_GROUPS",
    "Sample",
    "Source",
    "check_at_least_one",
    "check_mask_policy",
    "check_region_limit",
    "flatten_settings",
    "match_samples",
    "named",
    "named_region",
    "regions_by_sample",
    "take_settings",
    "visual_of",
]

REGION_SETTINGS = ("regions", "mask_policy", "max_frames_per_region")
"""Settings of a processor's call that are about regions."""

SETTING_GROUPS = ("text_kwargs", "images_kwargs", "videos_kwargs", "audio_kwargs", "common_kwargs")
"""Names under which transformers takes several settings at once, as a dict."""


class Source(NamedTuple):
    """A visual of a prompt.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        value: the video or image.
        number (`int`): its index among the videos, or among the images, of the batch.
    """

    kind: str
    value: Any
    number: int


@dataclass
class Sample:
    """One prompt of a batch with its visuals and regions.

    Attributes:
        index (`int`): its index in the batch.
        text (`str`): the prompt, with placeholders.
        visuals (`list[Source]`): its videos and images, in the order of their placeholders.
        regions (`list[Region]`): its regions, in the order of theirs.
        region_visuals (`list[int]`): for each region, which of `visuals` it lies on.
        replacements (`dict[str, list[str]]`): the replacement of each placeholder, in order.
    """

    index: int
    text: str
    visuals: list[Source] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    region_visuals: list[int] = field(default_factory=list)
    replacements: dict[str, list[str]] = field(default_factory=dict)


@contextmanager
def named(place: str) -> Iterator[None]:
    """Add the sample or region to errors that leave the block."""
    try:
        yield
    except VideoReferError as error:
        raise type(error)(f"{place}: {error}") from error


def named_region(sample: int, number: int, count: int) -> AbstractContextManager[None]:
    """Add the number of the region in its sample to errors that leave the block."""
    return named(f"Sample {sample}" if count == 1 else f"Sample {sample}: region {number}")


# ---------------------------------------------------------------------- prompts, visuals and regions


def match_samples(
    text: Any,
    images: Any = None,
    videos: Any = None,
    regions: Any = None,
    *,
    audio: Any = None,
    tokens: Mapping[str, str],
    region_token: str | None = None,
) -> list[Sample]:
    """Assign visuals and regions to the placeholders of the prompts, in order.

    A region lies on the visual that it names, or else on the one whose placeholder is the last before its own, or on
    the first one if there is none before it.

    Args:
        text (`str` or `list[str]`): the prompts.
        images, videos: the visuals of the batch, in any nesting; see [`flatten_images`] and [`flatten_videos`].
        regions: the regions of one prompt, or a list for each prompt; the JSON form of a region is accepted too.
        audio (*optional*): refused, since no model here takes audio.
        tokens (`Mapping[str, str]`): the placeholders of `"image"` and `"video"`.
        region_token (`str`, *optional*): that of a region; without it the prompts have none.

    Raises:
        PromptError: `text` is not a text or cannot be read, there is audio, or placeholders and visuals or regions do
            not match.
        RegionError: a region is not a [`Region`] or its JSON form, or its prompt does not have its visual.
        VideoError: a visual has a type that cannot be one.
    """
    if audio is not None:
        raise PromptError("This model does not listen: leave audio out.")
    texts = _texts(text)
    samples = [Sample(index, prompt) for index, prompt in enumerate(texts)]
    _match_visuals(samples, {"image": flatten_images(images), "video": flatten_videos(videos)}, tokens)
    if region_token is not None:
        _match_regions(samples, regions, tokens, region_token)
    return samples


def _texts(text: Any) -> list[str]:
    if text is None:
        raise PromptError("text is missing: pass the prompt, or a list of prompts.")
    if not isinstance(text, (str, list, tuple)):
        raise PromptError(f"text must be a string or a list of strings, but is a {type(text).__name__}.")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise PromptError("text is an empty list: pass at least one prompt.")
    for index, prompt in enumerate(texts):
        if not isinstance(prompt, str):
            raise PromptError(f"Sample {index}: text must be a string, but is a {type(prompt).__name__}.")
        check_text(prompt, f"Sample {index}: text")
    return texts


def _match_visuals(samples: list[Sample], given: dict[str, list[Any]], tokens: Mapping[str, str]) -> None:
    taken = dict.fromkeys(tokens, 0)
    for sample in samples:
        for kind in placeholder_kinds(sample.text, tokens):
            number = taken[kind]
            if number >= len(given[kind]):
                raise PromptError(
                    f"Sample {sample.index} has {tokens[kind]} in its text, but only {len(given[kind])} {kind}(s) "
                    f"were given for the batch. Pass one {kind} for each {tokens[kind]}; if the word is meant "
                    "literally, write it without the angle brackets."
                )
            sample.visuals.append(Source(kind, given[kind][number], number))
            taken[kind] += 1
    for kind, number in taken.items():
        if number < len(given[kind]):
            raise PromptError(
                f"{len(given[kind])} {kind}(s) were given, but the texts have {number} {tokens[kind]}. Put one "
                f"{tokens[kind]} into the text for each, for instance with apply_chat_template."
            )


def _match_regions(samples: list[Sample], regions: Any, tokens: Mapping[str, str], region_token: str) -> None:
    for sample, given in zip(samples, regions_by_sample(regions, len(samples)), strict=True):
        kinds = placeholder_kinds(sample.text, {**tokens, "region": region_token})
        count = kinds.count("region")
        where = f"Sample {sample.index}"
        if count and not sample.visuals:
            raise PromptError(
                f"{where} has {region_token} in its text but neither {tokens['video']} nor {tokens['image']}, so "
                "there is nothing to point at."
            )
        if count != len(given):
            raise PromptError(
                f"{where} has {count} {region_token} in its text, but {len(given)} region(s) were given for it. Pass "
                "one Region for each, in the order of the text."
            )
        for number, before in enumerate(visuals_before(kinds)):
            with named_region(sample.index, number, count):
                region = as_region(given[number])
                sample.region_visuals.append(visual_of(region, before, len(sample.visuals)))
            sample.regions.append(region)


def visual_of(region: Region, before: int, visuals: int) -> int:
    """Return the index of the visual that a region lies on: the one that it names, or the last one before it.

    Raises:
        RegionError: the region names a visual that the prompt does not have.
    """
    if region.visual is not None and region.visual >= visuals:
        raise RegionError(
            f"it lies on visual {short(region.visual)}, but its prompt has {visuals} visual(s), numbered from 0: "
            "videos and images count together, in their order."
        )
    return before if region.visual is None else region.visual


def regions_by_sample(regions: Any, num_samples: int) -> list[list[Any]]:
    """Return lists of regions, one for each sample.

    Raises:
        PromptError: there are lists for more or fewer samples.
        RegionError: `regions` is not a list.
    """
    if regions is None:
        return [[] for _ in range(num_samples)]
    if is_one_region(regions):
        regions = [regions]
    if not isinstance(regions, (list, tuple)):
        raise RegionError(
            f"regions must be a list of Regions, one for each <region>, but is a {type(regions).__name__}."
        )
    if num_samples == 1 and not (len(regions) == 1 and isinstance(regions[0], (list, tuple))):
        regions = [regions]
    if len(regions) != num_samples:
        raise PromptError(
            f"regions has {len(regions)} item(s) for {num_samples} prompt(s); pass a list of Regions for each prompt, "
            "empty where there is none."
        )
    by_sample = []
    for index, given in enumerate(regions):
        if is_one_region(given):
            given = [given]
        if given is not None and not isinstance(given, (list, tuple)):
            raise RegionError(f"Sample {index}: expected a list of Regions, but got a {type(given).__name__}.")
        by_sample.append(list(given or []))
    return by_sample


# ---------------------------------------------------------------------- settings


def take_settings(
    settings: Mapping[str, Any], own: Sequence[str], others: Collection[str], owner: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate a processor's own settings from those that it passes on, and refuse unknown ones.

    Settings may also be in the groups of transformers, such as `videos_kwargs`.

    Args:
        settings (`Mapping[str, Any]`): keyword arguments of the call.
        own (`Sequence[str]`): names of its own settings; those that are not given are `None`.
        others (`Collection[str]`): names of the settings that it passes on.
        owner (`str`): name of the processor, for messages.

    Returns:
        `tuple[dict, dict]`: its own settings, and the others, still in their groups.

    Raises:
        ConfigurationError: a name is unknown (the message suggests the nearest one), a setting is given twice, or a
            group is not a dict.
    """
    known = {*own, *others}
    taken: dict[str, Any] = dict.fromkeys(own)
    rest: dict[str, Any] = {}
    places: dict[str, str] = {}
    for group, name, value in _with_groups(settings):
        _check_known(name, known, owner)
        # Settings that are passed on may differ between groups, such as the sizes of images and videos.
        if name in places and (name in taken or not (group and places[name])):
            raise _given_twice(name, places[name], group)
        places[name] = group
        if name in taken:
            taken[name] = value
        elif group:
            rest.setdefault(group, {})[name] = value
        else:
            rest[name] = value
    return taken, rest


def flatten_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Take settings out of their groups, for callers to whom all groups mean the same.

    Raises:
        ConfigurationError: a setting is given twice.
    """
    flat: dict[str, Any] = {}
    places: dict[str, str] = {}
    for group, name, value in _with_groups(settings):
        if name in flat:
            raise _given_twice(name, places[name], group)
        flat[name], places[name] = value, group
    return flat


def _with_groups(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield group, name and value of every setting; the group of a single one is empty."""
    for name, value in settings.items():
        if name not in SETTING_GROUPS:
            yield "", name, value
            continue
        if not isinstance(value, (Mapping, type(None))):
            raise ConfigurationError(f"{name} must be a dict of settings, but is a {type(value).__name__}.")
        for inner, inner_value in (value or {}).items():
            # As in transformers, common settings may also be given alone.
            if name != "common_kwargs" or not _same(inner_value, settings.get(inner)):
                yield name, inner, inner_value


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, (str, int, float)) and type(value) is type(other) and value == other


def _given_twice(name: str, *groups: str) -> ConfigurationError:
    where = " and ".join(f"in {group}" if group else "on its own" for group in groups)
    return ConfigurationError(f"{name} is given twice, {where}. Leave one out.")


def _check_known(name: str, known: Collection[str], owner: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigurationError(f"{owner} has no setting {short(name)}{hint}")


def check_mask_policy(policy: Any) -> str:
    """Return the policy if it is one of `MASK_POLICIES`.

    Raises:
        ConfigurationError: it is not.
    """
    if policy not in MASK_POLICIES:
        raise ConfigurationError(
            f"Unknown mask_policy {short(policy)}; known are {', '.join(map(repr, MASK_POLICIES))}."
        )
    return policy


def check_region_limit(limit: Any) -> None:
    """Check that `max_frames_per_region` is a number of frames, or `None`.

    Raises:
        ConfigurationError: it is not.
    """
    if limit is not None:
        check_at_least_one(limit, "max_frames_per_region")


def check_at_least_one(value: Any, name: str) -> None:
    """Check that a setting is a whole number of at least 1.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, but is {short(value)}.")
