"""Two "hospitals" out of HAM10000: lesions off the face, and on it.

    python benchmarks/two_hospitals.py HAM10000 conf

Writes `conf/ham_off.csv` (1,300 lesions drawn at random) and `conf/ham_face.csv` (all lesions on
the face), malignant (melanoma, basal cell carcinoma, actinic keratosis) or benign, with a YAML for
each, so `medcnn train data=ham_off --config-dir conf` reads it. docs/new-hospital.md has results.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

MALIGNANT = ("mel", "bcc", "akiec")
SEED, LESIONS = 0, 1300


def main(root: Path, out: Path) -> None:
    with (root / "HAM10000_metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    places = {p.stem: p.relative_to(root).as_posix() for p in root.glob("HAM10000_images*/*.jpg")}
    off = sorted({r["lesion_id"] for r in rows if r["localization"] not in ("face", "unknown", "")})
    drawn = set(random.Random(SEED).sample(off, LESIONS))
    face = [r for r in rows if r["localization"] == "face"]
    elsewhere = [r for r in rows if r["lesion_id"] in drawn and r["localization"] != "face"]
    (out / "data").mkdir(parents=True, exist_ok=True)
    for name, chosen in (("ham_off", elsewhere), ("ham_face", face)):
        table = out / f"{name}.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "lesion", "dx", "sex"])
            for r in chosen:
                dx = "malignant" if r["dx"] in MALIGNANT else "benign"
                writer.writerow([places[r["image_id"]], r["lesion_id"], dx, r["sex"]])
        (out / "data" / f"{name}.yaml").write_text(
            f"defaults: [table]\nroot: {root.resolve()}\ntable: {table.resolve()}\nimage: image\n"
            "label: dx\nclasses: [benign, malignant]\npatient: lesion\ngroup_noun: lesion\n"
            "modality: dermoscopy\nattributes: [sex]\n"
        )
        print(f"{name}: {len(chosen):,} images, data={name} --config-dir {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
