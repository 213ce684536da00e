"""Static "actions", which the paper removes from an Annotator's texts about an object's actions (section 3.1.1).

Video LLMs often answer a question about actions with posture, visibility, or clothes. The rules are for English;
nothing is removed from texts in other languages.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Parted", "is_static", "part_static", "sentences"]


class Parted(NamedTuple):
    """The sentences about an object's actions.

    Attributes:
        dynamic (`str`): sentences about actions, in their order.
        static (`tuple[str, ...]`): sentences about states only.
    """

    dynamic: str
    static: tuple[str, ...]


# Verbs of being, posture, position and look, in all their forms.
_STATIC_VERBS = """
    is are was were be been being 's 're isn't aren't wasn't has have had having stand stands stood standing sit
    sits sat sitting lie lies lay lain lying laid kneel kneels knelt kneeling squat squats squatting crouch
    crouches crouched crouching lean leans leaned leaning rest rests rested resting perch perches perched perching
    hang hangs hung hanging recline reclines reclined reclining remain remains remained remaining stay stays stayed
    staying keep keeps kept keeping wear wears wore worn wearing appear appears appeared appearing seem seems
    seemed seeming look looks looked looking face faces faced facing pose poses posed posing exist exists existed
    existing occupy occupies occupied occupying belong belongs belonged feature features featured featuring show
    shows showed shown showing display displays displayed displaying contain contains contained containing consist
    consists resemble resembles resembled resembling park parked seat seated dress dressed locate located position
    positioned place placed situate situated see seen visible present mount mounted attach attached surround
    surrounded cover covered stationary motionless still static idle inactive
"""

# Words that end like a verb of action and are none.
_NO_ACTIONS = """
    building buildings clothing ceiling morning evening wedding painting paintings railing string spring ring king
    wing wings thing things something anything nothing everything during according including regarding concerning
    interesting striking outstanding surrounding surroundings lighting clearing parking crossing earring earrings
    stocking stockings swimming-pool bedding flooring awning siding duckling dumpling sibling siblings pudding
    icing sterling matching long-standing contrasting varying charming stunning shining glowing gleaming colored
    coloured striped patterned painted decorated closed folded tied pointed rounded curved detailed shaded framed
    focused lined worn torn raised exposed filled equipped fixed tilted angled centered centred oriented isolated
    stacked arranged adorned textured paved wooded fenced highlighted outlined marked associated related named
    called titled labeled labelled tinted blurred shadowed lit illuminated made
"""

# Verbs of action in their base form; others are recognized by "ing", or by "ed" after a form of "be".
_ACTIONS = """
    accelerate approach arrive ascend attack bark bend bike bite blink blow bounce bow break breathe bring brush
    build burn carry cast catch celebrate change charge chase cheer chew clap clean climb close collide come cook
    cough cover crash crawl cross cry cut cycle dance deliver descend dig dive drag draw dribble drift drink drive
    drop eat emerge enter escape examine exit expand explode extend fall fight fill flap flee flip float flow fly
    fold follow gallop gesture get give glide go grab grasp graze greet grip groom grow hand hit hop hover hug hunt
    hurry interact jog join juggle jump kick kiss knock land laugh launch lead leap leave lick lift light load
    lower lunge make march meet mix move nibble nod open operate paddle paint pan pass pat peck pedal peel pet pick
    play plunge point pounce pour press proceed pull punch push put race raise reach read react rear receive relax
    release remove return reverse ride rise roll rotate row rub run rush sail scan score scratch scream search
    serve shake shift shoot shout shrink shrug sing skate ski skip slam slap sleep slice slide slip slow smile
    smoke sneeze sniff snowboard spar speak speed spin splash spray spread sprint squeeze stagger start steer step
    stir stop stretch strike stroll struggle strum surf swallow sway sweep swerve swim swing swipe tackle take talk
    tap taxi throw tilt tip toss touch tow travel tread tremble trot try tumble turn twirl twist type unfold unload
    vanish vibrate wade wag wait walk wander wash wave wiggle wink wipe work wrap wrestle write yawn zoom
