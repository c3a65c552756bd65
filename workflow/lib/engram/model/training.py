"""Training a small GPT-2 from a corpus: byte-level BPE, packed documents, AdamW, one-cycle rate.

Training of hypernetworks that edit a model: engram.editing.trained_editors.training.
Same corpus, seed and thread count: same bytes.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from engram.job import progress, seeds
from engram.settings.models import Training

END = "<|endoftext|>"


def train_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` entries, with GPT-2's one special token."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, unk_token=END)


class Packer:
    """Draws sequences of whole documents: each starts with a document at position 0 and is cut at `length` tokens.

    documents: token ids of each, to which the token `end` is added; weights: how likely each is drawn, need not sum to
    1; key: of the generators (engram.job.seeds).
    """

    def __init__(
        self, documents: Sequence[list[int]], weights: Sequence[float] | pd.Series, length: int, end: int, key: tuple
    ) -> None:
        self.documents = [[*document, end] for document in documents]
        self.weights = np.asarray(weights) / np.sum(weights)
        self.length, self.key = length, key

    def batch(self, step: int, size: int) -> Tensor:
        """Token ids [size, length] of training step `step`; drawn from the step's own generator."""
        rng = seeds.rng(*self.key, step)
        draws = iter(rng.choice(len(self.documents), size=size * self.length, p=self.weights))
        return torch.tensor([self._sequence(draws) for _ in range(size)])

    def _sequence(self, draws: Iterator[int]) -> list[int]:
        row: list[int] = []
        while len(row) < self.length:
            row += self.documents[next(draws)]
        return row[: self.length]


def rate_at(step: int, settings: Training) -> float:
    """The learning rate of training step `step`: a linear warm-up, then half a cosine down to zero."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return settings.rate * (step + 1) / warmup
    return settings.rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))


def new_model(settings: Training, tokenizer: PreTrainedTokenizerFast, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights from `seed`, without dropout."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=settings.context,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            initializer_range=settings.spread,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train(
    corpus: pd.DataFrame, settings: Training, name: str, seed: int, device: str | torch.device = "cpu"
) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast, pd.DataFrame]:
    """The model `name` in eval mode, its tokenizer and its loss log, trained on `corpus` (columns text and weight).

    The log has one row a step: model, step, rate, loss (mean cross-entropy in nats). ValueError if the loss is not
    finite.
    """
    tokenizer = train_tokenizer(list(corpus["text"]), settings.vocabulary)
    documents = tokenizer(list(corpus["text"]), add_special_tokens=False)["input_ids"]
    packer = Packer(documents, corpus["weight"], settings.length, tokenizer.eos_token_id, (seed, name, "train"))
    model = new_model(settings, tokenizer, seeds.seed_of(seed, name, "train")).train()
    torch.nn.Module.to(model, device)
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    log = []
    bar = progress.bar(range(settings.steps), f"train {name}", "step")
    for step in bar:
        loss = _step(model, optimizer, packer.batch(step, settings.batch).to(device), rate_at(step, settings))
        log.append({"model": name, "step": step, "rate": rate_at(step, settings), "loss": loss})
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    return model.eval(), tokenizer, pd.DataFrame(log)


def _step(model: GPT2LMHeadModel, optimizer: torch.optim.Optimizer, ids: Tensor, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    logits = model(input_ids=ids).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    if not torch.isfinite(loss):
        raise ValueError(f"training diverged: loss is {loss.item()}; lower models.<name>.train.rate")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()
