"""The training loop of the published fine-tuning code, spelled out, with facts and settings to hold ours against it."""

import copy
from types import SimpleNamespace

import torch

from engram.editing.facts import Fact
from engram.editing.tuning import finetune
from engram.methods import attn_edit, ft, ft_w
from engram.model import scoring, tokens
from engram.model.delta import place
from toy import PROMPTS

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


def chance(model, fact, teacher_forced):
    """Exp of the mean log-probability of the target's tokens, read as the loss reads them."""
    batch = finetune.batch_of(model, [fact], settings(layer=0, teacher_forced=teacher_forced))
    with torch.no_grad():
        return torch.exp(-batch.losses(model, 0)).item()
