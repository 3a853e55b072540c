"""How much room the packages take that `pip install .` brings, by the sizes that they tell.

python benchmarks/size_of_install.py
"""

from __future__ import annotations

import importlib.metadata as metadata
import re


def required(name: str, found: dict[str, int]) -> dict[str, int]:
    """Package -> bytes, of `name` and of whatever it needs without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # of another platform
        return found
    if key not in found:
        found[key] = sum(file.size or 0 for file in package.files or ())
        for line in package.requires or ():
            if "extra ==" not in line:
                required(re.match(r"[\w.-]+", line)[0], found)
    return found


if __name__ == "__main__":
    sizes = required("medcnn", {})
    torch = metadata.version("torch")
    print(f"{len(sizes)} packages take {sum(sizes.values()) / 1e9:.1f} GB, with torch {torch}")