"""
_PAST = """
    arose ate bent bit blew bowed broke brought built burnt came caught chose clung crept cut dealt dove drank drew
    drove dug fell fled flew fought found froze gave got grew hid hit left let lit made met put ran rang reached
    rode rose said sang sank sent shook shot shrank slept slid spoke sped sprang spun stole struck swam swept swung
    taught threw told took went woke wrote
"""

# Words that end in "s" and are neither verbs nor plurals.
_NO_VERBS = """
    does its his this as across always perhaps sometimes towards upwards downwards backwards forwards sideways
    outdoors indoors besides upstairs downstairs afterwards yes plus us thus various previous
"""
# Plurals in lists of clothes and possessions; they are rarely verbs.
_THINGS = """
    glasses sunglasses goggles jeans pants trousers shorts leggings tights socks shoes boots sneakers sandals heels
    slippers gloves mittens clothes overalls pajamas suspenders sleeves stripes dots spots patterns markings letters
    words logos numbers buttons pockets laces straps earphones headphones earrings bracelets necklaces rings tattoos
    braids curls bangs ears eyes eyebrows hands arms legs feet fingers shoulders knees horns hooves paws claws wings
    feathers whiskers tails wheels tires windows doors headlights taillights lights mirrors trees bushes flowers
    leaves plants branches rocks stones mountains hills clouds buildings houses cars trucks buses boats chairs tables
    shelves books bottles cups plates bowls glasses boxes bags balls toys others objects items details accents
    highlights colors colours shades features characteristics edges lines circles squares walls floors stairs curtains
    pillows cushions blankets papers pictures posters signs flags poles wires spectators people dogs cats horses birds
    men women children players cyclists pedestrians
"""


def _forms(verb: str) -> set[str]:
    """Return the present and past forms of a regular verb; wrong forms do no harm."""
    stem = verb.removesuffix("e")
    doubled = verb + verb[-1]
    spelled = verb[:-1] + "i" if verb.endswith("y") else verb
    return {
        verb,
        f"{verb}s",
        f"{spelled}es",
        f"{stem}ed",
        f"{spelled}ed",
        f"{doubled}ed",
        f"{stem}ing",
        f"{doubled}ing",
    }


_STATIC = frozenset(_STATIC_VERBS.split())
_NONE = frozenset(_NO_ACTIONS.split()) | _STATIC
_DYNAMIC = frozenset().union(*(_forms(verb) for verb in _ACTIONS.split()), _PAST.split()) - _STATIC

_SEVERAL = frozenset(_THINGS.split())
_OTHERS = frozenset(_NO_VERBS.split()) | _SEVERAL

_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*|[,;:]")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
# Negated actions, which mean that nothing happens.
_NOT = re.compile(
    r"\b(?:(?:do|does|did|is|are|was|were|has|have)(?:\s+not|n['’]t)|not|never|without|no|any|little|minimal)\b"
    r"(?:\s+(?:any|a|an|the|visible|noticeable|significant|apparent|further|other|much|seem|appear|to|be|or|"
    r"make|makes|making|show|shows|perform|performs|performing|engage|engages|in|obvious|specific|clear)\b)*"
    r"\s+(?:mov\w+|motion\w*|action\w*|chang\w+|activit\w+|do\b|does\b|doing\b|walk\w*|react\w*|interact\w*|shift\w*)"
    r"(?:\s*(?:,|or|and|nor)\s*(?:any\s+)?(?:mov\w+|motion\w*|action\w*|chang\w+|activit\w+|gestur\w+))*"
)
# A change of posture is an action, and so is "in motion".
_CHANGES = re.compile(
    r"\b(?:stand|stands|stood|standing|sit|sits|sat|sitting|lie|lies|lay|lying|kneel|kneels|knelt|kneeling|lean|"
    r"leans|leaned|leaning|crouch|crouches|crouched|crouching)\s+(?:back\s+)?(?:up|down|forward|over|back)\b(?!\s+straight)"
    r"|\bin motion\b|\b(?:looks?|looking|looked)\s+(?:around|up|down|back|over|away|from)\b"
    r"|\bappears? and disappears?\b"
)
_BE = frozenset({"is", "are", "was", "were", "be", "been", "being", "gets", "get", "got"})


def sentences(text: str) -> list[str]:
    """Return the sentences and lines of a text."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def is_static(sentence: str) -> bool:
    """Return whether a sentence is only about presence, posture and look.

    A possible verb that is not known to be static counts as an action: a static sentence too many is better than a
    missing action.

    Examples:
        >>> is_static("The man is standing on the street, wearing a red hat.")
        True
        >>> is_static("The man stands still before he crosses the street.")
        False
    """
    said = _NOT.sub(" motionless ", sentence.lower().replace("’", "'"))
    if _CHANGES.search(said):
        return False
    words = _WORD.findall(said)
    if not any(_is_static_word(word) for word in words):
        return False
    return not any(
        _is_action(word, words[:place]) or _may_be_a_verb(word, words[:place], words[place + 1 : place + 2])
        for place, word in enumerate(words)
    )


