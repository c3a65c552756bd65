"""The sweep against its oracle (one hooked transformers forward per restoration), and what must hold of any tracing."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from transformers.models.gptj.modeling_gptj import GPTJAttention

import toy
from crossed import crossed
from engram.model import adapters, block_parts, tokens
from engram.tracing import causal_trace, memory_plan, noise, restoration
from traced_prompts import CONFIG, NOISE, TOLERANCE, agree, row_of, table_of, trace_prompt


@pytest.fixture
def double_attention(monkeypatch):
    """GPT-J computes attention weights in float32 whatever its dtype; here it and the engine use the model's own."""

    def attention(self, query, key, value, attention_mask=None):
        weights = (query @ key.transpose(-1, -2) / self.scale_attn + attention_mask).softmax(-1)
        return weights @ value, weights

    monkeypatch.setattr(GPTJAttention, "_attn", attention)
    monkeypatch.setitem(block_parts.PARTS, "gptj", replace(block_parts.PARTS["gptj"], attention_float32=False))


@pytest.mark.parametrize(("kind", "dtype"), crossed(TOLERANCE))
def test_every_architecture_and_site_agrees_with_the_oracle(kind, dtype, request):
    if kind == "gptj" and dtype == torch.float64:
        request.getfixturevalue("double_attention")
    lm = toy.loaded(kind, dtype)
    tolerance = (
        1e-6 if (kind, dtype) == ("gemma2", torch.float64) else TOLERANCE[dtype]
    )  # its own softmax is in float32
    scores, _about = agree(lm, row_of(lm, " is in James Martin in is"), CONFIG, 2, tolerance)
    assert np.ptp(np.stack(list(scores.values()))) > 1000 * TOLERANCE[torch.float32]  # there is something to agree on


def test_gptj_in_float64_as_it_is_agrees_to_the_precision_of_its_float32_attention():
    lm = toy.lm("gptj", torch.float64)
    agree(lm, row_of(lm), CONFIG, 2, 1e-6)


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("number", {"replace": True, "samples": 1}),
        ("uniform", {"extra_tokens": 1}),
        ("normal", {"stream": "reference"}),
        ("student", {"stream": "reference", "replace": True, "extra_tokens": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_every_option_agrees_with_the_oracle(kind, rule, options):
    lm = toy.loaded(kind)
    moments = {"mean": np.linspace(-0.5, 0.5, lm.embed_width), "factor": np.tri(lm.embed_width) / 4}
    vectors = moments if rule in ("normal", "student") else {}
    corruption = noise.Noise(rule, None if vectors else 0.8, 5.0 if rule == "student" else None, **vectors)
    _scores, about = agree(lm, row_of(lm), replace(CONFIG, sites=("mlp", "no_attn"), **options), 2, 1e-5, corruption)
    assert about["clean"] != about["corrupted"]


@pytest.mark.parametrize("width", [1, 3, 10])
def test_every_window_agrees_with_the_oracle(width):
    lm = toy.lm("gpt2", torch.float64, layers=5)
    agree(lm, row_of(lm), CONFIG, width, 1e-11)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "relu", "gelu_pytorch_tanh"])
def test_every_activation_agrees_with_the_oracle(activation):
    lm = toy.lm("gpt2", torch.float64, activation=activation)
    agree(lm, row_of(lm), replace(CONFIG, sites=("hidden", "mlp")), 2, 1e-11)


def test_restoring_everything_gives_clean_and_nothing_gives_corrupted():
    lm = toy.lm("gpt2", torch.float64)
    row = row_of(lm, " is in James Martin in is")
    scores, about = trace_prompt(lm, row, NOISE, CONFIG, 2, 0)
    assert scores["hidden"][-1, -1] == pytest.approx(about["clean"], abs=1e-12)  # the last output is all
    assert (scores["hidden"][:-1, -1] == about["corrupted"]).all()  # the last layer elsewhere is nothing
    for table in scores.values():
        assert (table[:2] == about["corrupted"]).all()  # tokens before the subject are the same in both runs
    one = row_of(lm, "James is in is", "James")
    scores, about = trace_prompt(lm, one, NOISE, CONFIG, 1, 0)
    silent = noise.Noise("std", 0.0)
    unharmed, about = trace_prompt(lm, one, silent, CONFIG, 1, 0)
    assert all(np.allclose(table, about["clean"], rtol=0, atol=1e-12) for table in unharmed.values())


