"""Training steps of MEND and KE on a random model: seconds a step, peak memory on a GPU.

python tests/bench/bench_hypernet.py [--steps 20] [--layers 8] [--width 128] [--vocabulary 1500]
python tests/bench/bench_hypernet.py --device cuda --layers 48 --width 1600 --heads 25 --vocabulary 50257 \
        --rank 1920 --hidden 512 --condition 768 --text 200        # GPT-2 XL with the reference's sizes
"""

import argparse
from time import perf_counter

import tracing_costs  # noqa: F401
from numpy.random import default_rng

import toy  # isort: skip
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from engram.editing.trained_editors import editors, ke_network, mend_network, tasks, training
from engram.editing.trained_editors.factors import Text
from engram.model import loading, runtime

SIZES = {
    "steps": 20,
    "layers": 8,
    "width": 128,
    "heads": 4,
    "vocabulary": 1500,
    "rank": 128,
    "hidden": 128,
    "condition": 128,
    "text": 32,
    "edits": 10,
    "threads": 2,
}


def random_task(args) -> tasks.Task:
    """Edits of 12 + 3 tokens, passages of up to `text` tokens, all of random tokens."""
    rng = default_rng(0)

    def ids(count):
        return tuple(int(i) for i in rng.integers(args.vocabulary, size=count))

    def part():
        texts = [Text(ids(12), ids(3)) for _ in range(50)]
        return tasks.Part(
            [tasks.Example(text, (text,)) for text in texts], [list(ids(2 * args.text)) for _ in range(20)]
        )

    return tasks.Task(part(), part(), {})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    device = runtime.start(runtime.Runtime(args.threads, args.device))
    torch.manual_seed(0)
    with device:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=args.vocabulary,
                n_embd=args.width,
                n_layer=args.layers,
                n_head=args.heads,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    lm = loading.wrap("random", model, toy.tokenizer())
    networks = {
        "mend": mend_network.Network(rank=args.rank),
        "ke": ke_network.Network(hidden=args.hidden, condition=args.condition),
    }
    for kind, network in networks.items():
        net = editors.build(lm, kind, network, 0)
        count = sum(value.numel() for value in net.parameters())
        how = training.Settings(args.steps, 1e-6, args.steps, args.steps, edits=args.edits)
        run = training._Run(lm, net, how, args.text, (0, "bench"))
        adam, part, seconds = torch.optim.Adam(net.groups(how.rate, how.edit_rate)), random_task(args).train, []
        for step in range(args.steps):
            begin = perf_counter()
            training._step(run, adam, part, step)  # ends with the losses as numbers, so the device is done
            seconds.append(perf_counter() - begin)
        peak = f", peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device.type == "cuda" else ""
        print(
            f"{kind}: {sorted(seconds)[len(seconds) // 2]:.3f} s a step of {args.edits} edits, "
            f"{count / 1e6:.1f} million "
            f"parameters{peak}, {args.threads} threads"
        )


if __name__ == "__main__":
    main()
