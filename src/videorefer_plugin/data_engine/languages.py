"""Codes and names of languages, as captions and chat models use them."""

from __future__ import annotations

import re

__all__ = ["is_language", "language_of"]

# For each language its two-letter code, its three-letter codes, and its names.
_TABLE = """
    ar ara arabic, bg bul bulgarian, bn ben bengali bangla, ca cat catalan, cs ces cze czech, da dan danish,
    de deu ger german deutsch, el ell gre greek, en eng english, es spa spanish castilian español, et est estonian,
    eu eus baq basque, fa fas per persian farsi, fi fin finnish, fr fra fre french français, gl glg galician,
    gu guj gujarati, he heb hebrew iw, hi hin hindi, hr hrv croatian, hu hun hungarian, id ind indonesian in,
    is isl ice icelandic, it ita italian italiano, ja jpn japanese, ka kat geo georgian, kk kaz kazakh,
    km khm khmer, kn kan kannada, ko kor korean, lo lao, lt lit lithuanian, lv lav latvian, mk mkd mac macedonian,
    ml mal malayalam, mn mon mongolian, mr mar marathi, ms msa may malay, my mya bur burmese, ne nep nepali,
    nl nld dut dutch flemish, no nor norwegian nb nob nn nno bokmål nynorsk, pa pan punjabi, pl pol polish,
    pt por portuguese português, ro ron rum romanian moldavian, ru rus russian, si sin sinhala, sk slk slo slovak,
    sl slv slovenian slovene, sq sqi alb albanian, sr srp serbian, sv swe swedish, sw swa swahili, ta tam tamil,
    te tel telugu, th tha thai, tl tgl tagalog fil filipino, tr tur turkish, uk ukr ukrainian, ur urd urdu,
    vi vie vietnamese, zh zho chi chinese cmn mandarin yue cantonese
"""
_CODES = {word: row.split()[0] for row in _TABLE.split(",") for word in row.split()}
_CODE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]+)*")
_WORD = re.compile(r"[^\W\d_]+")


def language_of(said: str) -> str:
    """Return the language of a code or name, without the country: "en" for "en-US", "eng" and "English".

    For an unknown language, the word itself is returned, so that it only equals itself.
    """
    words = _WORD.findall(said.casefold())
    if _CODE.fullmatch(said.strip()):
        words = words[:1]
    return next((_CODES[word] for word in words if word in _CODES), words[0] if words else "")


def is_language(said: str) -> bool:
    """Return whether a text is the code of a language, or the name of a known one."""
    return bool(_CODE.fullmatch(said.strip())) or said.strip().casefold() in _CODES
