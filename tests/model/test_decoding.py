"""Caches of keys and values while a text is continued: what they hold is what a forward without one computes."""

import pytest
import torch

from crossed import crossed
from engram.model import block_parts, decoding
from toy import COARSE, loaded


@pytest.mark.parametrize(("kind", "cache"), crossed([decoding.Fixed, decoding.Packed]))
def test_both_caches_hold_the_past(kind, cache, monkeypatch):
    """The buffers of a GPU and those of a CPU, over several stretches and with equal beginnings read once, in memory
    that holds anything.
    """
    model, ids = loaded(kind, torch.float64), torch.randint(1, 220, (3, 60), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(decoding, "CACHES", {"cpu": cache})
    ids = ids[:, : block_parts.longest_text(model)]
    length, copies = ids.shape[1], torch.tensor([0, 2, 1, 2])
    spare = [torch.full((100_000,), torch.nan, dtype=torch.float64), torch.zeros(3)]
    with torch.no_grad():
        wanted = model.hidden(ids)[copies]
        for _ in range(2):
            decoder = decoding.Decoder(model, length, spare)
            found = [decoder.start(ids[:, :5], copies)] + [
                decoder.step(ids[copies, at : at + 1]) for at in range(5, length)
            ]
            assert torch.allclose(torch.stack(found, 1), wanted[:, 4:], atol=1e-4 if kind in COARSE else 1e-10)
            packed = isinstance(decoder.caches[0], decoding.Packed)
            decoder.leave()
            if packed:
                assert len(spare) == model.layers + 1, "one for each layer, and one for the layer that moves"
    with pytest.raises(
        ValueError, match=r"a text of 65 tokens, but (it has 64 positions|some of its layers look back 48)"
    ):
        decoding.Decoder(model, 65)
