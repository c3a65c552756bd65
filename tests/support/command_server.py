"""Commands of sandboxes without their start: one process has imported what `snakemake`, `dvc` and `engram` import, and
is copied (fork) for each command, and for each one that a command starts.

Most of what such a command costs in a sandbox are imports. Libraries alone are loaded before: the project's own code is
imported by the command itself, from the sandbox. The command's working folder, arguments, environment, stdin, stdout
and stderr are those of a small program of its name, which waits for the exit status and, without a server, becomes the
real one. `python` is among them, as the jobs of a run are `python SCRIPT`; what else it is asked (`-c`), a real Python
does. The one difference: all commands of a session order their sets alike, as if by one PYTHONHASHSEED.
"""

import atexit
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

REAL = Path(sys.executable).parent
COMMANDS = ("python", "snakemake", "dvc", "engram")
LIBRARIES = (  # whose imports take a tenth of a second and more, and what those leave out
    "dvc.cli.parser",
    "dvc.repo.index",
    "dvc.repo.plots",
    "dvc.rwlock",
    "networkx",
    "pandas",
    "pydantic.dataclasses",
    "pyparsing",
    "scmrepo.git",
    "smart_open",
    "snakemake.cli",
    "snakemake.report.html_reporter.data",
    "snakemake.storage",
    "torch",
)
PROGRAM = """#!{python} -IS
import _socket
import os
import sys

def asked():
    connection = _socket.socket(_socket.AF_UNIX)
    try:
        connection.connect({place!r})
    except OSError:
        return None
    words = [sys.argv[0], os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:]]
    words += [name + "=" + value for name, value in os.environ.items()]
    text = b"\\0".join(map(os.fsencode, words))
    fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    connection.sendmsg([len(text).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
    connection.sendall(text)
    return int(connection.recv(16) or 137)

name = os.path.basename(sys.argv[0])
first = sys.argv[1] if len(sys.argv) > 1 else ""
status = asked() if name != "python" or first == "-m" or first.endswith(".py") else None
if status is None:
    os.execv({real!r} + "/" + name, [{real!r} + "/" + name, *sys.argv[1:]])
os._exit(status)
"""


@cache
def programs() -> Path:
    """The folder of the small programs; their server is started with the first call and ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="commands-")
    atexit.register(folder.cleanup)
    place = str(Path(folder.name) / "socket")
    for name in COMMANDS:
        path = Path(folder.name) / name
        path.write_text(PROGRAM.format(python=sys.executable, place=place, real=str(REAL)))
        path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(128)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    atexit.register(server.communicate)  # closes its stdin
    return Path(folder.name)


def serve(listener: socket.socket, folder: str) -> None:
    """Load the libraries, then copy this process for each connection, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "engram" not in sys.modules, "commands are to import their own"
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                selector.close()
                _work(connection, folder)
            connection.close()
            _reap()


def _reap() -> None:
    """Take notice of commands that have ended, so that their processor time counts as this process's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _work(connection: socket.socket, folder: str) -> None:
    """One command, in the copied process; does not return."""
    status = 1
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 3)
        text = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_watch, args=(connection,), daemon=True).start()
        program, where, count, *words = map(os.fsdecode, text.split(b"\0"))
        os.chdir(where)
        os.environ.clear()
        os.environ.update(word.split("=", 1) for word in words[int(count) :])
        sys.executable = f"{folder}/python"  # what this command starts comes here, too
        status = run(Path(program).name, words[: int(count)])
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(status).encode())
    finally:
        os._exit(status)


def _watch(connection: socket.socket) -> None:
    """End this process as soon as the one that waits for it is gone."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def run(name: str, words: list[str]) -> int:
    """Run a command of the environment, a script or a module as Python does; the exit status."""
    module = words[1] if name == "python" and words[0] == "-m" else None
    path = os.path.abspath(words[0]) if name == "python" else str(REAL / name)
    sys.argv = words[1:] if module else words if name == "python" else [path, *words]
    added = [os.getcwd() if module else str(Path(path).parent)]
    added += [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:1] = added
    try:
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(path, run_name="__main__")
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return int(stop.code or 0) if not isinstance(stop.code, str) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
