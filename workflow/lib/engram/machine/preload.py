"""Jobs that start with the libraries loaded: one process imports them, and is copied (fork) for each job.

To import torch and transformers takes longer than most jobs of a small model compute. Libraries alone are loaded
before: a job imports the project's own code itself, as it is then. A job's `python` is workflow/bin/python: it hands
its arguments and its stdout and stderr over, waits for the exit status, and without an answer is ordinary Python. The
job ends with it.
"""

import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

BIN = Path(__file__).parents[3] / "bin"
LIBRARIES = {  # and what of them is loaded at first use only
    "torch": (),
    "transformers": (
        "AutoConfig",
        "AutoModelForCausalLM",
        "AutoTokenizer",
        "GPT2LMHeadModel",
        "PreTrainedTokenizerFast",
    ),
    "transformers.models.opt.modeling_opt": (),
    "pandas": (),
    "pyarrow.parquet": (),
    "safetensors.torch": (),
    "tqdm": (),
    "sklearn.feature_extraction.text": (),
    "nltk": (),
    "matplotlib.pyplot": (),
    "seaborn": (),
}
KEPT: list[subprocess.Popen] = []  # while this process lives, the other's stdin stays open
# the last line of a job's log: no benchmark of Snakemake's sees the copy
USED = "processor time {:.1f} s, memory {:.0f} MiB"


def start(place: Path) -> None:
    """Start the process that jobs of this one are handed to, by way of the socket `place`. It ends when this one
    does.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        ENGRAM_PRELOADED=str(place), ENGRAM_PYTHON=sys.executable, PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"
    )
    KEPT.append(subprocess.Popen([sys.executable, "-m", "engram.machine.preload", str(place)], stdin=subprocess.PIPE))


def serve(place: str) -> None:
    """Load the libraries, then copy this process for each connection to `place`, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the jobs
    for name, lazy in LIBRARIES.items():
        module = importlib.import_module(name)
        for one in lazy:
            getattr(module, one)
    gc.freeze()  # what is loaded is never looked at again, so its memory stays shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(place)
        listener.listen(64)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _work(connection)
            connection.close()
    os.unlink(place)


def _work(connection: socket.socket) -> None:
    """One job, in the copied process; does not return."""
    status = 1
    try:
        _, outputs, _, _ = socket.recv_fds(connection, 1, 2)
        argv = json.loads(connection.makefile("r", encoding="utf-8").readline())
        for place, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
            os.dup2(stream, place)
        for name, action in ((signal.SIGCHLD, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            signal.signal(name, action)
        threading.Thread(target=_watch, args=(connection,), daemon=True).start()
        status = run(argv)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        print(USED.format(spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(status).encode())
    finally:
        os._exit(status)


def _watch(connection: socket.socket) -> None:
    """End this process as soon as the one that waits for it is gone."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def run(argv: list[str]) -> int:
    """Run a script as `python` does, in this process; returns the exit status."""
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent.resolve())
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return int(stop.code or 0) if not isinstance(stop.code, str) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
