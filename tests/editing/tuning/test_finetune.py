"""Fine-tuning editors: against the plain training loop of the published code, and what every editor promises."""

import copy
from types import SimpleNamespace

import pytest
import torch

from engram.editing.facts import Fact, target_tokens
from engram.editing.tuning import batched_finetune, finetune
from engram.methods import attn_edit, ft, ft_w
from engram.model import scoring, tokens
from engram.model.delta import applied, place
from toy import ARCHITECTURES, PROMPTS, lm

AIDS = SimpleNamespace(contexts=(), moments=None, targets=None, seed=0)
FACTS = [
    Fact(i, subject, prompt.replace(subject, "{}"), target)
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in", "chess")))
]
METHODS = {"ft": ft, "ft_w": ft_w, "attn_edit": attn_edit}
TUNED = {  # substrings of the names that the published code would look for
    "ft": {
        "gpt2": ("h.2.mlp.c_proj.",),
        "gptj": ("h.2.mlp.fc_out.",),
        "gpt_neox": ("layers.2.mlp.dense_4h_to_h.",),
        "llama": ("layers.2.mlp.down_proj.",),
    },
    "ft_w": {"gpt2": ("h.2.",), "gptj": ("h.2.",), "gpt_neox": ("layers.2.",), "llama": ("layers.2.",)},
    "attn_edit": {
        "gpt2": ("h.2.attn.c_attn.",),
        "gptj": ("h.2.attn.q_proj.", "h.2.attn.k_proj.", "h.2.attn.v_proj."),
        "gpt_neox": ("layers.2.attention.query_key_value.",),
        "llama": ("layers.2.self_attn.q_proj.", "layers.2.self_attn.k_proj.", "layers.2.self_attn.v_proj."),
    },
}


def settings(**more):
    return finetune.Settings(**{"layer": 2, "steps": 4, "rate": 2e-3, **more})


def oracle(model, facts, substrings, s, decay):
    """Change by parameter name, the published loop on a copy of the model: full forwards, one fact's row after the
    other.
    """
    twin = copy.deepcopy(model.model)
    chosen = {
        name: value.requires_grad_()
        for name, value in twin.named_parameters()
        if any(sub in name for sub in substrings)
    }
    before = {name: value.detach().clone() for name, value in chosen.items()}
    optimiser = torch.optim.Adam(chosen.values(), lr=s.rate, weight_decay=decay)

    def nll(fact):
        prompt = tokens.encode(model.tokenizer, fact.prompt.format(fact.subject))
        goal = list(scoring.target_ids(model.tokenizer, fact.target))
        chances = twin(input_ids=torch.tensor([prompt + goal])).logits[0].log_softmax(-1)
        at = [len(prompt) - 1 + (j if s.teacher_forced else 0) for j in range(len(goal))]
        return -chances[at, goal].mean()

    for _ in range(s.steps):
        losses = []
        for start in range(0, len(facts), s.batch_size):
            chunk = facts[start : start + s.batch_size]
            loss = sum(map(nll, chunk)) / len(chunk)
            losses += [loss.item()] * len(chunk)
            if loss.item() >= s.stop_loss:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if s.epsilon is not None:
                for name, value in chosen.items():
                    value.data.clamp_(before[name] - s.epsilon, before[name] + s.epsilon)
        if sum(losses) / len(losses) < s.stop_loss:
            break
    return {name: value.detach() - before[name] for name, value in chosen.items()}


def changes(model, delta):
    """The delta by parameter name, in the parameter's own orientation."""
    found = {}
    for key in delta.parts:
        at = place(model, key)
        turned = at.weight is not getattr(at.module, at.attribute)
        found[at.name] = delta.dense(key).T if turned else delta.dense(key)
    return found


@pytest.mark.parametrize("more", [{"teacher_forced": True}, {"batch_size": 2, "weight_decay": 0.1, "epsilon": 5e-3}])
@pytest.mark.parametrize("kind", ["gpt2", "gptj", "gpt_neox", "llama"])
@pytest.mark.parametrize("name", METHODS)
def test_the_change_is_that_of_the_published_loop(name, kind, more):
    model, s = lm(kind, torch.float64), settings(**more)
    found = changes(model, METHODS[name].edit(model, FACTS, s, AIDS))
    wanted = oracle(model, FACTS, TUNED[name][kind], s, s.weight_decay)
    assert set(found) == set(wanted)
    for key, change in wanted.items():
        # GPT-J's attention and Llama's norms compute in float32 whatever the weights are
        close = 1e-3 if kind in ("gptj", "llama") else 1e-7
        assert (found[key] - change).norm() < close * max(change.norm(), s.rate), key


