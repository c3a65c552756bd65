"""Optimised values against their oracle: the same facts in turn in one process, one at a time against the engine.

    python tests/bench/bench_targets.py [--facts 32] [--threads 2]     the embedded model; random if it is not there
    python tests/bench/bench_targets.py --xl --device cuda --facts 96        GPT-2 XL's shape, random weights, on a GPU
    python tests/bench/bench_targets.py --xl --tiny --facts 4                the same code in seconds, on a CPU

The oracle is what a reader writes from the paper: 22 texts in one padded batch, a full forward and backward per step.
With --method memit: z of the middle layer from 6 contexts. Prints seconds a fact (median over rounds), the ratio, the
multiplications and additions of matrix products that either side asks for, and what the rest of the engine's time is:
what is left of it when the counted operations run at the speed of a plain product of the MLP's shape, measured here.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import targets_oracle
import toy
from engram.editing import records
from engram.editing.facts import Fact
from engram.editing.values import descent, targets
from engram.job import io
from engram.model import contexts, loading, runtime

XL = {"layers": 48, "width": 1600, "heads": 25, "vocabulary": 50257, "std": 0.02}
TINY = {"layers": 6, "width": 64, "heads": 4, "vocabulary": 2000, "std": 0.1}
MINI = {"layers": 8, "width": 128, "heads": 4, "vocabulary": 1500, "std": 0.1}
WORDS = ["Thomas", "James", "Martin", "plays", "in", "Rome", "is", "a", "city", "the", "piano", "chess", "Switzerland"]


def random_case(shape: dict, contexts_: int):
    """A random model, facts whose prompts go on for two to four tokens after the subject, and contexts of two
    lengths.
    """
    lm = toy.lm("gpt2", **shape)
    subjects = [f"{a} {b} Martin" for a in WORDS for b in WORDS]
    prompts = ["{} plays the", "{} is", "The city of {} is in", "In Rome {} is"]
    facts = [
        Fact(i, subjects[i % len(subjects)], prompts[i % len(prompts)], ("chess", "French", "Rome")[i % 3])
        for i in range(len(subjects))
    ]
    texts = [
        " ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(3 if i % 2 else 6)) for i in range(contexts_ - 1)
    ]
    return lm, facts, ["{}"] + [text + ". {}" for text in texts]


def embedded_case(family: str):
    """The embedded model, the records that are edited, its contexts; None if they have not been made."""
    folders = [ROOT / "results" / name / "mini" for name in ("train", "known", "prefixes")]
    if not all(folder.exists() for folder in folders):
        return None
    known = io.read_table(folders[1] / "facts.parquet")
    chosen = records.chosen(io.read_table(ROOT / "data" / "mini" / "facts.parquet"), known, 10**6, True)
    table = io.read_table(folders[2] / "prefixes.parquet")
    table = (
        table if family in set(table["family"]) else table.assign(family=family)[:6]
    )  # made before there were families
    return loading.load("mini", folders[0]), records.to_facts(chosen), contexts.templates(table, family)


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


def operations(call) -> float:
    """Multiplications and additions of the matrix products in `call`, in units of 10⁹."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def speed(rows: int, width: int, device: str) -> float:
    """10⁹ operations a second of one product [rows, width] x [width, 4 width] on one core or on the device."""
    a, b, times = torch.randn(rows, width, device=device), torch.randn(width, 4 * width, device=device), []
    for _ in range(200):
        begin = clock(device)
        a @ b
        times.append(clock(device) - begin)
    return 8 * rows * width**2 / median(times) / 1e9


def settings_of(args, layers: int, trained: bool) -> targets.Settings:
    more = {} if trained else {"stop_loss": 0.0}  # a random model: all steps, for both
    if args.method == "memit":
        return targets.Settings(layer=layers // 2, site="hidden", clamp_norm_factor=0.75, **more)
    return targets.Settings(layer=17 if args.xl and not args.tiny else 0, **more)


def parsed(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("facts", 32), ("rounds", 2), ("threads", 2), ("batch", 0), ("oracle-facts", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default or 'as fits the device'}")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--method", default="rome", choices=("rome", "memit"))
    for name in ("xl", "tiny", "random"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args(argv)
    args.batch = args.batch or targets.BATCH[args.device]
    args.oracle_facts = args.oracle_facts or (2 if args.device == "cuda" else args.facts)  # of a round
    return args


def compare(lm, facts, texts, settings, args):
    """Seconds a fact of oracle and engine for every round, the largest difference of a value, equal stops."""
    seconds, worst, same = [], 0.0, []
    for start in range(0, args.rounds * args.facts, args.facts):
        part = facts[start : start + args.facts]
        few = list(range(0, len(part), -(-len(part) // args.oracle_facts)))
        begin = clock(args.device)
        expected = [targets_oracle.optimised(lm, part[index], texts, settings) for index in few]
        middle = clock(args.device)
        found = targets.optimise(lm, part, texts, settings, args.batch)
        end = clock(args.device)
        seconds.append(((middle - begin) / len(few), (end - middle) / len(part)))
        last = found.log.groupby("case_id")["step"].max()
        for index, (value, _, losses) in zip(few, expected):
            same.append(bool(last[part[index].case_id] == len(losses) - 1))
            worst = max(worst, float((found.value[index] - value.cpu()).norm() / value.norm()) if same[-1] else 0.0)
        slow, fast = seconds[-1]
        print(
            f"  oracle {slow:.3f} s a fact ({len(few)} facts), engine {fast:.4f} ({len(part)} facts)", file=sys.stderr
        )
    return seconds, worst, same


def main(argv=None):
    args = parsed(argv)
    runtime.start(runtime.Runtime(args.threads, args.device))
    case = None if args.xl or args.random else embedded_case(args.method)
    shape = (TINY if args.tiny else XL) if args.xl else MINI
    lm, facts, texts = case or random_case(shape, 21 if args.method == "rome" else 6)
    lm.model.to(args.device)
    settings = settings_of(args, lm.layers, case is not None)
    targets.optimise(lm, facts[-args.batch :], texts, settings, args.batch)  # warms up
    seconds, worst, same = compare(lm, facts, texts, settings, args)
    slow, fast = (median(pair[i] for pair in seconds) for i in (0, 1))
    some = facts[: min(args.facts, 4)]
    asked = operations(lambda: [targets_oracle.optimised(lm, fact, texts, settings) for fact in some]) / len(some)
    shared = descent.plan(lm, texts, settings)
    todo = [descent.work(lm.tokenizer, fact, shared) for fact in some]
    needed = operations(lambda: [descent.optimised(lm, [one], shared) for one in todo]) / len(some)
    rate = speed(64 * args.batch, lm.width, args.device) * (args.threads if args.device == "cpu" else 1)
    print(
        f"targets ({args.method}, {lm.name}, {args.rounds} x {args.facts} facts, {len(texts)} "
        f"contexts): oracle {slow:.3f} s, "
        f"engine {fast:.4f} s a fact, ratio {slow / fast:.1f}; largest relative difference of a value {worst:.1e}, "
        f"{sum(same)} of {len(same)} stop at the same step"
    )
    print(
        f"operations a fact: oracle {asked:.2f}, engine {needed:.2f} x 10^9, ratio "
        f"{asked / needed:.1f}; at {rate:.0f} x 10^9 "
        f"a second, as a product of the MLP's shape, the engine's take {needed / rate:.4f} s; the rest of its time, "
        f"{1 - needed / rate / fast:.0%}, is attention over few tokens, activations, copies and calls"
    )


if __name__ == "__main__":
    main()
