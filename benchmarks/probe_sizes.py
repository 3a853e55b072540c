"""At which size of small images do frozen ImageNet features say most of the labels?

    python benchmarks/probe_sizes.py retinamnist.npz tf_efficientnet_lite0.safetensors

Features of EfficientNet-Lite0, the mean over an image and its mirror image, of the training and
validation images (the test split stays closed), enlarged to each size; logistic regression, five
folds, two orders of the images. Prints the mean AUROC over classes (each against the rest) and the
accuracy, for each penalty.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate

SIZES_PX = (64, 96, 128, 160, 224)
PENALTIES = (1e-4, 1e-3, 3e-3, 1e-2)
BATCH = 50


def features(body: torch.nn.Module, images: torch.Tensor, size_px: int) -> np.ndarray:
    """[N, F] of images [N, 3, H, W] in -1..1."""
    found = []
    with torch.inference_mode():
        for part in images.split(BATCH):
            large = interpolate(part, size=(size_px, size_px), mode="bicubic", antialias=True)
            both = torch.stack([large, large.flip(3)]).clamp(-1, 1)
            found.append(torch.stack([body.forward_features(x).mean((2, 3)) for x in both]).mean(0))
    return torch.cat(found).numpy()


def main(data: Path, weights: Path) -> None:
    torch.set_num_threads(1)
    with np.load(data) as file:
        pixels = np.concatenate([file["train_images"], file["val_images"]])
        labels = np.concatenate([file["train_labels"], file["val_labels"]]).ravel()
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    body = timm.create_model("tf_efficientnet_lite0").eval()
    body.load_state_dict(load_file(weights))
    for size_px in SIZES_PX:
        found, said = features(body, images, size_px), []
        for penalty in PENALTIES:
            scores = []
            for seed in range(2):
                folds = StratifiedKFold(5, shuffle=True, random_state=seed)
                model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500))
                p = cross_val_predict(model, found, labels, cv=folds, method="predict_proba")
                accuracy = (p.argmax(1) == labels).mean()
                scores.append((roc_auc_score(labels, p, multi_class="ovr"), accuracy))
            auroc, accuracy = np.mean(scores, axis=0)
            said.append(f"C={penalty:g} {auroc:.3f} {accuracy:.3f}")
        print(f"{size_px} px: {'; '.join(said)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
