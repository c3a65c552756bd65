"""data/atlas/facts.csv: facts of the world, each once, and as another collection has them where both have the pair."""

import json
import re
import unicodedata

import pandas as pd
import pytest

from repository import ROOT

FACTS = pd.read_csv(ROOT / "data/atlas/facts.csv", dtype=str, keep_default_na=False)
LRE = ROOT.parent / "shared" / "data" / "lre"
SAME = {  # relations of LRE -> ours
    "country_capital_city": ["capital"],
    "country_currency": ["currency"],
    "country_language": ["language"],
    "landmark_in_country": ["landmark_country", "city_country"],
    "city_in_country": ["city_country"],
    "company_hq": ["headquarters"],
    "product_by_company": ["maker"],
    "person_plays_instrument": ["instrument"],
    "person_plays_pro_sport": ["sport"],
    "person_native_language": ["writer_language"],
    "food_from_country": ["dish_country"],
    "landmark_on_continent": ["continent"],
}
LOOKED_AT = {  # subject -> what LRE says: another name of the same, or another instrument that the person plays as well
    "United States": "Washington D.C.",
    "China": "Mandarin Chinese",
    "Eric Clapton": "violin",
    "Jimmy Page": "violin",
    "Toots Thielemans": "guitar",
    "Paul McCartney": "piano",
    "Fats Waller": "singing",
    "Mark Knopfler": "violin",
}


def plain(text: str) -> str:
    r"""A name without accents, case, article and signs; LRE writes some letters as `\\u00ed`."""
    text = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    text = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9 ]", "", re.sub(r"^the ", "", text.lower().strip()))


def test_every_fact_stands_once_and_whole():
    assert list(FACTS) == ["relation", "before", "subject", "object", "aliases"]
    assert not FACTS.duplicated(["relation", "subject"]).any()
    assert (FACTS.map(str.strip) == FACTS).all(axis=None) and (FACTS[["relation", "subject", "object"]] != "").all(
        axis=None
    )
    assert len(FACTS) >= 1500 and FACTS["relation"].nunique() >= 14
    assert (FACTS.groupby("relation")["object"].nunique() > 1).all(), "a new object can be drawn"


@pytest.mark.skipif(not LRE.is_dir(), reason="../shared/data/lre is not here")
@pytest.mark.parametrize("name", SAME)
def test_facts_are_those_of_another_collection(name):
    ours = FACTS[FACTS["relation"].isin(SAME[name])]
    known = dict(zip(map(plain, ours["subject"]), ours["object"]))
    samples = json.loads((LRE / f"{name}.json").read_text(encoding="utf-8"))["samples"]
    both = [one for one in samples if plain(one["subject"]) in known]
    other = {
        one["subject"]: one["object"] for one in both if plain(known[plain(one["subject"])]) != plain(one["object"])
    }
    assert both and other == {subject: LOOKED_AT.get(subject) for subject in other}