def test_a_single_corrupted_token_restored_at_the_first_block_of_a_gpt2_is_not_yet_clean_elsewhere():
    lm = toy.lm("gpt2", torch.float64)
    scores, about = trace_prompt(lm, row_of(lm, "James is in is", "James"), NOISE, CONFIG, 1, 0)
    assert abs(scores["hidden"][0, 0] - about["clean"]) > 1e-6  # later tokens have read the corrupted one in block 0


def test_results_do_not_depend_on_what_is_in_one_sweep_beyond_rounding():
    lm = toy.lm("llama")
    row = row_of(lm)
    whole, _ = trace_prompt(lm, row, NOISE, CONFIG, 2, 0)
    for size, rows in ((1, None), (2, 9), (7, None), (7, 1), (19, 9)):
        parts, _ = trace_prompt(lm, row, NOISE, CONFIG, 2, 0, size, rows)
        for site in CONFIG.sites:
            np.testing.assert_allclose(parts[site], whole[site], rtol=0, atol=1e-6)


def test_with_one_token_in_a_sweep_the_others_change_no_bit_of_it():
    lm = toy.lm()
    prompt, todo = causal_trace.prepare(lm, row_of(lm), CONFIG), restoration.restorations(CONFIG.sites, 2, lm.layers)
    every, _ = causal_trace.trace_group(lm, [prompt], NOISE, CONFIG, todo, 0, None, 1)[0]
    for token in prompt.tokens:
        alone, _ = causal_trace.trace_group(lm, [replace(prompt, tokens=(token,))], NOISE, CONFIG, todo, 0)[0]
        for site in CONFIG.sites:
            np.testing.assert_array_equal(alone[site][token], every[site][token])


def test_as_many_tokens_as_have_room_are_in_one_sweep():
    def positions(token):
        return 2 * (9 - token)

    assert restoration.sweeps([1, 2, 3, 6, 8], positions, 30) == [[1, 2], [3, 6, 8]]
    assert restoration.sweeps([1, 2, 3, 6, 8], positions, 29) == [[1], [2, 3], [6, 8]]
    assert restoration.sweeps([1, 2], positions, 1) == [[1], [2]] and restoration.sweeps([], positions, 1) == []
    assert restoration.sweeps([1, 2], positions, 30) == [[1, 2]]


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_a_gpus_way_of_computing_agrees_with_the_oracle(kind, monkeypatch):
    """Its kernels take what these chunks leave: here they are small, there the limits of the hardware."""
    monkeypatch.setattr(causal_trace, "Adapter", partial(adapters.Adapter, device="cuda"))
    monkeypatch.setattr(adapters, "_MLP_ROWS_GPU", 50)
    monkeypatch.setattr(adapters, "_ATTENTION_ROWS", 20)
    lm = toy.loaded(kind)
    agree(lm, row_of(lm), CONFIG, 2, 1e-5)


def test_results_do_not_depend_on_the_order_or_the_number_of_prompts(monkeypatch):
    monkeypatch.setattr(memory_plan, "CPU_BATCH", 80_000)  # about half of the tokens of a prompt
    lm = toy.lm()
    table = table_of(lm)
    effects, _prompts = causal_trace.trace(lm, table, NOISE, CONFIG, 2, 0)
    again, _turned = causal_trace.trace(lm, table.iloc[::-1], NOISE, CONFIG, 2, 0)
    order = ["prompt_id", "site", "token", "layer"]
    pd.testing.assert_frame_equal(*(table.sort_values(order, ignore_index=True) for table in (effects, again)))
    few, _ = causal_trace.trace(lm, table, NOISE, replace(CONFIG, prompts=1), 2, 0)
    pd.testing.assert_frame_equal(few, effects[effects["prompt_id"] == 0])


