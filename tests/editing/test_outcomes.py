"""What edited models say: batched against one prompt at a time with really changed weights."""

import pytest
import torch

import toy
from changed_weights import assorted, low, random, snapshot, unchanged, written
from crossed import crossed
from engram.editing import outcomes, records
from engram.job import seeds
from engram.model import decoding, generation, scoring, tokens
from engram.model.delta import NOTHING, Delta, place
from evaluated_records import RECORDS, ZSRE, config, deltas, slow_score
from toy import COARSE, lm, loaded

KINDS = toy.ARCHITECTURES


def check_scores(model, table, changes, tolerance):
    tok = model.tokenizer
    for index, record in enumerate(RECORDS.itertuples()):
        prompts = {
            "rewrite": [record.prompt.replace("{}", record.subject)],
            "paraphrase": record.paraphrase_prompts,
            "neighborhood": record.neighborhood_prompts,
            "attribute": record.attribute_prompts,
        }
        with written(model, changes[index]):
            for row in table[table["case_id"] == record.case_id].itertuples():
                prompt = prompts[row.kind][row.prompt_index]
                ids = tok(prompt)["input_ids"]
                target = tok(f"{prompt} {getattr(record, f'target_{row.target}')}")["input_ids"][len(ids) :]
                nll, correct = slow_score(model, ids, target)
                assert row.nll == pytest.approx(nll, rel=tolerance) and row.correct == correct


@pytest.mark.parametrize(("kind", "batch"), crossed([1, 7, 64]))
def test_scores_equal_one_prompt_at_a_time(kind, batch):
    model = loaded(kind, torch.float64)
    table = outcomes.scores(model, RECORDS, deltas(model), "counterfact", config(batch))
    assert len(table) == 3 * 6 * 2
    check_scores(model, table, deltas(model), 1e-5 if kind in COARSE else 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_float32_agree_to_1e_5(kind):
    model = loaded(kind)
    changes = [assorted(model)[i] for i in (0, 3, 5)]
    table = outcomes.scores(model, RECORDS, changes, "counterfact", config())
    check_scores(model, table, changes, 1e-5)


def test_a_prompt_is_read_once_for_both_targets():
    """Prompts of six texts; two of them differ by nothing, and a target of one token needs its prompt alone."""
    model = lm("gpt2")
    queries, _ = records.queries(model.tokenizer, RECORDS[:1], "counterfact")
    todo, which = scoring.readings(queries, [NOTHING])
    read = [sequence.ids for sequence in todo]
    assert len(queries) == 12 and sum(len(sequence.asked) for sequence in todo) == sum(
        len(q.target_ids) for q in queries
    )
    for query in queries:
        ids = query.prompt_ids + query.target_ids[:-1]
        assert sum(one[: len(ids)] == ids for one in read) >= 1
    assert not any(a != b and b[: len(a)] == a for a in read for b in read), "nothing is read twice"
    assert len(read) == len(set(read)) <= 2 * 5 and set(which) == {0}
    three, _ = records.queries(model.tokenizer, RECORDS, "counterfact")
    assert len(scoring.readings(three, [NOTHING] * 3)[0]) < sum(
        len(scoring.readings(records.queries(model.tokenizer, RECORDS[i : i + 1], "counterfact")[0], [NOTHING])[0])
        for i in range(3)
    ), "one model reads a prompt of several records once"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("mistral", "phi3")])  # those: test_tokens.py
