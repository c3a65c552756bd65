"""What edited models say, written down raw: log-probabilities, generated texts, drift, and sizes of the edits.

Metrics are computed from these tables by engram.evaluation, without a model.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch

from engram.editing import drift, records
from engram.model import generation, scoring
from engram.model.delta import NOTHING, Delta, applied, distinct, place
from engram.model.loading import LM
from engram.settings.sections import Edit as Config


def outcomes(
    lm: LM,
    rows: pd.DataFrame,
    deltas: list[Delta],
    dataset: str,
    config: Config,
    key: tuple,
    written: int | None = None,
    held: drift.Heldout | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables `scores`, `texts`, `norms` and `drift` of the records `rows`; `lm` with `deltas[i]` reads record i.

    A delta that all records share is put into the weights for the time; no other model than these is run. `key` seeds
    the texts; they are those of the first `written` records, of all if it is None. Without `held`, the table `drift` is
    empty. ValueError for a record that cannot be asked, or a model whose probabilities are no numbers.
    """
    sizes = norms(lm, rows, deltas)
    with _shared(lm, deltas) as own:
        return {
            "scores": scores(lm, rows, own, dataset, config),
            "texts": texts(lm, rows[:written], own, config, key),
            "norms": sizes,
            "drift": drift.table(lm, rows, deltas, own, held, config.batch, config.budget),
        }


@contextmanager
def _shared(lm: LM, deltas: list[Delta]) -> Iterator[list[Delta]]:
    """What each record's model still has to be given while a delta that all of them share is in the weights."""
    different, _ = distinct(deltas)
    if len(different) == 1:
        with applied(lm, different[0]):
            yield [NOTHING] * len(deltas)
    else:
        yield deltas


def scores(lm: LM, rows: pd.DataFrame, deltas: list[Delta], dataset: str, config: Config) -> pd.DataFrame:
    """Table `scores`: case_id, kind, prompt_index, (zsRE: token,) target, nll, correct; one row per query.

    nll is the mean negative log-likelihood per token of the target (natural log), correct whether every one of them is
    the argmax. ValueError if an nll is not a number.
    """
    queries, keys = records.queries(lm.tokenizer, rows, dataset)
    answers = scoring.score(lm, queries, deltas, config.batch, "prompt", config.budget)
    for key, score in zip(keys, answers, strict=True):
        if math.isnan(score.nll):
            raise ValueError(
                f"record {key['case_id']}: the probabilities of the edited model are no numbers: the edit has "
                "diverged; lower the rate of the method in params"
            )
    return pd.DataFrame([{**key, "nll": score.nll, "correct": score.correct} for key, score in zip(keys, answers)])


def texts(lm: LM, rows: pd.DataFrame, deltas: list[Delta], config: Config, key: tuple) -> pd.DataFrame:
    """Table `texts`: case_id, prompt_index, prompt, text; one sample per generation prompt.

    Each is seeded by `key`, its record and its prompt, so that every method gets the same draws.
    """
    asked = records.generation_rows(rows)
    written = (
        generation.generate(
            lm,
            [row["prompt"] for row in asked],
            [(*key, row["case_id"], row["prompt_index"]) for row in asked],
            config.generation_tokens,
            config.top_k,
            deltas,
            [row["record"] for row in asked],
            config.generation_batch,
            config.budget,
        )
        if asked
        else []
    )
    table = {name: [row[name] for row in asked] for name in ("case_id", "prompt_index", "prompt")}
    kinds = {"case_id": "int64", "prompt_index": "int64", "prompt": "str", "text": "str"}
    return pd.DataFrame({**table, "text": written}).astype(kinds)


def norms(lm: LM, rows: pd.DataFrame, deltas: list[Delta]) -> pd.DataFrame:
    """Table `norms`: case_id, layer, weight (a name), delta_norm, weight_norm; a row per record and changed parameter.

    Norms are Frobenius norms, of the change and of the original. `layer` is -1 for a parameter outside of the blocks.
    """
    places = {key: place(lm, key) for delta in deltas for key in delta.parts}
    original = {key: float(torch.linalg.vector_norm(spot.weight.double())) for key, spot in places.items()}
    layers = {key: _layer(lm, spot.name) for key, spot in places.items()}
    different, index = distinct(deltas)
    own = [
        [
            {
                "layer": layers[key],
                "weight": places[key].name,
                "delta_norm": delta.norm(key),
                "weight_norm": original[key],
            }
            for key in sorted(delta.parts, key=lambda key: (layers[key], places[key].name))
        ]
        for delta in different
    ]
    table = [
        {"case_id": case_id, **row}
        for case_id, number in zip(rows["case_id"], index, strict=True)
        for row in own[number]
    ]
    return pd.DataFrame(table, columns=["case_id", "layer", "weight", "delta_norm", "weight_norm"]).astype(
        {"case_id": "int64", "layer": "int64", "weight": "str", "delta_norm": "float64", "weight_norm": "float64"}
    )


def _layer(lm: LM, name: str) -> int:
    """The layer of the parameter `name`, -1 if it is in no block."""
    return next((layer for layer in range(lm.layers) if name.startswith(lm.arch.block.format(layer) + ".")), -1)
