"""OPT with its tokens in rows: transformers' own block flattens a batch before its MLP, so that a hook on the MLP's
projections could not say which row and token it sees. The numbers are the same; tests compare them.

Shapes: B rows, T tokens, d width.
"""

import torch
from transformers.models.opt import modeling_opt


class OPTDecoderLayer(modeling_opt.OPTDecoderLayer):
    """A block whose fc1 gets [B, T, d] and whose fc2 returns it."""

    def forward(self, hidden_states: torch.Tensor, attention_mask=None, past_key_values=None, use_cache=False,
                position_ids=None, **kwargs) -> torch.Tensor:
        first = self.do_layer_norm_before
        read = self.self_attn_layer_norm(hidden_states) if first else hidden_states
        output, _ = self.self_attn(hidden_states=read, past_key_values=past_key_values, position_ids=position_ids,
                                   attention_mask=attention_mask, **kwargs)
        x = hidden_states + output
        x = x if first else self.self_attn_layer_norm(x)
        read = self.final_layer_norm(x) if first else x
        x = x + self.fc2(self.activation_fn(self.fc1(read)))
        return x if first else self.final_layer_norm(x)


class OPTForCausalLM(modeling_opt.OPTForCausalLM):
    """transformers' model with these blocks and the same names of parameters; without dropout."""

    def __init__(self, config):
        super().__init__(config)
        for block in self.model.decoder.layers:
            block.__class__ = OPTDecoderLayer
