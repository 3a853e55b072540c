"""Probabilities of ordinary image files by the model beside this script: python run.py IMAGE ...

Needs numpy, pillow, and onnxruntime (torch for a .pt2), nothing else. Without an image it checks
the model and the golden images. Research software, not a medical device.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@cache
def about() -> Any:
    """What the folder says about its model."""
    return json.loads((HERE / "export.json").read_text(encoding="utf-8"))


def pixels(path: Path | str) -> Any:
    """[size, size, channels] uint8: upright, resized with antialiasing, centred on black."""
    how = about()["preprocessing"]
    if how["steps"] or how["bits"] != 8:
        sys.exit("this model needs steps or 16-bit pixels, which only `medcnn predict` supports")
    size = how["size_px"]
    image: Any
    with Image.open(path) as image:
        (w, h), least = image.size, size * 3 // 2
        if image.mode[0] in "IF" or getattr(image, "n_frames", 1) > 1:
            sys.exit(f"{path}: it should be a single 8-bit picture; try `medcnn predict`")
        if image.format == "JPEG":  # a decoder that reduces moves nothing if sides are multiples
            fits = (n for n in (4, 2) if w % n == h % n == (h - w) % (2 * n) == 0)
            n = next((n for n in fits if min(w, h) // n >= least), 1)
            image.draft(image.mode, (w // n, h // n))
        image = ImageOps.exif_transpose(image)
        clear = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert(("L" if grey else "RGB") + "A" * clear)
        values = np.array(image).reshape(image.height, image.width, -1)
    if clear:  # laid over black
        values = ((values[..., :-1] * values[..., -1:].astype("u4") + 127) // 255).astype("u1")
    if how["channels"] == 1 and values.shape[2] == 3:
        values = np.rint(values.astype(np.float32) @ LUMA).astype("u1")[..., None]
    h, w = values.shape[:2]
    new_h, new_w = size, size
    if how["fit"] == "pad":
        new_h, new_w = (max(1, round(side * size / max(h, w))) for side in (h, w))
    elif how["fit"] == "crop":
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        values = values[top : top + side, left : left + side]
    image = Image.fromarray(values if values.shape[2] == 3 else values[..., 0])
    image = image.resize((new_w, new_h), Image.Resampling.BILINEAR)
    square = np.zeros((size, size, values.shape[2]), np.uint8)
    top, left = (size - new_h) // 2, (size - new_w) // 2
    square[top : top + new_h, left : left + new_w] = np.asarray(image).reshape(new_h, new_w, -1)
    return square.repeat(how["channels"] // square.shape[2], axis=2)


def network() -> Any:
    """Images [N, size, size, channels] -> logits, probabilities and decisions [N, K]."""
    path = HERE / about()["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != about()["sha256"]:
        sys.exit(f"{path} is not the file that was exported: copy the folder again")
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        wanted = ["logits", "probabilities", "decisions"]
        return lambda images: session.run(wanted, {"images": images})
    import torch

    module = torch.export.load(path).module()
    return lambda images: [one.detach().numpy() for one in module(torch.from_numpy(images))[:3]]


def main(files: list[str]) -> None:
    golden = about()["golden"] if not files else []
    paths = [Path(f) for f in files] or [HERE / one["file"] for one in golden]
    ask = network()  # one image at a time: there may be many
    try:
        each = [ask(pixels(path)[None]) for path in paths]
    except OSError as error:
        sys.exit(f"an image cannot be read: {error}")
    logits, probabilities, decisions = (np.concatenate(part) for part in zip(*each, strict=True))
    if golden:
        apart = np.abs(logits - [one["logits"] for one in golden]).max()
        same = (decisions == [one["decisions"] for one in golden]).all()
        print(f"{len(golden)} golden images: logits differ by {apart:.2g}, decisions same: {same}")
        sys.exit(0 if apart <= about()["gate"]["most"] and same else 1)
    names = about()["labels"]["names"]
    two = about()["labels"]["kind"] == "binary"  # the one output is the probability of the second
    print("image", *names[two:], "decided", sep="\t")
    for path, p, yes in zip(files, probabilities, decisions, strict=True):
        called = zip(names[two:], yes, strict=True)
        named = names[int(yes[0])] if two else "|".join(name for name, y in called if y)
        print(path, *(f"{v:.6f}" for v in p), named, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