def test_zsre_equals_the_published_procedure_one_text_at_a_time(kind):
    """The reference's loop: text + decode(target[:i]) must be followed by the first token of decode(target[i])."""
    model, tok = loaded(kind, torch.float64), loaded(kind).tokenizer
    changes = deltas(model, 2)
    table = outcomes.scores(model, ZSRE, changes, "zsre", config(3))
    expected = []
    for index, row in enumerate(ZSRE.itertuples()):
        with written(model, changes[index]), torch.no_grad():
            for text, answer in (
                (f"Where is {row.subject}?", row.target_new),
                (row.rephrase, row.target_new),
                ("nq question: who plays chess?", row.loc_target),
            ):
                ids = tok(" " + answer, add_special_tokens=False)["input_ids"]
                for i in range(len(ids)):
                    logits = model.model(input_ids=torch.tensor([tok(text + tok.decode(ids[:i]))["input_ids"]])).logits[
                        0, -1
                    ]
                    goal = tok(tok.decode(ids[i]), add_special_tokens=False)["input_ids"][0]
                    expected.append(
                        (row.case_id, i, int(logits.argmax()) == goal, -float(logits.log_softmax(-1)[goal]))
                    )
    assert list(zip(table["case_id"], table["token"], table["correct"])) == [one[:3] for one in expected]
    assert table["nll"].tolist() == pytest.approx([one[3] for one in expected], rel=1e-5 if kind in COARSE else 1e-9)
    assert (table["kind"] + table["target"]).unique().tolist() == ["rewritenew", "paraphrasenew", "neighborhoodtrue"]
    assert "�" in "".join(tok.decode([token]) for token in tok(" Zürich 東京")["input_ids"]), (
        "foreign characters are tested"
    )


def slow_sample(model, prompt, key, length, top_k):
    ids, draws = model.tokenizer(prompt)["input_ids"], seeds.rng(*key).random(length)
    while len(ids) < length:
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        best = sorted(range(len(logits)), key=lambda token: -float(logits[token]))[:top_k]
        weights = torch.tensor([float(logits[token]) for token in best]).double().softmax(0).tolist()
        total, pick = 0.0, best[-1]
        for token, weight in zip(best, weights):
            total += weight
            if draws[len(ids)] < total:
                pick = token
                break
        ids.append(pick)
    return generation.tidy(model.tokenizer.decode(ids[len(tokens.start(model.tokenizer)) :]), model.tokenizer)


def check_texts(model, table, changes, length, top_k, case_ids=(10, 11, 12)):
    assert len(table) == 3 * len(case_ids)
    for row in table.itertuples():
        index = row.case_id - 10
        assert row.prompt == RECORDS["generation_prompts"][index][row.prompt_index]
        with written(model, changes[index]):
            assert row.text == slow_sample(model, row.prompt, ("key", row.case_id, row.prompt_index), length, top_k)


