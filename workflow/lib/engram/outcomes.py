"""Raw outcomes of edited models: log-probabilities, generated texts and sizes of the edits. No metric is computed here."""

import pandas as pd
import torch

from engram import generation, records, scoring
from engram.delta import Delta


def scores(lm, rows: pd.DataFrame, deltas: list[Delta], batch: int) -> pd.DataFrame:
    """Table `scores`: record i is read by the model edited by `deltas[i]`."""
    queries, keys = records.queries(lm.tokenizer, rows)
    found = scoring.score(lm, queries, deltas, batch, "probabilities")
    return pd.DataFrame([{**key, "nll": score.nll, "correct": score.correct} for key, score in zip(keys, found, strict=True)])


def texts(lm, rows: pd.DataFrame, deltas: list[Delta], length: int, top_k: int, key: tuple, batch: int) -> pd.DataFrame:
    """Table `texts`: one sample per generation prompt, seeded per (case, prompt): the same draws for every method."""
    asked = records.generation_rows(rows)
    found = generation.generate(
        lm, [row["prompt"] for row in asked], [(*key, row["case_id"], row["prompt_index"]) for row in asked],
        length, top_k, deltas, [row["record"] for row in asked], batch)
    table = pd.DataFrame([{**row, "text": text} for row, text in zip(asked, found, strict=True)])
    return table.drop(columns="record")


def norms(lm, rows: pd.DataFrame, deltas: list[Delta]) -> pd.DataFrame:
    """Table `norms`: Frobenius norms of the change and of the original weight, per record and edited layer."""
    original = {layer: float(torch.linalg.matrix_norm(lm.value_weight(layer).double()))
                for layer in {layer for delta in deltas for layer in delta.parts}}
    found = [{"case_id": case_id, "layer": layer, "delta_norm": delta.norm(layer), "weight_norm": original[layer]}
             for case_id, delta in zip(rows["case_id"], deltas, strict=True) for layer in sorted(delta.parts)]
    return pd.DataFrame(found, columns=["case_id", "layer", "delta_norm", "weight_norm"])