def test_a_batch_below_the_stop_makes_no_step_and_a_mean_below_it_is_the_end():
    model, few = lm("gpt2", torch.float64), {"rate": 0.05, "batch_size": 1, "teacher_forced": True}
    until = {
        stop: oracle(model, FACTS, TUNED["ft"]["gpt2"], settings(steps=12, stop_loss=stop, **few), 0.0)
        for stop in (2, 0)
    }
    found = changes(model, ft.edit(model, FACTS, settings(steps=12, stop_loss=2, **few), AIDS))
    for name, change in until[2].items():
        assert torch.allclose(found[name], change, atol=1e-9) and not torch.allclose(until[0][name], change, atol=1e-2)
    longer = changes(model, ft.edit(model, FACTS, settings(steps=13, stop_loss=2, **few), AIDS))
    assert all(torch.equal(longer[name], change) for name, change in found.items()), (
        "it should have ended before the last step"
    )


def test_the_first_layer_is_tuned_without_a_start_in_the_middle():
    model, s = lm("gpt2", torch.float64), settings(layer=0)
    wanted = oracle(model, FACTS, ("h.0.mlp.c_proj.",), s, 0.0)
    for name, change in changes(model, ft.edit(model, FACTS, s, AIDS)).items():
        assert torch.allclose(change, wanted[name], atol=1e-9)


def chance(model, fact, teacher_forced):
    """Exp of the mean log-probability of the target's tokens, read as the loss reads them."""
    batch = finetune.batch_of(model, [fact], settings(layer=0, teacher_forced=teacher_forced))
    with torch.no_grad():
        return torch.exp(-batch.losses(model, 0)).item()


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("name", METHODS)
def test_every_target_becomes_likelier_and_the_model_stays_as_it_was(name, kind):
    model, edit, teacher_forced = lm(kind), METHODS[name].edit, ARCHITECTURES.index(kind) % 2 == 0
    s = settings(teacher_forced=teacher_forced, steps=12, rate=2e-2)
    bytes_before = {key: value.clone() for key, value in model.model.state_dict().items()}
    holders = {key: id(value) for key, value in model.model.named_parameters()}
    chances = [chance(model, fact, teacher_forced) for fact in FACTS]
    together, again, alone = edit(model, FACTS, s, AIDS), edit(model, FACTS, s, AIDS), edit(model, FACTS[1:2], s, AIDS)
    assert all(torch.equal(together.dense(key), again.dense(key)) for key in together.parts)
    for facts, delta in ((FACTS, together), (FACTS[1:2], alone)):
        with applied(model, delta):
            assert all(chance(model, fact, teacher_forced) > 1.5 * chances[fact.case_id] for fact in facts)
    assert all(torch.equal(value, bytes_before[key]) for key, value in model.model.state_dict().items())
    assert holders == {key: id(value) for key, value in model.model.named_parameters()}
    assert not any(value.requires_grad for value in model.model.parameters())


def test_weights_come_back_after_an_error(monkeypatch):
    model = lm("gpt2")
    before = {key: value.clone() for key, value in model.model.state_dict().items()}

    def fails(*_args):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(torch.optim.Adam, "step", fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        ft_w.edit(model, FACTS, settings(), AIDS)
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())
    assert not any(value.requires_grad for value in model.model.parameters())


@pytest.mark.parametrize("more", [{"teacher_forced": True, "epsilon": 5e-3}, {"weight_decay": 0.1, "side_by_side": 2}])
@pytest.mark.parametrize("kind", ["gpt2", "gptj", "gpt_neox", "llama"])
@pytest.mark.parametrize("name", ["ft", "attn_edit"])
def test_facts_side_by_side_are_those_facts_alone(name, kind, more):
    model, method, s = lm(kind, torch.float64), METHODS[name], settings(**more)
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    found, alone = method.edit_each(model, FACTS, s, AIDS), [method.edit(model, [fact], s, AIDS) for fact in FACTS]
    for one, other in zip(found, alone, strict=True):
        assert list(one.parts) == list(other.parts)
        for key, change in other.parts.items():
            # GPT-J's attention and Llama's norms compute in float32 whatever the weights are
            close = 1e-3 if kind in ("gptj", "llama") else 1e-7
            assert (one.dense(key) - change).norm() < close * max(change.norm(), s.rate), key
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())


