"""A file of records as its origin serves it, and attempts to obtain it."""

import hashlib
import json

import pytest

from engram.datasets import fetching
from engram.datasets.download import Patience
from engram.datasets.fetching import Original, Surroundings


def fact(number: int, text: str = "x" * 400, **request) -> dict:
    """A CounterFact record; `text` stands for each of its prompts, `request` changes keys of the requested rewrite."""
    asked = {
        "prompt": "{} speaks",
        "relation_id": "P1412",
        "subject": f"Zoë {number}",
        "target_new": {"str": "Welsh", "id": "Q1"},
        "target_true": {"str": "Greek", "id": "Q2"},
    } | request
    lists = {f"{kind}_prompts": [text] for kind in ("paraphrase", "neighborhood", "attribute", "generation")}
    return {"case_id": number, "requested_rewrite": asked, **lists}


FACTS = [fact(number) for number in range(120)]


BODY = json.dumps(FACTS).encode()


HASH = hashlib.sha256(BODY).hexdigest()


def wanted(*addresses, body=BODY, **more) -> Original:
    about = {
        "schema": "counterfact",
        "licence": "none",
        "records": 120,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return Original("facts.json", places=addresses, **about | more)


def where(folder, **more) -> Surroundings:
    return Surroundings(folder / "store", patience=Patience(attempts=3, timeout=0.5, pause=0.01), **more)


def left(folder) -> set[str]:
    return {path.name for path in (folder / "store").glob("*")}


def failure(folder, *args, **kwargs) -> str:
    with pytest.raises(fetching.NotFound) as error:
        fetching.obtain(*args, **kwargs)
    return str(error.value)
