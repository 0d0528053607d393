"""Writes the reader as the gateway loads it: the layers as ONNX with 8-bit weights, the words' vectors in four bits."""

import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import save_file
from torch import Tensor, nn

from llmcache_gateway.semantic.verifier import WINDOW
from llmcache_gateway.semantic.wording import NUMBERS
from training.reader import WIDTH, Reader, four_bits


class _Part(nn.Module):
    """A part of the reader, with the gateway's names and order of inputs. A pair alone needs no mask."""

    def __init__(self, reader: Reader, read: Callable[..., Tensor | tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.reader = reader
        self.read = read

    def forward(self, states: Tensor, side: Tensor, wording: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.read(self.reader, states, None, side, wording)


def export(reader: Reader, folder: Path) -> None:
    """Write `small.onnx`, `large.onnx` and `words.safetensors`."""
    reader.eval()
    _export(_Part(reader, Reader.begin), folder / "small.onnx", ["logit", "between"])
    _export(_Part(reader, Reader.go_on), folder / "large.onnx", ["logit"])
    packed, scales = four_bits(reader.word.weight.detach().numpy())
    save_file(
        {
            "packed": packed,
            "scales": scales,
            "places": reader.pos.weight.detach().numpy()[: 2 * WINDOW + 8].copy(),
            "sides": reader.typ.weight.detach().numpy(),
        },
        folder / "words.safetensors",
        metadata={"source": "all-MiniLM-L6-v2 (Apache-2.0)"},
    )


def _export(part: nn.Module, file: Path, outputs: list[str]) -> None:
    whole = file.with_suffix(".whole")
    states, side = torch.randn(2, 20, WIDTH), torch.zeros(2, 20)
    side[:, 10:] = 1
    wording = torch.ones(2, NUMBERS)
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            part,
            (states, side, wording),
            whole,
            input_names=["states", "side", "wording"],
            output_names=outputs,
            dynamic_shapes={"states": free, "side": free, "wording": {0: torch.export.Dim.AUTO}},
            dynamo=True,
            opset_version=20,  # the first that has GELU as one step
            external_data=False,
            verbose=False,
        )
    quantize_dynamic(
        whole, file, weight_type=QuantType.QInt8, per_channel=True, extra_options={"MatMulConstBOnly": True}
    )
    whole.unlink()
    onnx.save(_without_notes(onnx.load(file)), file)


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Exporters write names of their files, types and versions beside each node; nobody reads them."""
    model.doc_string = model.producer_name = model.producer_version = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for each in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        each.doc_string = ""
        if hasattr(each, "metadata_props"):
            del each.metadata_props[:]
    return model
