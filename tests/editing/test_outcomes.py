"""What edited models say: batched against one prompt at a time with really changed weights."""

import pandas as pd
import pytest
import torch
from test_delta import assorted, low, random, snapshot, unchanged, written

import toy
from engram.editing import outcomes, records
from engram.job import seeds
from engram.model import block_parts, decoding, generation, known, scoring, tokens
from engram.model.delta import NOTHING, Delta, place
from toy import PROMPTS, lm, loaded

KINDS = toy.ARCHITECTURES
COARSE = ("gptj", "gemma2")  # whose own attention computes in float32 whatever the weights are
RECORDS = pd.DataFrame(
    [
        {
            "case_id": 10 + i,
            "relation_id": "P1",
            "subject": subject,
            "prompt": prompt.replace(subject, "{}"),
            "target_new": new,
            "target_true": true,
            "paraphrase_prompts": [f"Zürich. {prompt}"] * 2,
            "neighborhood_prompts": ["Thomas plays the", "What does he do ? He"],
            "attribute_prompts": ["Apple"],
            "generation_prompts": [prompt, subject, subject],
        }
        for i, ((prompt, subject), new, true) in enumerate(
            zip(PROMPTS, ("chess", "Rome in Switzerland", "Apple"), ("CBS", "Rome in Apple", "French"))
        )
    ]
)
ZSRE = pd.DataFrame(
    [
        {
            "case_id": 20 + i,
            "subject": subject,
            "prompt": "Where is {}?",
            "target_new": new,
            "answer": "Rome",
            "rephrase": f"In which city is {subject}?",
            "loc": "nq question: who plays chess",
            "loc_answer": true,
        }
        for i, (subject, new, true) in enumerate(
            (("Zoë", "Zürich 東京", "Thomas James"), ("Rome", "Switzerland", "Ω chess"))
        )
    ]
)


def deltas(model, count=3):
    return [Delta({2: low(model, 2, 1, 10 * i)}) for i in range(count)]


def config(batch=64, **more):
    return outcomes.Config(**{"generation_tokens": 24, "top_k": 3, "batch": batch, "generation_batch": batch, **more})


