"""Fine-tuning editors: against the plain training loop of the published code, and what every editor promises."""

import pytest
import torch

from engram.editing.facts import Fact, target_tokens
from engram.methods import ft
from engram.model.delta import applied
from toy import ARCHITECTURES, lm
from tuned_weights import AIDS, FACTS, METHODS, TUNED, chance, changes, oracle, settings


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


@pytest.mark.parametrize("epsilon", [5e-4, 2e-3, 0.1])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_box_is_never_left(name, epsilon, dtype):
    model = lm("llama" if name == "ft_w" else "gpt2", dtype)
    delta = METHODS[name].edit(model, FACTS, settings(rate=1e-3 if epsilon < 0.1 else 0.05, epsilon=epsilon), AIDS)
    largest = max(part.abs().max().item() for part in delta.parts.values())
    assert largest <= epsilon and largest > 0.999 * epsilon, "the box should be reached for this test to say anything"


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
