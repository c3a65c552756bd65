"""Integrated gradients of neurons in a plain loop of hooked forwards."""

from types import SimpleNamespace

import torch

from engram.editing.facts import Fact
from toy import PROMPTS

GATED = {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3"}


CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")


AIDS = SimpleNamespace(contexts=CONTEXTS, moments=None, targets=None, seed=0)


FACTS = [
    Fact(i, subject, prompt.replace(subject, "{}"), target, "Apple")
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]


def hooked_forward(model, ids, layer, change):
    """p(next token) [V] of a full forward in which change(activations [D]) replaces those of `layer` at the last
    token.
    """

    def before(_module, inputs):
        x = inputs[0].clone()
        flat = x.flatten(0, -2)
        flat[-1] = change(flat[-1])
        return (flat.view(x.shape),)

    handle = model.module("value", layer).register_forward_pre_hook(before)
    try:
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().softmax(-1)
    finally:
        handle.remove()


def oracle(model, ids, answers, points):
    """Scores and activations [L, D]: one layer, one point and one answer token at a time."""
    found = torch.zeros(model.layers, model.key_width(0), dtype=torch.float64)
    activations = []
    for layer in range(model.layers):
        seen = []
        with torch.no_grad():
            hooked_forward(model, ids, layer, lambda x: seen.append(x.clone()) or x)
        activations += seen
        for step in range(points):
            for answer in answers:
                leaf = (seen[0] * step / (points - 1)).requires_grad_()
                hooked_forward(model, ids, layer, lambda _x: leaf)[answer].backward()
                found[layer] += leaf.grad * seen[0] / points / len(answers)
    return found, activations
