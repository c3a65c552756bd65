"""OPT with its tokens in rows and positions in whole numbers. The numbers are transformers'; tests compare them.

Its own block flattens a batch before its MLP, so that a hook on the MLP's projections could not say which row and token
it sees; its decoder counts positions by a running sum of floats, which has no deterministic form on CUDA.

Shapes: B rows, T tokens, d width.
"""

import torch
from transformers.models.opt import modeling_opt


class OPTDecoderLayer(modeling_opt.OPTDecoderLayer):
    """A block whose fc1 gets [B, T, d] and whose fc2 returns it."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        position_ids=None,
        **kwargs,
    ) -> torch.Tensor:
        first = self.do_layer_norm_before
        read = self.self_attn_layer_norm(hidden_states) if first else hidden_states
        output, _ = self.self_attn(
            hidden_states=read,
            past_key_values=past_key_values,
            position_ids=position_ids,
            attention_mask=attention_mask,
            **kwargs,
        )
        x = hidden_states + output
        x = x if first else self.self_attn_layer_norm(x)
        read = self.final_layer_norm(x) if first else x
        x = x + self.fc2(self.activation_fn(self.fc1(read)))
        return x if first else self.final_layer_norm(x)


class OPTDecoder(modeling_opt.OPTDecoder):
    """A decoder that counts positions by itself where no mask says otherwise."""

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        position_ids=None,
        **kwargs,
    ):
        if position_ids is None and attention_mask is None:
            given = input_ids if inputs_embeds is None else inputs_embeds
            before = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = torch.arange(before, before + given.shape[1], device=given.device)[None]
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            position_ids=position_ids,
            **kwargs,
        )


class OPTForCausalLM(modeling_opt.OPTForCausalLM):
    """transformers' model with this decoder, these blocks and the same names of parameters; without dropout."""

    def __init__(self, config):
        super().__init__(config)
        self.model.decoder.__class__ = OPTDecoder
        for block in self.model.decoder.layers:
            block.__class__ = OPTDecoderLayer
