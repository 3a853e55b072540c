"""Any file of a dataset -> upright pixels over the full range of their dtype -> model input."""

from __future__ import annotations

from medcnn.images.preprocessing import Preprocessing
from medcnn.images.reading import Frames, file_part, read_pixels
from medcnn.images.resizing import Fit

__all__ = ["Fit", "Frames", "Preprocessing", "file_part", "read_pixels"]
