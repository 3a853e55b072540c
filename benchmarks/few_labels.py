"""One table and one figure of trainings and probes with few labels.

    python benchmarks/few_labels.py TABLE.json FIGURE.png RUNS

RUNS: run folders of `medcnn train` and `medcnn probe` on one data set, which differ in
`data.train_groups`, the way of transfer, and the seed. docs/transfer.md has the commands. Rows of
an earlier TABLE.json stay, unless a run has the same way, number of groups and seed. Scores are
those of the test images: balanced accuracy, and AUROC as the mean over classes with its interval;
several seeds of one way become their mean and standard deviation, and the interval is that of the
first.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def row_of(folder: Path) -> dict[str, Any]:
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = {
        s["name"]: s
        for s in scores["splits"]["test"]["scores"]
        if s["label"] is None and s["average"] in (None, "macro")
    }
    config = run["config"]
    mode = config.get("transfer", {}).get("name") or config["method"]
    if mode == "full" and not run["pretrained"]:
        mode = "scratch"
    return {
        "mode": {"logistic": "probe"}.get(mode, mode),
        "groups": train_groups(folder / "manifest.csv"),
        "seed": config["seed"],
        "auroc": found["auroc"]["value"],
        "low": found["auroc"]["low"],
        "high": found["auroc"]["high"],
        "balanced_accuracy": found["balanced_accuracy"]["value"],
        "wall_s": run["wall_s"],
    }


def train_groups(manifest: Path) -> int:
    with manifest.open(newline="", encoding="utf-8") as file:
        return len({r["group"] for r in csv.DictReader(file) if r["split"] == "train"})


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each mode and size."""
    together = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["seed"]):
        together[row["mode"], row["groups"]].append(row)
    made = []
    for (mode, groups), same in together.items():
        means = {n: statistics.mean(r[n] for r in same) for n in ("auroc", "balanced_accuracy")}
        sd = statistics.stdev(r["auroc"] for r in same) if len(same) > 1 else None
        first = {"low": same[0]["low"], "high": same[0]["high"]}
        made.append({"mode": mode, "groups": groups, "runs": len(same), "sd": sd, **means, **first})
    return sorted(made, key=lambda r: (r["mode"], r["groups"]))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for mode in dict.fromkeys(r["mode"] for r in rows):
        points = [r for r in rows if r["mode"] == mode]
        at = [r["groups"] for r in points]
        means, spread = [r["auroc"] for r in points], [r["sd"] or 0 for r in points]
        axis.errorbar(at, means, spread, marker="o", markersize=4, capsize=2, label=mode)
    axis.set_xscale("log")
    axis.set_xlabel("lesions with a label")
    axis.set_ylabel("AUROC on test, mean over classes")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    table, picture, *folders = (Path(word) for word in sys.argv[1:])
    earlier = json.loads(table.read_text(encoding="utf-8"))["rows"] if table.exists() else []
    found = {(r["mode"], r["groups"], r["seed"]): r for r in [*earlier, *map(row_of, folders)]}
    rows = sorted(found.values(), key=lambda r: (r["mode"], r["groups"], r["seed"]))
    result = {"rows": rows, "summary": summary(rows)}
    table.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result["summary"], picture)


if __name__ == "__main__":
    main()
