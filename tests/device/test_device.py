"""What computes on the CPU computes on another device, too: with a simulated one, where no GPU is at hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

import stage_chain

HERE = Path(__file__).parent


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch knows no devices of Python",
)
@pytest.mark.parametrize("part", ["stages", "editors", "architectures", "hypernet"])
def test_on_another_device(part, tmp_path, tmp_path_factory):
    folders = [tmp_path] if part in ("stages", "hypernet") else []
    if part == "stages":
        folders.append(stage_chain.made(tmp_path_factory))
    done = subprocess.run([sys.executable, HERE / "on_device.py", part, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(done.stdout.split()) >= 2, "it says what was compared"


EXPRESSIONS = {  # what is computed -> what its error says; None: it is no error
    "torch.ones(2, device=D) + torch.ones(2)": "tensors on two devices",
    "torch.ones(2, 3, device=D)[torch.tensor([0])].add_(torch.ones(1, 3))": "tensors on two devices",
    "torch.ones(2, device=D).index_select(0, torch.tensor([0]))": "tensors on two devices",
    "torch.ones(2, device=D).cumsum(0)": "no deterministic form on CUDA",
    "torch.ones(2, device=D).numpy()": "numpy",
    "(torch.ones(2, device=D) * 2)[torch.tensor([0])].tolist() == [2.0] or 1 / 0": None,
}
EACH = """
import json, sys
sys.path.insert(0, sys.argv[1])
import simulated, torch
D, found = simulated.DEVICE, []
for what in json.loads(sys.argv[2]):
    try:
        eval(what)
        found.append(None)
    except Exception as error:
        found.append(str(error))
print(json.dumps(found))
"""


def test_the_simulated_device_refuses_what_a_gpu_does():
    words = [sys.executable, "-c", EACH, str(HERE), json.dumps(list(EXPRESSIONS))]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    for said, (what, expected) in zip(found, EXPRESSIONS.items(), strict=True):
        assert said is None if expected is None else expected in (said or "no error"), (what, said)
