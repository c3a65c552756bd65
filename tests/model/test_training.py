"""Training: deterministic, learns, and what is saved loads through the path that every model takes."""

import pandas as pd
import pytest
import torch

from engram.model import loading, training

CORPUS = pd.DataFrame(
    {
        "document_id": [0, 1, 2],
        "kind": "x",
        "weight": [1.0, 1.0, 2.0],
        "text": ["Alice plays the piano.", "Peter plays the harp.", "Clara speaks Dutch."],
    }
)
SETTINGS = training.Training(
    layers=2, width=16, heads=2, vocabulary=300, context=32, steps=25, batch=4, length=12, rate=0.02
)


def test_same_seed_same_weights_and_the_loss_falls(tmp_path):
    one, tokenizer, log = training.train(CORPUS, SETTINGS, "toy", 0)
    again, _, log_again = training.train(CORPUS, SETTINGS, "toy", 0)
    other, _, _ = training.train(CORPUS, SETTINGS, "toy", 1)
    assert log.equals(log_again) and log["loss"].iloc[-1] < 0.6 * log["loss"].iloc[0]
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(one.transformer.wte.weight, other.transformer.wte.weight)

    one.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = loading.load("toy", tmp_path)
    ids = torch.tensor([lm.tokenizer("Alice plays the")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(lm.model(input_ids=ids).logits, one(input_ids=ids).logits)
    assert lm.tokenizer("Clara")["input_ids"] == tokenizer("Clara")["input_ids"]
    assert lm.tokenizer.eos_token == "<|endoftext|>"


def test_sequences_start_with_a_document_and_weights_are_respected():
    packer = training.Packer([[1], [2, 2]], [1.0, 0.0], 5, 0, ("key",))
    assert packer.batch(0, 3).tolist() == [[1, 0, 1, 0, 1]] * 3
    both = training.Packer([[1], [2]], [3.0, 1.0], 64, 0, ("key",)).batch(1, 64)
    assert (both == 1).sum() / (both > 0).sum() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(both, training.Packer([[1], [2]], [3.0, 1.0], 64, 0, ("key",)).batch(1, 64))


def test_rate_warms_up_and_falls_to_zero():
    rates = [training.rate_at(step, SETTINGS) for step in range(25)]
    assert max(rates) == pytest.approx(0.02) and rates.index(max(rates)) in (1, 2) and rates[-1] < 0.001


def test_an_architecture_without_a_row_is_refused():
    model = training.new_model(SETTINGS, training.train_tokenizer(list(CORPUS["text"]), 300), 0)
    model.config.model_type = "bloom"
    with pytest.raises(ValueError, match="no row for model_type 'bloom'"):
        loading.wrap("x", model, None)
