"""A preset that also varies the exposure."""

from __future__ import annotations

from torch import Tensor

from medcnn.training.augmentations import Augmentation


def exposure(images: Tensor, draw: Tensor) -> Tensor:
    """Middle tones up to a fifth brighter or darker, as film and sensors differ.

    Args:
        images: [B, C, H, W] in 0..1.
        draw: random numbers [B, 16] in [0, 1), the only chance there may be.

    Returns:
        Images of the same shape in 0..1.
    """
    exponent = 0.8 + 0.4 * draw[:, 0]
    return images.pow(exponent.view(-1, 1, 1, 1))


EXPOSURES = Augmentation(horizontal_flip=True, rotation_deg=10, last=exposure)