def slow_score(model, ids, target):
    with torch.no_grad():
        logs = model.model(input_ids=torch.tensor([[*ids, *target]])).logits[0].log_softmax(-1)
    own = [-float(logs[len(ids) + j - 1, token]) for j, token in enumerate(target)]
    return sum(own) / len(own), all(int(logs[len(ids) + j - 1].argmax()) == token for j, token in enumerate(target))


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 7, 64])
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
    todo, which = scoring.sequences(queries, [NOTHING])
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
    assert len(scoring.sequences(three, [NOTHING] * 3)[0]) < sum(
        len(scoring.sequences(records.queries(model.tokenizer, RECORDS[i : i + 1], "counterfact")[0], [NOTHING])[0])
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
                ("nq question: who plays chess?", row.loc_answer),
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


def test_zsre_records_that_cannot_be_asked_and_unknown_datasets():
    model = lm("gpt2")
    with pytest.raises(ValueError, match=r"zsRE record 20: the prompt 'Where' must hold exactly one {}"):
        records.queries(model.tokenizer, ZSRE.assign(prompt="Where"), "zsre")
    with pytest.raises(ValueError, match="no dataset 'mcf'; there are counterfact, zsre"):
        records.queries(model.tokenizer, ZSRE, "mcf")
    assert list(outcomes.texts(model, ZSRE, [NOTHING] * 2, config(), ()).columns) == [
        "case_id",
        "prompt_index",
        "prompt",
        "text",
    ]


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [4, 64])
def test_texts_equal_sampling_one_prompt_at_a_time_without_cache(kind, batch):
    model = loaded(kind, torch.float64)
    check_texts(model, outcomes.texts(model, RECORDS, deltas(model), config(batch), ("key",)), deltas(model), 24, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_identical_in_float32(kind):
    model = loaded(kind)
    changes = [assorted(model)[i] for i in (2, 5, 6)]
    table = outcomes.texts(model, RECORDS, changes, config(generation_tokens=40, top_k=1), ("key",))
    check_texts(model, table, changes, 40, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", [decoding.Fixed, decoding.Packed])
def test_both_caches_hold_the_past(kind, cache, monkeypatch):
    """The buffers of a GPU and those of a CPU, over several stretches and with equal beginnings read once, in memory
    that holds anything.
    """
    model, ids = loaded(kind, torch.float64), torch.randint(1, 220, (3, 60), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(decoding, "CACHES", {"cpu": cache})
    ids = ids[:, : block_parts.longest_text(model)]
    length, copies = ids.shape[1], torch.tensor([0, 2, 1, 2])
    spare = [torch.full((100_000,), torch.nan, dtype=torch.float64), torch.zeros(3)]
    with torch.no_grad():
        wanted = model.hidden(ids)[copies]
        for _ in range(2):
            decoder = decoding.Decoder(model, length, spare)
            found = [decoder.start(ids[:, :5], copies)] + [
                decoder.step(ids[copies, at : at + 1]) for at in range(5, length)
            ]
            assert torch.allclose(torch.stack(found, 1), wanted[:, 4:], atol=1e-4 if kind in COARSE else 1e-10)
            packed = isinstance(decoder.caches[0], decoding.Packed)
            decoder.leave()
            if packed:
                assert len(spare) == model.layers + 1, "one for each layer, and one for the layer that moves"
    with pytest.raises(
        ValueError, match=r"a text of 65 tokens, but (it has 64 positions|some of its layers look back 48)"
    ):
        decoding.Decoder(model, 65)


@pytest.mark.parametrize(("count", "most"), [(1, 320), (2, 1), (640, 320), (641, 320), (2000, 320), (7, 3)])
def test_texts_come_in_an_even_number_of_batches(count, most):
    size = generation._even(count, most)
    assert 1 <= size <= most and (count == 1 or -(-count // size) % 2 == 0)


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


def test_draws_follow_the_top_k_distribution():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0]])
    uniform = torch.linspace(0, 1, 30001)[:-1] + 1 / 60000
    picks = generation._draw(logits.expand(len(uniform), -1), uniform, 2).squeeze(1)
    share = torch.bincount(picks, minlength=4).double() / len(uniform)
    wanted = torch.tensor([2.0, 1.0]).double().softmax(0)
    assert torch.allclose(share[[1, 2]], wanted, atol=1e-3) and share[0] == share[3] == 0


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


def test_known_needs_every_token_of_the_object():
    model = lm("gpt2")
    prompts = ["Beats Music is owned by", "Thomas James Martin plays the"]
    ids = [tokens.encode(model.tokenizer, prompt) for prompt in prompts]
    (first, p), _ = scoring.predict(model, ids)
    logits = model.model(input_ids=torch.tensor([ids[0]])).logits[0, -1].softmax(-1)
    assert first == int(logits.argmax()) and p == pytest.approx(float(logits.max()), rel=1e-5)
    table = pd.DataFrame(
        {
            "prompt_id": [0, 1],
            "relation_id": "P1",
            "prompt": prompts,
            "subject": ["Beats Music", "Thomas"],
            "attribute": [model.tokenizer.decode([first]).strip() or "x", "chess"],
        }
    )
    result = known.prompts(model, table)
    assert result["answer_id"].tolist() == [token for token, _ in scoring.predict(model, ids)]
    target = tokens.encode(model.tokenizer, " " + table["attribute"][0])
    assert result["correct"][0] == (target == [first])


@pytest.mark.parametrize(
    ("dataset", "rows", "column"), [("counterfact", RECORDS, "target_true"), ("zsre", ZSRE, "answer")]
)
def test_known_records_go_on_with_their_true_answer(dataset, rows, column):
    model = lm("gpt2")
    table = known.records(model, rows, dataset)
    for row, found in zip(rows.to_dict("records"), table.itertuples()):
        ids = tokens.encode(model.tokenizer, row["prompt"].replace("{}", row["subject"]))
        nll, correct = slow_score(model, ids, tokens.encode(model.tokenizer, " " + row[column]))
        assert found.case_id == row["case_id"] and found.correct == correct
        assert found.probability == pytest.approx(float(torch.tensor(-nll).double().exp()), rel=1e-4)


def test_empty_target_is_refused():
    with pytest.raises(ValueError, match="empty target"):
        scoring.target_ids(lm("gpt2").tokenizer, "  ")


LONG = "the piano in Rome " * 30


@pytest.mark.parametrize(
    ("column", "value", "dataset", "table", "said"),
    [
        (
            "paraphrase_prompts",
            ["Rome", LONG],
            "counterfact",
            RECORDS,
            "counterfact record 11, paraphrase prompt 1 with its object",
        ),
        ("target_new", LONG, "counterfact", RECORDS, "counterfact record 11, rewrite prompt 0 with its object"),
        ("loc_answer", LONG, "zsre", ZSRE, "zsre record 21, neighborhood prompt 0 with its object"),
    ],
)
def test_a_record_longer_than_the_model_reads_is_named(column, value, dataset, table, said):
    model = loaded("gpt2")
    records.check_lengths(model, table, dataset, ("{}", "Rome. {}"))  # as they are, they fit
    rows = [row | {column: value} if i == 1 else row for i, row in enumerate(table.to_dict("records"))]
    with pytest.raises(ValueError, match=f"^{said}: [0-9]+ tokens for model toy-gpt2, which has 64 positions"):
        records.check_lengths(model, pd.DataFrame(rows), dataset)


def test_a_context_in_front_counts_and_the_last_token_does_not():
    model, row = loaded("gpt2"), RECORDS.head(1)
    with pytest.raises(ValueError, match="counterfact record 10, its prompt behind the context 'the piano"):
        records.check_lengths(model, row, "counterfact", ("{}", f"{LONG}. {{}}"))
    fits, longer = (scoring.Query(0, (5,) * 64, target) for target in ((1,), (1, 2)))
    scoring.check_lengths(model, [fits], str)
    assert len(scoring.score(model, [fits])) == 1
    with pytest.raises(ValueError, match=r"^0: 66 tokens.*; 1 more texts are too long for it: right is"):
        scoring.check_lengths(model, [longer, longer], str)
    with pytest.raises(IndexError):
        scoring.score(model, [longer])


def test_a_fact_longer_than_the_model_reads_is_named_before_it_is_known():
    model = loaded("gpt2")
    with pytest.raises(ValueError, match="zsre record 20, its prompt with its true object: "):
        known.records(model, ZSRE.assign(answer=[LONG, "Rome"]), "zsre")
    prompts = pd.DataFrame({"prompt_id": [7], "prompt": [LONG], "attribute": ["Rome"]})
    with pytest.raises(ValueError, match=r"^fact prompt 7 with its attribute: "):
        known.prompts(model, prompts)


def test_records_that_contradict_each_other_are_found():
    facts = pd.DataFrame(
        {
            "case_id": [3, 4, 5, 6],
            "subject": ["Zoë", "Zoë", "Zoë", "Rome"],
            "relation_id": ["P1", "P1", "P2", "P1"],
            "prompt": ["{} is", "{} was", "{} is", "{} is"],
            "target_new": ["a", "b", "b", "b"],
        }
    )
    assert records.contradictions(facts) == [(3, 4)]
    assert records.contradictions(facts.drop(columns="relation_id")) == [(3, 5)]
    assert records.contradictions(facts.assign(target_new="a")) == []