@pytest.mark.parametrize(("kind", "batch"), crossed([4, 64]))
def test_texts_equal_sampling_one_prompt_at_a_time_without_cache(kind, batch):
    model = loaded(kind, torch.float64)
    check_texts(model, outcomes.texts(model, RECORDS, deltas(model), config(batch), ("key",)), deltas(model), 24, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_identical_in_float32(kind):
    model = loaded(kind)
    changes = [assorted(model)[i] for i in (2, 5, 6)]
    table = outcomes.texts(model, RECORDS, changes, config(generation_tokens=40, top_k=1), ("key",))
    check_texts(model, table, changes, 40, 1)


def test_a_prompt_as_long_as_the_text_is_cut():
    model = lm("gpt2")
    (text, other) = generation.generate(model, ["Thomas James Martin plays", "R"], [("a",), ("b",)], 3, 2)
    assert text == model.tokenizer.decode(tokens.encode(model.tokenizer, "Thomas James Martin plays")[:3])
    assert other == slow_sample(model, "R", ("b",), 3, 2) and len(other) > 1


def everything(model, changes, settings, rows=RECORDS):
    return outcomes.outcomes(model, rows, changes, "counterfact", settings, ("key",))


def test_nothing_depends_on_batches_threads_or_order():
    model = lm("gpt2")
    changes, tables = deltas(model), []
    for batch, threads in ((64, 1), (5, 1), (5, 2), (5, 3)):
        torch.set_num_threads(threads)
        tables.append(everything(model, changes, config(batch)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    for table in tables[1:]:
        assert table["texts"].equals(tables[0]["texts"])
        assert table["scores"]["nll"].tolist() == pytest.approx(tables[0]["scores"]["nll"].tolist(), rel=1e-5)
    assert tables[1]["scores"].equals(tables[2]["scores"]) and tables[1]["scores"].equals(tables[3]["scores"]), (
        "not one bit"
    )
    backwards = everything(model, changes[::-1], config(5), RECORDS[::-1])["texts"]
    assert backwards.sort_values(["case_id", "prompt_index"], ignore_index=True).equals(tables[0]["texts"])


def test_dense_changes_stay_within_their_budget(monkeypatch):
    """Never more than two matrices stacked, and the same outcomes as with room for all."""
    model = lm("gpt2", torch.float64)
    changes = [Delta({1: random(place(model, 1).weight.shape, model, i)}) for i in range(3)]
    seen, real = [], scoring.edited
    for module in (scoring, generation):
        monkeypatch.setattr(
            module, "edited", lambda lm, rows: (seen.append(len({id(row) for row in rows})), real(lm, rows))[1]
        )
    wide = everything(model, changes, config())
    assert max(seen) == 3
    seen.clear()
    narrow = everything(model, changes, config(dense_gib=2 * model.value_weight(1).nbytes / 2**30))
    assert max(seen) == 2 and narrow["texts"].equals(wide["texts"])
    check_scores(model, narrow["scores"], changes, 1e-9)


def test_a_change_that_all_records_share_is_put_into_the_weights():
    model = lm("llama", torch.float64)
    change = Delta({"model.layers.1.input_layernorm.weight": random((model.width,), model, 0), 2: low(model, 2, 3, 1)})
    before = snapshot(model)
    tables = everything(model, [change] * 3, config())
    assert unchanged(model, before)
    check_scores(model, tables["scores"], [change] * 3, 1e-9)
    check_texts(model, tables["texts"], [change] * 3, 24, 3)


@pytest.mark.parametrize("shared", [False, True])
def test_out_of_memory_halves_the_batch_with_one_warning(shared, monkeypatch, capsys):
    model = lm("gpt2")
    before, real = snapshot(model), type(model).hidden
    changes = [deltas(model)[0]] * 3 if shared else deltas(model)
    wanted = everything(model, changes, config())

    def small(self, ids, **more):
        if len(ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, ids, **more)

    step = decoding.Decoder.step

    def small_step(self, ids):
        if len(ids) > 2 and self.read_so_far > 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return step(self, ids)

    monkeypatch.setattr(type(model), "hidden", small)
    monkeypatch.setattr(decoding.Decoder, "step", small_step)
    capsys.readouterr()
    found = everything(model, changes, config())
    said = capsys.readouterr().err
    assert said.count("warning: out of memory") == 2 and "prompts at a time" in said and "texts at a time" in said
    assert found["texts"].equals(wanted["texts"]) and unchanged(model, before)
    assert found["scores"]["nll"].tolist() == pytest.approx(wanted["scores"]["nll"].tolist(), rel=1e-5)
    assert not any(module._forward_hooks for module in model.model.modules())


def test_norms_are_those_of_the_change_and_of_the_weight():
    model = lm("gpt2")
    changes = [assorted(model)[i] for i in (2, 4, 1)]
    table = outcomes.norms(model, RECORDS, changes)
    assert table["case_id"].tolist() == [10] * 2 + [11] * 4 and table["layer"].tolist() == [0, 2, 1, 1, 1, 1]
    assert table["weight"][:2].tolist() == ["transformer.h.0.mlp.c_proj.weight", "transformer.h.2.mlp.c_proj.weight"]
    assert table["delta_norm"][:2].tolist() == pytest.approx(
        [float(changes[0].dense(i).norm()) for i in (0, 2)], rel=1e-5
    )
    assert table["weight_norm"].tolist() == pytest.approx(
        [float(dict(model.model.named_parameters())[name].norm()) for name in table["weight"]], rel=1e-5
    )
    empty = outcomes.norms(model, RECORDS, [NOTHING] * 3)
    assert empty.empty and list(empty.dtypes) == list(table.dtypes)