def part_static(text: str) -> Parted:
    """Remove the sentences that are only about states."""
    dynamic: list[str] = []
    static: list[str] = []
    for sentence in sentences(text):
        (static if is_static(sentence) else dynamic).append(sentence)
    return Parted(" ".join(dynamic), tuple(static))


def _is_static_word(word: str) -> bool:
    return word in _STATIC or word.endswith("'s")


def _is_action(word: str, before: list[str]) -> bool:
    if word in _NONE:
        return False
    if word in _DYNAMIC:
        return not _names_a_thing(word, before)
    if word.endswith("ing") and len(word) > 4:
        return True
    return word.endswith("ed") and any(one in _BE for one in before[-2:])


_THE = frozenset({"a", "an", "the", "its", "his", "her", "their", "this", "these", "of", "with", "in", "on", "at"})


def _names_a_thing(word: str, before: list[str]) -> bool:
    """Return whether a possible verb is a noun or an adjective here, as in "a light" and "the open door"."""
    return bool(before) and before[-1] in _THE and not word.endswith("ing")


_OBJECTS = frozenset({"a", "an", "the", "its", "his", "her", "their"})
_PRONOUNS = frozenset({"it", "he", "she", "they", "who", "which", "that", "someone", "something", "everyone"})
_JOINTS = frozenset({",", ";", ":", "and", "but", "or", "then", "also", "suddenly", "slowly", "quickly"})
_PREPOSITIONS = frozenset(
    (
        *("by", "to", "from", "for", "near", "under", "over", "behind", "between", "among", "beside", "into", "onto"),
        *("through", "around", "against", "along", "above", "below", "beneath", "without", "like", "as", "than"),
    )
)
# Words before plurals; words with the same endings as the last ones belong to them.
_BEFORE_THINGS = frozenset(
    (
        *("two", "three", "four", "five", "six", "some", "several", "many", "few", "both", "other", "all", "various"),
        *("black", "white", "red", "blue", "green", "yellow", "orange", "brown", "gray", "grey", "pink", "purple"),
        *("beige", "dark", "light", "bright", "pale", "golden", "silver", "large", "small", "big", "little", "long"),
        *(
            "short",
            "tall",
            "thick",
            "thin",
            "round",
            "square",
            "old",
            "new",
            "young",
            "different",
            "similar",
            "wooden",
        ),
        *(
            "matching",
            "denim",
            "leather",
            "athletic",
            "running",
            "traditional",
            "colorful",
            "floral",
            "plain",
            "casual",
        ),
    )
)


def _may_be_a_verb(word: str, before: list[str], after: list[str]) -> bool:
    """Return whether an unknown word is in the position of a verb, as in "a chef wearing an apron kneads"."""
    if not before or not word.isalpha() or word in _NONE:
        return False
    last = before[-1]
    if word in _OTHERS:  # "and plants a tree"
        return word in _SEVERAL and last in _PRONOUNS | {"and", "then"} and not _OBJECTS.isdisjoint(after)
    if len(before) > 1 and last in _SEVERAL and before[-2] in _THE:  # "its lights flash"
        return word not in _PREPOSITIONS | _THE | _JOINTS and not word.endswith("ly") and word not in _BEFORE_THINGS
    if word.endswith("ed") and len(word) > 4:
        return last in _PRONOUNS
    if not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) < 4:
        return False
    if last in _PRONOUNS or last in _JOINTS:
        return True
    names = last in _THE | _PREPOSITIONS | _BEFORE_THINGS or last in _STATIC or last.endswith(("ing", "ed", "'s"))
    return not names
