"""OPT with its own forward is transformers' OPT."""

import pytest
import torch
from transformers import AutoModelForCausalLM

import toy
from engram.model import loading
from probed_models import ids_of
from toy import loaded


def test_opt_is_transformers_opt():
    for kind in ("opt", "opt_350m"):
        model, plain = loaded(kind), AutoModelForCausalLM.from_pretrained(toy._folder(kind).name)
        ids = torch.cat([ids_of(model), ids_of(model).flip(1)])
        with torch.no_grad():
            assert torch.equal(model.model(ids).logits, plain(ids).logits)
        assert model.model.state_dict().keys() == plain.state_dict().keys()
        with pytest.raises(
            ValueError, match=r"modeling_opt.OPTForCausalLM; right is the one in engram.model.loading.CLASSES"
        ):
            loading.wrap("x", plain, model.tokenizer)
