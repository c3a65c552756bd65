"""v* and z the obvious way: one fact at a time, all its texts in one padded batch, a full forward and backward per
step.
"""

import torch

from engram.editing.facts import essence, lookups, target_tokens
from tracing_oracle import first, hooks


def optimised(lm, fact, contexts, s):
    """Value and original value [d] and the losses of every step, for `engram.settings.objective.Settings` s."""
    goal = list(target_tokens(lm.tokenizer, fact))
    rows = [*lookups(lm.tokenizer, fact, contexts, tuple(goal[:-1]), s.token), essence(lm.tokenizer, fact, s.token)]
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows], device=lm.device)
    seen = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=lm.device)
    at = torch.arange(len(rows), device=lm.device), torch.tensor([row.position for row in rows], device=lm.device)
    kept = {}
    place = lm.module("mlp" if s.site == "mlp" else "block", s.layer)
    read = lm.module("block", lm.layers - 1 if s.loss_layer is None else s.loss_layer)

    def forward(delta):
        def add(_module, _inputs, output):
            tensor = first(output)
            kept["here"] = tensor[0, rows[0].position].detach()
            change = torch.zeros_like(tensor)
            change[at] = delta.expand(len(rows), -1)
            return (tensor + change, *output[1:]) if isinstance(output, tuple) else tensor + change

        def keep(_module, _inputs, output):
            kept["read"] = first(output)

        with hooks([(place, add), (read, keep)]):
            final = lm.model(input_ids=ids, attention_mask=seen, use_cache=False).logits.log_softmax(-1)
        read_out = lm.logits(lm.final(kept["read"])).log_softmax(-1)
        assert read is not lm.module("block", lm.layers - 1) or torch.allclose(read_out[seen > 0], final[seen > 0])
        end = rows[-1].position if s.kl_position == "subject_last" else len(rows[-1].ids) - 1
        return read_out, final[-1, end]

    with torch.no_grad():
        before = forward(torch.zeros(lm.width, device=lm.device, dtype=lm.model.dtype))[1]
    initial = kept["here"]
    delta = torch.zeros_like(initial, requires_grad=True)
    adam, losses = torch.optim.Adam([delta], lr=s.rate), []
    for step in range(s.steps):
        logprobs, now = forward(delta)
        nll = torch.stack(
            [
                -logprobs[i, torch.arange(len(row.ids) - len(goal), len(row.ids)), goal].mean()
                for i, row in enumerate(rows[:-1])
            ]
        ).mean()
        loss = (
            nll + s.kl_factor * (now.exp() * (now - before)).sum() + s.weight_decay * delta.norm() / initial.norm() ** 2
        )
        losses.append(float(loss.detach()))
        if losses[-1] < s.stop_loss or step == s.steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta *= min(1.0, float(s.clamp_norm_factor * initial.norm() / delta.norm()))
    return (initial + delta).detach(), initial, losses
