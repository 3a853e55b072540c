"""How often `medcnn readers` calls equal conditions different, and how often its intervals hold.

    python benchmarks/readers.py

Ratings after Roe and Metz (1997, Academic Radiology 4(4)): readers, cases and their interactions
vary normally, in the four structures of high and low correlation between cases and variation of
readers. Nothing differs between the conditions. A model is simulated as one more condition with its
own, fixed variation; its true AUROC is the readers' mean. One CPU, about 20 minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from medcnn.statistics.readers import Study, against, level

# variances of cases and conditions x cases, of readers x cases and the rest, of readers and
# conditions x readers: the values in the files of iMRMC (FDA) for Roe and Metz at a distance of 1.5
STRUCTURES = {
    "LL": (0.1, 0.1, 0.2, 0.6, 0.0055, 0.0055),
    "LH": (0.1, 0.1, 0.2, 0.6, 0.03, 0.03),
    "HL": (0.3, 0.3, 0.2, 0.2, 0.0055, 0.0055),
    "HH": (0.3, 0.3, 0.2, 0.2, 0.03, 0.03),
}
DISTANCE = 1.5
RUNS = 1000


def simulated(draw: np.random.Generator, structure: str, readers: int, cases: int) -> Study:
    case, own_case, reader_case, rest, reader, own_reader = STRUCTURES[structure]
    truth = np.arange(cases) >= cases // 2

    def normal(variance: float, *shape: int) -> np.ndarray:
        return draw.normal(0, np.sqrt(variance), shape)

    shared, by_reader = normal(case, cases), normal(reader, readers, 2)
    of_both = normal(reader_case, readers, cases)
    side = truth.astype(int)
    scores: dict[str, dict[str, np.ndarray]] = {}
    for condition in ("a", "b"):
        own, also = normal(own_case, cases), normal(own_reader, readers, 2)
        noise = normal(rest, readers, cases)
        scores[condition] = {
            str(j): DISTANCE * truth + shared + own + by_reader[j, side] + also[j, side]
            + of_both[j] + noise[j]
            for j in range(readers)
        }  # fmt: skip
    # a model as good as the mean reader: its own variation stands where a reader's would
    spread = own_case + reader_case + rest + reader + own_reader
    scores["model"] = {"m": DISTANCE * truth + shared + normal(spread, cases)}
    calls = {c: {j: (s > DISTANCE / 2) * 1.0 for j, s in of.items()} for c, of in scores.items()}
    groups = tuple(map(str, range(cases)))
    return Study(truth=truth, groups=groups, scores=scores, calls=calls, model="model")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    found: dict[str, dict[str, float]] = {}
    for structure in STRUCTURES:
        for readers, cases in ((5, 50), (5, 100), (5, 200), (10, 100), (1, 100)):
            draw = np.random.default_rng(len(found))
            rejected: dict[str, list[bool]] = {}
            means = []
            for _ in range(runs):
                study = simulated(draw, structure, readers, cases)
                for other, endpoint in (
                    ("b", "auroc"),
                    ("b", "sensitivity"),
                    ("model", "auroc"),
                    ("model", "sensitivity"),
                ):
                    d = against(study, endpoint, "a", other)
                    rejected.setdefault(f"{other}, {endpoint}", []).append(d.p < 0.05)
                means.append(level(study, "auroc", "a"))
            # the difference of a positive and a negative rating has twice their total variance
            total = sum(STRUCTURES[structure])
            truth = float(NORMAL.cdf(DISTANCE / (2 * total) ** 0.5))
            held = np.mean([m.low <= truth <= m.high for m in means])
            name = f"{structure}, {readers} readers, {cases} cases"
            found[name] = {k: float(np.mean(v)) for k, v in rejected.items()}
            found[name] |= {"mean AUROC holds": float(held)}
            print(name, found[name], flush=True)
    out = Path(__file__).parent / "results" / "readers.json"
    out.write_text(json.dumps({"runs": runs, "rejected": found}, indent=1) + "\n")


if __name__ == "__main__":
    from statistics import NormalDist

    NORMAL = NormalDist()
    main()
