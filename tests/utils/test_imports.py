"""import_lightning_lean skips imports and changes no number; skipped packages still work."""

import subprocess
import sys

import pytest

from latentlab.utils.imports import cores_are_busy

STEPS = """
import sys
if "lean" in sys.argv:
    from latentlab.utils.imports import import_lightning_lean
    import_lightning_lean()
import lightning, torch
from torch.utils.data import DataLoader, TensorDataset

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 4)
    def training_step(self, batch, index):
        return self.line(batch[0]).square().sum()
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1, fused=True)

torch.manual_seed(0)
model = Line()
data = DataLoader(TensorDataset(torch.arange(32.0).view(8, 4)), batch_size=2)
trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(model, data)
print([float(w).hex() for w in model.line.weight.detach().flatten()])
"""
SKIPPED = """
skipped = [n for n in ("torchvision", "scipy", "matplotlib", "sympy") if n in sys.modules]
print(skipped, type(sys.modules["torch._dynamo"]).__name__)
"""
USED = """
compiled = torch.compile(lambda x: x.sin() + 1, backend="eager")
assert torch.equal(compiled(torch.ones(3)), torch.ones(3).sin() + 1)
import torch._dynamo.utils, scipy.signal
from torchmetrics.image import StructuralSimilarityIndexMeasure
assert sys.modules["torch._dynamo"] is torch._dynamo
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert type(torch._dynamo).__name__ == "module"
trainer.fit_loop.max_epochs = 3
trainer.fit(model, data)
print("used")
"""


def python(code, *argv):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *argv], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_lean_import_trains_the_same_and_skipped_packages_work():
    (expected,) = python(STEPS)
    weights, skipped, used = python(STEPS + SKIPPED + USED, "lean")
    assert weights == expected
    assert skipped == "[] _LazyCompiler"
    assert used == "used"


@pytest.mark.parametrize(
    ("busy", "variables", "expected"),
    [
        (True, {}, "1000"),
        (False, {}, "None"),
        (True, {"GOMP_SPINCOUNT": "7"}, "7"),
        (True, {"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_spin_shortly_on_busy_cores_unless_the_user_sets_it(
    monkeypatch, busy, variables, expected
):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # prints the value that OpenMP reads when torch loads
    code = (
        "import sys, os\n"
        "class AtTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "            raise SystemExit\n"
        "sys.meta_path.insert(0, AtTorch())\n"
        "from latentlab.utils import imports\n"
        f"imports.cores_are_busy = lambda: {busy}\n"
        "imports.import_lightning_lean()\n"
    )
    assert python(code) == [expected]


@pytest.mark.parametrize(
    ("running", "cores", "threads", "busy"),
    [
        (1, 2, None, False),  # only this thread runs
        (2, 2, None, True),  # another program uses one of two cores
        (2, 2, "1", False),  # one thread waits for no other
        (5, 8, "4", False),
        (6, 8, "4", True),
    ],
)
def test_cores_are_busy_if_fewer_are_idle_than_threads(
    tmp_path, monkeypatch, running, cores, threads, busy
):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    load = tmp_path / "loadavg"
    load.write_text(f"0.10 0.20 0.30 {running}/512 12345\n")
    assert cores_are_busy(load) is busy


def test_without_a_load_the_cores_are_idle(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert not cores_are_busy(tmp_path / "absent")
    (tmp_path / "other").write_text("0.1\n")
    assert not cores_are_busy(tmp_path / "other")
