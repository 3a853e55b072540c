"""How long an audit takes, and which planted copies it finds.

    python benchmarks/audit.py data=ham10000 data.root=FOLDER > result.json

Times are of `medcnn audit` without its own planting, files read once before (warm file cache) and
an empty cache of looks; then once more with that cache. Copies of 1,000 images are planted in
memory, one of each kind, and searched among all images; a found image is false where it is not of
the same patient or lesion and was not found with the original itself.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from typing import Any

from medcnn.audit.planted import recovered
from medcnn.audit.thumbnails import look_at
from medcnn.cli.compose import read_command
from medcnn.images import read_pixels
from medcnn.system.run_facts import versions
from medcnn.verbs.audit import AuditConfig
from medcnn.verbs.steps.auditing import audit_of, manifest_to_audit
from medcnn.verbs.steps.datasets import preprocessing_of

PLANTED = 1000


def main() -> None:
    config = read_command("audit", sys.argv[1:]).config
    assert isinstance(config, AuditConfig)
    preprocessing = preprocessing_of(config.data)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MEDCNN_CACHE"] = cache
        manifest, _ = manifest_to_audit(config.data, config.seed, lambda _: None)
        for record in manifest.records:
            (manifest.root / record.path).read_bytes()

        def timed() -> tuple[float, Any]:
            began = time.perf_counter()
            found, why = manifest_to_audit(config.data, config.seed, lambda _: None)
            audit = audit_of(found, why, preprocessing, config.audit, config.seed, measure=False)
            return round(time.perf_counter() - began, 2), audit

        first_s, audit = timed()
        again_s, _ = timed()
        looks = look_at(manifest)
        began = time.perf_counter()
        found = recovered(
            looks.grey,
            [row for row, f in enumerate(looks.facts) if not f.bad],
            [r.group for r in manifest.records],
            lambda row: read_pixels(manifest.root, manifest.records[row].path),
            count=PLANTED,
        )
    result = {
        "command": "python benchmarks/audit.py " + " ".join(sys.argv[1:]),
        "images": len(manifest.records),
        "audit_s": first_s,
        "audit_again_s": again_s,
        "findings": [f"{f.severity}: {f.title}" for f in audit.findings],
        "planted": {**asdict(found), "recall": found.recall, "precision": found.precision},
        "planted_s": round(time.perf_counter() - began, 2),
        "hardware": {"cpu_cores": os.cpu_count(), "machine": platform.machine()},
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_1min_at_end": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
