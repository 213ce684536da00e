"""The stages in which the embedded model is trained: an entry of [`STAGES`] is all that a stage is, beside its recipe.

A model that starts from nothing needs more stages than the paper's (appendix B.1): a language model and a vision tower
of its own, a connector that tells where things are, and lists of facts, which say the most in the fewest words. The
kinds of data are the paper's (section 3.1.2), with questions with options in the words of VideoRefer-Bench-Q.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import records
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.turns import ALONE, SHEET, Mix
from videorefer_plugin.world.versions import VERSION

__all__ = ["PRODUCTS", "STAGES", "Kind", "Stage", "stage_records"]

PRODUCTS = ("short captions", "questions", "detailed captions")  # the kinds of data of Table 6, in its order

_CHECKPOINT = "model.checkpoint"
_SELDOM = 0.5  # share of the clips with each other kind of stage 3, so that most questions there have options


@dataclass(frozen=True)
class Kind:
    """One kind of records of a stage.

    Attributes:
        name: in the ids of its records, "train-000012/short/1".
        make: makes what a clip gives of it; nothing where the clip has none.
        share: of the clips that are asked for it.
        product: that an ablation leaves out together with these records; by default they stay with their stage.
    """

    name: str
    make: Callable[[records.Source], Iterable[records.Record]]
    share: float = 1.0
    product: str | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: of its folder, and of the stage on a command line.
        recipe: name of its recipe.
        starts_from: setting of the recipe -> stage whose result it takes.
        kinds: of records that each clip gives to it; none if it only takes those of others.
        also: stages whose records it is trained on as well.
        since: the first version of the data that it is made with; in older ones it is left out, and what it starts
            from stands for its result.
        product: the kind of data that it stands for in the ablation of data, one of [`PRODUCTS`]; None leaves it out.
    """

    name: str
    recipe: str
    starts_from: Mapping[str, str]
    kinds: tuple[Kind, ...] = ()
    also: tuple[str, ...] = ()
    product: str | None = None
    since: int = 0

    @property
    def records(self) -> str:
        """What its records are called, after the recipe: "stage2_5"."""
        return self.recipe.rpartition("/")[2].replace(".", "_")

    @property
    def file(self) -> str:
        """The file of its own records in a data set."""
        return f"train_{self.records}.json"

    @property
    def sources(self) -> tuple[Stage, ...]:
        """The stages whose records it is trained on: its own first."""
        return (*([self] if self.kinds else []), *(STAGES[name] for name in self.also))

    @property
    def data(self) -> tuple[str, ...]:
        """The files of a data set that it is trained on."""
        return tuple(stage.file for stage in self.sources)


def _choice(count: int, types: tuple[float, ...], often: Mapping[str, int]) -> Kind:
    """So many conversations of questions with options from each clip."""
    return Kind("choice", partial(records.choice, count=count, mix=Mix(types, often)))


_IN_STAGE_3 = (  # beside questions with options about objects in many frames
    Kind("qa", records.qa, _SELDOM),
    Kind("frame", records.choice_in_one_frame, _SELDOM),
    Kind("image", partial(records.of_image, categories=("color", "shape", "pattern")), _SELDOM),
    Kind("detailed", partial(records.detailed, most=2), _SELDOM, product="detailed captions"),
)