def test_a_fact_that_is_done_leaves_the_others():
    model, few = lm("gpt2", torch.float64), {"rate": 0.02, "teacher_forced": True, "stop_loss": 2.2}
    found = ft.edit_each(model, FACTS, settings(steps=12, **few), AIDS)
    shorter = ft.edit_each(model, FACTS, settings(steps=8, **few), AIDS)
    over = [torch.equal(one.parts[2], other.parts[2]) for one, other in zip(found, shorter)]
    assert any(over) and not all(over), "some but not all should stop early for this test to say anything"
    for fact, delta in zip(FACTS, found):
        alone = ft.edit(model, [fact], settings(steps=12, **few), AIDS)
        assert all(torch.allclose(delta.parts[key], change, atol=1e-9) for key, change in alone.parts.items())


def test_side_by_side_is_for_linear_maps():
    model = lm("gpt2")
    with pytest.raises(ValueError, match=r"ln_1.weight .* linear map"):
        batched_finetune.tune_each(model, FACTS, finetune.block_names(model, 1), settings())


@pytest.mark.parametrize("epsilon", [5e-4, 2e-3, 0.1])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_box_is_never_left(name, epsilon, dtype):
    model = lm("llama" if name == "ft_w" else "gpt2", dtype)
    delta = METHODS[name].edit(model, FACTS, settings(rate=1e-3 if epsilon < 0.1 else 0.05, epsilon=epsilon), AIDS)
    largest = max(part.abs().max().item() for part in delta.parts.values())
    assert largest <= epsilon and largest > 0.999 * epsilon, "the box should be reached for this test to say anything"


def test_weight_decay_is_constant_or_the_power_law():
    assert settings(weight_decay=5e-4).decay(10_000) == 5e-4
    law = settings(decay_law=(-0.87028798, 0.15589562))
    assert law.decay(1) == pytest.approx(1.1687, abs=1e-4) and law.decay(10_000) == pytest.approx(3.861e-4, abs=1e-6)
    model = lm("gpt2", torch.float64)
    found = changes(model, ft_w.edit(model, FACTS, settings(decay_law=(-0.87028798, 0.15589562)), AIDS))
    wanted = oracle(model, FACTS, TUNED["ft_w"]["gpt2"], settings(), law.decay(3))
    assert all(torch.allclose(found[name], change, atol=1e-9) for name, change in wanted.items())


def test_published_loss_reads_every_token_at_the_last_prompt_token():
    """Worked by hand: with one position for m different tokens the loss cannot fall below log m, teacher-forced it
    can.
    """
    model, fact = lm("gpt2"), Fact(0, "Beats Music", "{} is owned by", "French")
    goal = target_tokens(model.tokenizer, fact)
    for teacher_forced in (False, True):
        s = settings(steps=100, rate=1e-2, teacher_forced=teacher_forced)
        with applied(model, ft.edit(model, [fact], s, AIDS)):
            best = chance(model, fact, teacher_forced)
        assert len(set(goal)) == 3 and (best > 0.9 if teacher_forced else 0.15 < best < 1 / 3)


def test_bad_settings_and_facts_are_refused():
    for more in (
        {"steps": 0},
        {"rate": 0.0},
        {"epsilon": 0.0},
        {"batch_size": 0},
        {"decay_law": (1.0,)},
        {"decay_law": (1.0, 1.0), "weight_decay": 0.1},
    ):
        with pytest.raises(ValueError, match=next(iter(more))):
            settings(**more)
    with pytest.raises(ValueError, match="0 to 3"):
        ft.edit(lm("gpt2"), FACTS, settings(layer=4), AIDS)
    with pytest.raises(ValueError, match="no facts"):
        ft.edit(lm("gpt2"), [], settings(), AIDS)
