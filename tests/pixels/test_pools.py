"""Every pool of the package at its first use in a process, on a machine that is busy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_colours
from tests.images.test_dicom import crafted

# Threads change places as often as they can, so that two that import one module meet; and what is
# imported by another thread than the first is written down, since they meet once in many runs.
FIRST = """
import sys, threading
sys.setswitchinterval(1e-6)
late = []
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            late.append(name)
sys.meta_path.insert(0, Watch)
"""
LAST = """
late = [n for n in late if n.partition(".")[0] in ("medcnn", "pydicom", "numpy", "torch", "PIL")]
assert not late, late
"""
HEADERS = """
from pathlib import Path
from medcnn.data.own.dicom_headers import read_headers
root = Path(sys.argv[1])
assert "pydicom" not in sys.modules
headers, refused = read_headers(root, [f"{i}.dcm" for i in range(40)])
assert (len(headers), refused) == (40, {}), refused
"""
DECODERS = """
from pathlib import Path
from medcnn.images import Preprocessing
from medcnn.pixels.decoder import decode, pixels_by
from medcnn.pixels.pool import Request
paths = [f"{i}.dcm" for i in range(40)] + [f"{i:03d}.png" for i in range(8)]
requests = [Request(row=i, path=p) for i, p in enumerate(paths)]
recipes = [pixels_by(Preprocessing(size_px=8))]
found = list(decode(requests, Path(sys.argv[1]), recipes, processes=4))
assert len(found) == 48 and not any(a.made[0].why for a in found), found
"""
LOOKS = """
from pathlib import Path
import numpy as np
from medcnn.audit.thumbnails import look_at
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
labels = LabelSpace(kind=Kind.BINARY, names=("a", "b"))
target = labels.encode(["a"])
records = tuple(
    Record(image_id=str(i), path=f"{i}.dcm", group=str(i), target=target) for i in range(40)
)
root = Path(sys.argv[1])
looks = look_at(Manifest(source="x", root=root, labels=labels, records=records), processes=4)
assert not any(f.bad for f in looks.facts), looks.facts
"""
BATCHES = """
from pathlib import Path
import numpy as np
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.images import Preprocessing
import torch
from medcnn.pixels.batches import batches
from medcnn.pixels.opening import open_store
labels = LabelSpace(kind=Kind.BINARY, names=("a", "b"))
target = labels.encode(["a"])
records = tuple(
    Record(image_id=str(i), path=f"{i:03d}.png", group=str(i), target=target) for i in range(8)
)
manifest = Manifest(source="x", root=Path(sys.argv[1]), labels=labels, records=records)
store = open_store(manifest, Preprocessing(size_px=8), cache="off")
found = batches(
    store, manifest.targets(), np.arange(8), batch_size=2, device=torch.device("cpu")
)
assert sum(len(b.rows) for b in found) == 8
"""
POOLS = {"headers": HEADERS, "decoders": DECODERS, "looks": LOOKS, "batches": BATCHES}
SPIN = "import os\nwhile os.getppid() == {0}: sum(range(100000))"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pools")
    write_colours(folder, 8)
    for number in range(40):
        (folder / f"{number}.dcm").write_bytes(crafted(PatientID=f"p{number}"))
    return folder


@pytest.mark.fault
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_pool_starts_on_a_busy_machine_without_a_half_imported_module(
    pool: str, files: Path, tmp_path: Path
) -> None:
    """Row B23: heavy modules are imported before threads start; processes import alone."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", SPIN.format(os.getpid())])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        for attempt in range(3 if pool is HEADERS else 1):
            done = subprocess.run(
                [sys.executable, "-c", FIRST + pool + LAST, str(files)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "MEDCNN_CACHE": str(tmp_path / str(attempt))},
            )
            assert "ImportError" not in done.stderr
            assert done.returncode == 0, done.stderr
    finally:
        for process in spinning:
            process.kill()
            process.wait()