def test_results_do_not_depend_on_the_number_of_threads_which_stays_as_it_was():
    lm, tables = toy.lm(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            tables.append(causal_trace.trace(lm, table_of(lm), NOISE, CONFIG, 2, 0)[0])
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    pd.testing.assert_frame_equal(*tables)


def test_the_tables_hold_the_first_correct_prompts_and_every_token_and_layer(capsys):
    lm = toy.lm()
    effects, prompts = causal_trace.trace(lm, table_of(lm), NOISE, replace(CONFIG, prompts=2), 2, 0)
    assert prompts["prompt_id"].tolist() == [0, 2]  # 1 is not answered correctly
    assert len(effects) == sum(len(row) for row in prompts["tokens"]) * lm.layers * len(restoration.SITES)
    assert effects["score"].between(0, 1).all() and effects.dtypes["score"] == np.float64
    assert list(effects) == ["model", "prompt_id", "site", "token", "layer", "score"]
    first = prompts.iloc[0]
    assert "".join(first["tokens"][first["subject_begin"] : first["subject_end"]]) == first["subject"]
    assert "2 of 2 prompts" in capsys.readouterr().err


def test_subject_last_traces_that_token_alone():
    lm = toy.lm()
    row = row_of(lm)
    every, about = trace_prompt(lm, row, NOISE, CONFIG, 2, 0)
    one, config = pd.DataFrame([vars(row) | {"correct": True}]), replace(CONFIG, tokens="subject_last")
    table, _ = causal_trace.trace(lm, one, NOISE, config, 2, 0)
    assert set(table["token"]) == {about["subject_end"] - 1}
    hidden = table[table["site"] == "hidden"]["score"].to_numpy()
    np.testing.assert_allclose(hidden, every["hidden"][about["subject_end"] - 1], rtol=0, atol=1e-6)


def test_prompts_too_short_for_the_extra_tokens_are_passed_over():
    lm = toy.lm()
    table = table_of(lm).assign(correct=True)
    after = [
        len(tokens.encode(lm.tokenizer, row.prompt)) - tokens.subject_range(lm.tokenizer, row.prompt, row.subject)[1]
        for row in table.itertuples()
    ]
    extra = sorted(set(after))[1]  # at least one prompt is too short, and another is not
    long_enough = [row.prompt_id for row, count in zip(table.itertuples(), after) if count >= extra]
    assert 0 < len(long_enough) < len(table)
    _, traced = causal_trace.trace(lm, table, NOISE, replace(CONFIG, extra_tokens=extra), 2, 0)
    assert traced["prompt_id"].tolist() == long_enough
    _, first = causal_trace.trace(lm, table, NOISE, replace(CONFIG, extra_tokens=extra, prompts=1), 2, 0)
    assert first["prompt_id"].tolist() == long_enough[:1]


def test_tracing_leaves_the_model_as_it_was():
    lm = toy.lm()
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    trace_prompt(lm, row_of(lm), NOISE, CONFIG, 2, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(module._forward_hooks for module in lm.model.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": ("mpl",)}, "mpl"),
        ({"sites": ()}, "at least 1 item"),
        ({"stream": "x"}, "counter"),
        ({"tokens": "first"}, "subject_last"),
        ({"samples": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_errors_name_the_prompt():
    lm = toy.lm()
    with pytest.raises(ValueError, match=r"prompt 3 .*only 5 tokens follow"):
        trace_prompt(lm, row_of(lm), NOISE, replace(CONFIG, extra_tokens=9), 2, 0)
    with pytest.raises(ValueError, match="has 9 tokens after its subject: nothing to trace"):
        causal_trace.trace(lm, table_of(lm), NOISE, replace(CONFIG, extra_tokens=9), 2, 0)
    with pytest.raises(ValueError, match="nothing to trace"):
        causal_trace.trace(lm, table_of(lm).assign(correct=False), NOISE, CONFIG, 2, 0)
    row = row_of(lm)
    row.prompt += " in" * 64
    with pytest.raises(ValueError, match="64 positions"):
        trace_prompt(lm, row, NOISE, CONFIG, 2, 0)
