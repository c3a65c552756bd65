"""Prompts to trace on toy models, and tracing of them beside its oracle."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

import tracing_oracle as oracle
from engram.model import tokens
from engram.tracing import causal_trace, noise, restoration

CONFIG = causal_trace.Config(prompts=9, samples=3, sites=restoration.SITES)


NOISE = noise.Noise("std", 0.8)


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def row_of(lm, prompt=" James Martin is in the in", subject=" James Martin", prompt_id=3):
    """A row of stage `known`: the answer is the model's own next token, so that its probability is not small."""
    ids = lm.tokenizer(prompt)["input_ids"]
    answer = lm.model(torch.tensor([ids])).logits[0, -1].argmax().item()
    return SimpleNamespace(prompt=prompt, subject=subject, prompt_id=prompt_id, answer_id=answer, answer="x")


def table_of(lm, count=4):
    prompts = [
        " James Martin is in the in",
        " is in Thomas James is",
        "Thomas James Martin plays the",
        " in is James in in",
    ]
    subjects = [" James Martin", "Thomas James", "Thomas James Martin", "James"]
    rows = [vars(row_of(lm, p, s, i)) | {"correct": i != 1} for i, (p, s) in enumerate(zip(prompts, subjects))]
    return pd.DataFrame(rows[:count])


def expected(lm, row, config, width, corruption=NOISE):
    ids = lm.tokenizer(row.prompt)["input_ids"]
    begin, end = tokens.subject_range(lm.tokenizer, row.prompt, row.subject)
    drawn = corruption.draw(
        config.samples,
        end + config.extra_tokens - begin,
        lm.embed_width,
        config.stream,
        (0, lm.name, "trace", row.prompt_id),
    )
    at = (lm, ids, torch.from_numpy(drawn), begin, row.answer_id)
    base = oracle.probabilities(*at, config.replace)
    scores = {}
    for site in config.sites:
        held = oracle.kept(*at, site, config.replace)
        table = [
            [oracle.score(*at, site, token, layer, width, config.replace, held) for layer in range(lm.layers)]
            for token in range(len(ids))
        ]
        scores[site] = np.array(table)
    return base, scores


def trace_prompt(lm, row, corruption, config, width, seed, *together):
    """One prompt alone: scores [T, L] per site and its row of the table of prompts."""
    return trace_all(lm, [row], corruption, config, width, seed, *together)[0]


def trace_all(lm, rows, corruption, config, width, seed, *together):
    """Prompts of one length together; `together`: how many restorations, and positions, are in one sweep."""
    group = [causal_trace.prepare(lm, row, config) for row in rows]
    return causal_trace.trace_group(
        lm, group, corruption, config, restoration.restorations(config.sites, width, lm.layers), seed, *together
    )


def agree(lm, row, config, width, tolerance, corruption=NOISE):
    base, scores = expected(lm, row, config, width, corruption)
    for rows in (None, 7, 1):  # all tokens in one sweep, some, one
        found, about = trace_prompt(lm, row, corruption, config, width, 0, None, rows)
        assert abs(about["clean"] - base[0].item()) <= tolerance
        assert abs(about["corrupted"] - base[1:].mean().item()) <= tolerance
        for site in config.sites:
            np.testing.assert_allclose(found[site], scores[site], rtol=0, atol=tolerance, err_msg=f"{site}, {rows}")
    return scores, about


SAME_LENGTH = [
    (" is in James Martin in is", " James Martin"),
    (" James Martin is in is in", " James Martin"),
    (" is James Martin in is in", " James Martin"),
]


OTHERS = [("James is in is", "James"), (" in is James in in is in", " James")]


def rows_of(lm, texts=SAME_LENGTH + OTHERS):
    return [row_of(lm, prompt, subject, i) for i, (prompt, subject) in enumerate(texts)]


def table(lm):
    return pd.DataFrame([vars(row) | {"correct": True} for row in rows_of(lm)])
