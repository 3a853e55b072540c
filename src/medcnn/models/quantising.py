"""An exported graph in 8-bit integers: static, per channel, with the ranges seen on validation
images. Head, calibration and decisions stay in floats."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.models.exporting import GateError, first_line, quiet

LEAST_IMAGES, MOST_IMAGES = 200, 256
"""Validation images that show the ranges of activations."""
MOST_DROP = 0.005
"""Largest upper bound of the 95 % interval of the drop in AUROC."""


def quantised(proto: Any, images: NDArray[Any]) -> Any:
    """A ModelProto whose body computes in 8 bits.

    Weights have 7 bits, since processors without VNNI add products of 8 bits in 16 bits.

    Args:
        proto: as `exporting.as_onnx` returns it.
        images: [N, H, W, C], as the graph expects them.

    Raises:
        GateError: onnxruntime cannot quantise this network.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        coming = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self.coming, None)
            return None if image is None else {"images": image[None]}

    with TemporaryDirectory() as folder:
        plain, folded, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "folded", "small"))
        onnx.save(proto, plain)
        try:
            with quiet():
                quant_pre_process(plain, folded, skip_symbolic_shape=True)
                quantize_static(
                    folded,
                    small,
                    Reader(),
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=_after_features(onnx.load(folded).graph),
                )
        except Exception as error:  # onnxruntime raises many types for what it cannot quantise
            raise GateError(
                f"onnxruntime cannot quantise this network: {first_line(error)}"
            ) from error
        return onnx.load(small)


def _after_features(graph: Any) -> list[str]:
    """Names of the nodes that depend on features: head, calibration, decision."""
    made_by = {name: node for node in graph.node for name in node.output}
    maker = made_by["features"]
    # the features of all views, from which those of the image itself are cut out
    reached = {"features", *(maker.input[:1] if maker.op_type == "Slice" else ())}
    found = []
    for node in graph.node:  # in the order of computation
        if reached & set(node.input):
            found.append(node.name)
            reached |= set(node.output)
    return found


def spread(count: int) -> NDArray[np.int64]:
    """Positions of at most MOST_IMAGES of `count` images, evenly spread."""
    return np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(np.int64)
