"""Files are written whole or not at all, and a damaged one is named."""

import errno
import subprocess
import sys

import pytest
import torch

from engram.job import io
from repository import ROOT
from written_files import FRAME


@pytest.mark.parametrize(
    ("name", "value", "reader"),
    [
        ("x.parquet", FRAME, io.read_table),
        ("x.safetensors", {"a": torch.ones(3)}, io.read_tensors),
        ("x.json", {"a": 1}, io.read_json),
    ],
)
def test_damaged_files_are_named(folder, name, value, reader):
    io.write(folder / name, value)
    for cut in (2, 5, (folder / name).stat().st_size - 1):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-cut])
        with pytest.raises(ValueError, match=f"{name}: not a whole"):
            reader(folder / name)
        (folder / name).write_bytes(content)


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import pathlib, numpy, pandas, torch
from types import SimpleNamespace
from engram.job import arguments
random = pandas.DataFrame({"a": numpy.random.default_rng(0).random(5000)})
values = {"parquet": random, "safetensors": {"a": torch.rand(5000)},
          "json": list(range(5000)), "csv": pandas.DataFrame({"a": range(5000)}), "md": "x" * 5000}
paths = {suffix: pathlib.Path(f"out.{suffix}") for suffix in values}
script = pathlib.Path(sys.argv[1], "..", "scripts", "prefixes.py")
job = arguments.Job(script, ["x"], {}, SimpleNamespace(), SimpleNamespace(**paths), SimpleNamespace())
for suffix, path in paths.items():
    path.write_bytes(b"before")
    try:
        job.write(suffix, values[suffix])
    except OSError as error:
        print(error.errno, error.filename, path.read_bytes())
print(sorted(one.name for one in pathlib.Path(".").iterdir()))
"""


def test_a_disk_that_is_full_while_a_file_is_written(folder):
    """No room after 2,000 bytes: an OSError with the file's name; what was there stays, and no part is left."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(ROOT / "workflow/lib")], capture_output=True, text=True)
    files = [f"out.{suffix}" for suffix in ("parquet", "safetensors", "json", "csv", "md")]
    expected = [*(f"{errno.EFBIG} {file} b'before'" for file in files), str(sorted(["logs", "stage.py", *files]))]
    assert done.stdout.splitlines() == expected, done
