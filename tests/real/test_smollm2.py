"""On a model that nobody here made: ROME's edit and traces beside plain, slow ways of computing the same."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import tracing_oracle as oracle
from closed_form_oracles import Aids, slow_keys
from engram.editing.facts import Fact
from engram.editing.second_moment import Moment
from engram.methods import rome
from engram.model import conversion, loading, tokens
from engram.settings import objective
from engram.tracing import causal_trace, noise
from repository import ROOT
from traced_prompts import CONFIG

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PLACES = [Path(folder) / FILE for folder in (os.environ.get("ENGRAM_DATA_DIR", ""), ROOT / ".downloads") if folder]
HERE = next((path for path in PLACES if path.exists()), None)
pytestmark = pytest.mark.skipif(HERE is None, reason=f"{FILE} is not here; `make smoke` fetches it")
PROMPTS = [
    ("The city of Toronto is in the country called", "Toronto"),
    ("Whoever travels to Kenya sets foot on the continent of", "Kenya"),
    ("The laws of Austria are published in the national language,", "Austria"),
    ("Guides show the Eiffel Tower to the visitors of the city of", "Eiffel Tower"),
    ("The discoveries of Charles Darwin changed the science of", "Charles Darwin"),
]
WINDOW, LAYERS = 6, (0, 5, 20)


@pytest.fixture(scope="module")
def lm():
    model, tokenizer, quantisation, _ = conversion.from_gguf("smollm2", HERE, torch.float32)
    assert quantisation == "Q4_1"
    return loading.wrap("smollm2", model, tokenizer)


def test_it_knows_what_it_is_said_to_know(lm):
    said = [lm.model(torch.tensor([lm.tokenizer(prompt)["input_ids"]])).logits[0, -1].argmax() for prompt, _ in PROMPTS]
    assert [lm.tokenizer.decode([token]).strip() for token in said][:2] == ["Canada", "Africa"]


def test_romes_change_is_that_of_plain_forwards_and_a_plain_inverse(lm):
    """Rank one, from keys of single forwards, with the same v* and C (ROME eq. 2): 1e-4 of the change's norm."""
    layer, contexts = 5, ("{}", "In the evening. {}", "She opened the letter. {}")
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(4000, lm.key_width(layer), generator=generator, dtype=torch.float64)
    moment = Moment(keys.T @ keys, len(keys))
    for number, (prompt, subject) in enumerate(PROMPTS[:3]):
        fact = Fact(number, subject, prompt.replace(subject, "{}"), "Rome")
        target = torch.randn(lm.width, generator=generator)
        aids = Aids(contexts=contexts, moments={layer: moment}, targets={number: target})
        change = rome.edit(lm, [fact], objective.Settings(layer=layer), aids).dense(layer).double()
        each = slow_keys(lm, layer, fact, contexts)[0].double()
        direction = torch.linalg.inv(moment.mean) @ each.mean(0)
        now = lm.value_weight(layer).double() @ each[0]
        plain = torch.outer(target.double() - now, direction) / direction.dot(each[0])
        assert (change - plain).norm() < 1e-4 * plain.norm()


def test_traces_are_those_of_full_forward_passes(lm):
    """Five prompts, at the last subject token and the last token, in three layers: 1e-5."""
    rows = []
    for number, (prompt, subject) in enumerate(PROMPTS):
        ids = lm.tokenizer(prompt)["input_ids"]
        answer = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
        rows.append(SimpleNamespace(prompt=prompt, subject=subject, prompt_id=number, answer_id=answer, answer="x"))
    config = replace(CONFIG, samples=2, sites=("hidden", "mlp", "attn"))
    corruption = noise.Noise("std", 0.5)
    table = pd.DataFrame([vars(row) | {"correct": True} for row in rows])
    effects, _ = causal_trace.trace(lm, table, corruption, config, WINDOW, 0)
    found = effects.set_index(["prompt_id", "site", "token", "layer"])["score"]
    for row in rows:
        ids = lm.tokenizer(row.prompt)["input_ids"]
        begin, end = tokens.subject_range(lm.tokenizer, row.prompt, row.subject)
        key = (0, lm.name, "trace", row.prompt_id)
        drawn = torch.from_numpy(corruption.draw(config.samples, end - begin, lm.embed_width, config.stream, key))
        for site in config.sites:
            for token in (end - 1, len(ids) - 1):
                for layer in LAYERS:
                    plain = oracle.score(lm, ids, drawn, begin, row.answer_id, site, token, layer, WINDOW)
                    assert abs(found[row.prompt_id, site, token, layer] - plain) < 1e-5
