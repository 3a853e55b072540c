from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medcnn.cli.compose import read_command
from medcnn.data.manifest import Manifest
from medcnn.images import Preprocessing
from medcnn.verbs.preview import PreviewConfig
from medcnn.verbs.steps.datasets import pixels_of


@pytest.mark.fault
def test_an_image_in_quarantine_is_never_looked_at_although_it_can_be_decoded(
    colours: Callable[..., Manifest],
) -> None:
    """Row 68."""
    config = read_command("preview", ["data.cache=off"]).config
    assert isinstance(config, PreviewConfig)
    bad = {2: "text is burned into it"}
    store = pixels_of(colours(), Preprocessing(size_px=8), config.data, print, bad, max_bad=1)
    assert store.readable(np.arange(4)).tolist() == [0, 1, 3]