_STAGES = (
    # Conversations in words alone, in which a description stands for each object.
    Stage("language_model", "tiny/stage0_language", {}, (Kind("words", records.words),)),
    # Which letter an option has, in exercises that are made of the options of these conversations: colors, single
    # words, whole options.
    *(
        Stage(name, recipe, {_CHECKPOINT: before}, also=("language_model",), since=7)
        for name, recipe, before in (
            ("letters_colors", "tiny/stage0_letters", "language_model"),
            ("letters_words", "tiny/stage0_letters_words", "letters_colors"),
            ("letters", "tiny/stage0_letters_options", "letters_words"),
        )
    ),
    # Names of all objects in all frames.
    Stage("vision_tower", "tiny/stage0_tower", {}, (Kind("name", records.names),)),
    # Captions of whole clips and images, without regions.
    Stage(
        "stage1",
        "tiny/stage1",
        {"model.language_model": "letters", "model.vision_tower": "vision_tower"},
        (Kind("plain", records.clip_caption), Kind("plain-image", records.image_caption)),
    ),
    Stage("stage1_connector", "tiny/stage1_connector", {_CHECKPOINT: "stage1"}, also=("vision_tower",)),
    # Lists of facts about objects that are called by their names, before any is pointed at.
    Stage("stage1_named", "tiny/stage1_named", {_CHECKPOINT: "stage1_connector"}, (Kind("named", records.named),)),
    # Short captions of objects.
    Stage(
        "stage2",
        "tiny/stage2",
        {_CHECKPOINT: "stage1_named"},
        (Kind("short", records.short), Kind("image", partial(records.of_image, categories=("look",)))),
        product="short captions",
    ),
    # Lists of facts that need no clip beside the object.
    Stage(
        "stage2_objects",
        "tiny/stage2_objects",
        {_CHECKPOINT: "stage2"},
        (Kind("facts", partial(records.sheets, groups=ALONE)),),
        product="short captions",
    ),
    # Detailed captions of objects, and captions of clips.
    Stage(
        "stage2.5",
        "tiny/stage2.5",
        {_CHECKPOINT: "stage2_objects"},
        (Kind("caption", records.asked_caption), Kind("detailed", records.detailed)),
        product="detailed captions",
    ),
    # Lists of facts of all groups, and the first questions with options.
    Stage(
        "stage3_facts",
        "tiny/stage3_facts",
        {_CHECKPOINT: "stage2.5"},
        (
            Kind("facts", partial(records.sheets, groups=SHEET, by_part=True)),
            _choice(2, (0.25, 8.0, 0.3, 1.3, 0.4), {"doing": 2, "deed": 2}),
        ),
        also=("stage1_named",),
        product="questions",
    ),
    # Questions of all kinds, some about objects in one frame, and detailed captions. More questions are about two
    # objects, of which most clips have few.
    Stage(
        "stage3",
        "tiny/stage3",
        {_CHECKPOINT: "stage3_facts"},
        (_choice(3, (0.3, 6.0, 1.5, 1.0, 0.3), {"doing": 2, "deed": 6, "partner": 3}), *_IN_STAGE_3),
        product="questions",
    ),
    # New questions about the same clips, more of them of those kinds that were still answered worst.
    Stage(
        "stage3_more",
        "tiny/stage3_more",
        {_CHECKPOINT: "stage3"},
        (
            _choice(
                5,
                (0.5, 6.0, 0.9, 2.0, 1.0),
                {"shape": 2, "start": 2, "end": 3, "doing": 3, "deed": 6, "partner": 2},
            ),
            *_IN_STAGE_3,
        ),
        product="questions",
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""All stages by name, in the order of training."""


def stage_records(
    clip: Clip,
    stage: str,
    name: str,
    video: str,
    image: str | None,
    rng: np.random.Generator,
    version: int = VERSION,
) -> list[records.Record]:
    """Make the records that a clip gives to a stage of training.

    Args:
        clip: the clip.
        stage: what the stage's records are called, such as "stage0_tower" or "stage2_5"; see [`STAGES`].
        name: of the clip, with which ids begin.
        video: path of its video, as records are to have it.
        image: path of a picture of its frame `image_frame(clip)`, for records about images; none without it.
        rng: source of chance.
        version: of the data.

    Raises:
        ConfigurationError: there is no such stage, or it has no records of its own.
    """
    kinds = {one.records: one.kinds for one in STAGES.values() if one.kinds}
    if stage not in kinds:
        raise ConfigurationError(f"stage is {stage!r}: expected one of {', '.join(kinds)}")
    source = records.Source(clip, video, image, rng, version)
    numbers: Counter[str] = Counter()
    made = []
    for kind in kinds[stage]:
        if kind.share == 1 or rng.random() < kind.share:
            for record in kind.make(source):
                made.append({"id": f"{name}/{kind.name}/{numbers[kind.name]}", **record})
                numbers[kind.name] += 1
    return made
