"""Bring the weights of the recogniser that the `rapidocr` wheel carries (PP-OCRv6 small, Apache-2.0) into torch.

Run: python scripts/convert_recogniser.py OUT  (writes OUT/reader.safetensors and OUT/characters.txt)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from linkage.ocr.reader import LineReader

MODEL = "models/PP-OCRv6_rec_small.onnx"


def published_model() -> Path:
    """The ONNX file inside the installed wheel; the package itself is not imported."""
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise SystemExit("the package rapidocr is not installed: make setup")
    return Path(spec.origin).parent / MODEL


def characters(model: onnx.ModelProto) -> list[str]:
    """Classes 1..n of the recogniser in order; class 0 is no character, the last one the space."""
    listed = next(entry.value for entry in model.metadata_props if entry.key == "character")
    return [*listed.split("\n"), " "]


def convert(model: onnx.ModelProto) -> LineReader:
    """The published graph's weights in our module; batch norms are folded into the convolutions before them."""
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer
    }
    nodes = [node for node in model.graph.node if node.op_type not in ("Identity", "Constant")]
    reader = LineReader(len(characters(model)) + 1)
    with torch.no_grad():
        for module, (kernel, bias) in zip(reader.convolutions(), _convolutions(nodes, weights), strict=True):
            module.weight.copy_(kernel)
            assert module.bias is not None
            module.bias.copy_(bias)
        layers: Any = reader.layers
        linears = [m for layer in layers for m in (layer.qkv, layer.out, layer.expand, layer.reduce)]
        for number, linear in enumerate([*linears, reader.classify]):
            linear.weight.copy_(weights[f"linear_{number}.w_0"].T)
            linear.bias.copy_(weights[f"linear_{number}.b_0"])
        norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2)]
        for number, norm in enumerate([*norms, reader.norm]):
            norm.weight.copy_(weights[f"helper.reshape.{2 * number}"])
            norm.bias.copy_(weights[f"helper.reshape.{2 * number + 1}"])
    return reader.eval()


def _convolutions(
    nodes: list[onnx.NodeProto], weights: dict[str, torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Kernel and bias of every convolution; what follows it is its bias (Add) or its batch norm."""
    for node, following in pairwise(nodes):
        if node.op_type != "Conv":
            continue
        kernel = weights[node.input[1]]
        if following.op_type == "Add":
            yield kernel, weights[following.input[1]].flatten()
            continue
        gain, shift, mean, variance = (weights[name] for name in following.input[1:])
        factor = gain / torch.sqrt(variance + 1e-5)
        yield kernel * factor[:, None, None, None], shift - mean * factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    model = onnx.load(str(published_model()))
    reader = convert(model)
    save_file(reader.state_dict(), out / "reader.safetensors")
    (out / "characters.txt").write_text("\n".join(characters(model)) + "\n", encoding="utf-8", newline="\n")
    print(f"{sum(np.prod(p.shape) for p in reader.parameters()):,} parameters")


if __name__ == "__main__":
    main()
