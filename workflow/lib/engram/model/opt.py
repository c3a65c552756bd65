"""OPT whose MLP sees rows and tokens, and whose positions are whole numbers; what it computes is transformers' OPT.

transformers' block flattens a batch before its MLP, so a hook on the MLP's projections could not tell rows and tokens;
its decoder counts positions by a running sum of floats, which has no deterministic form on CUDA. Tests compare both.
engram.model.loading.CLASSES loads these classes in place of transformers'.

Shapes: B rows, T tokens, d width.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import OPTConfig
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.opt import modeling_opt


class OPTDecoderLayer(modeling_opt.OPTDecoderLayer):
    """A block of OPT whose fc1 reads [B, T, d] and whose fc2 returns [B, T, d]."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """The block's output [B, T, d] from its input `hidden_states` [B, T, d]; the rest is transformers'."""
        norm_first = self.do_layer_norm_before
        read = self.self_attn_layer_norm(hidden_states) if norm_first else hidden_states
        output, _ = self.self_attn(
            hidden_states=read,
            past_key_values=past_key_values,
            position_ids=position_ids,
            attention_mask=attention_mask,
            **kwargs,
        )
        x = hidden_states + output
        x = x if norm_first else self.self_attn_layer_norm(x)
        read = self.final_layer_norm(x) if norm_first else x
        x = x + self.fc2(self.activation_fn(self.fc1(read)))
        return x if norm_first else self.final_layer_norm(x)


class OPTDecoder(modeling_opt.OPTDecoder):
    """A decoder of OPT that numbers positions 0, 1, 2, … where it is given no mask."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """What transformers' decoder returns; arguments are its own."""
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        if kwargs.get("position_ids") is None and attention_mask is None and tokens is not None:
            begin = 0 if past_key_values is None else past_key_values.get_seq_length()
            kwargs["position_ids"] = torch.arange(begin, begin + tokens.shape[1], device=tokens.device)[None]
        return super().forward(input_ids, attention_mask, past_key_values, inputs_embeds, **kwargs)


class OPTForCausalLM(modeling_opt.OPTForCausalLM):
    """transformers' OPT with the decoder and the blocks of this module, the same names of parameters, no dropout."""

    def __init__(self, config: OPTConfig) -> None:
        super().__init__(config)
        self.model.decoder.__class__ = OPTDecoder
        for block in self.model.decoder.layers:
            block.__class__ = OPTDecoderLayer
