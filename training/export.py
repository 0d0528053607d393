"""Writes the reader as the gateway loads it: layers as ONNX with weights of 7 bits, the words' vectors in four."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from llmcache_gateway.semantic.verifier import WINDOW
from llmcache_gateway.semantic.wording import NUMBERS
from training.pairs import Pair
from training.reader import WIDTH, Reader, four_bits
from training.train import read, tensors, wordings

ALPHA: Final = 0.9
"""How much of what makes numbers unequal goes from the states to the weights, of 1."""

CALIBRATING: Final = 128


class _Judge(nn.Module):
    """A reader with the gateway's names and order of inputs. A pair alone needs no mask."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, states: Tensor, side: Tensor, wording: Tensor) -> Tensor:
        judged: Tensor = self.reader.judge(states, None, side, wording)
        return judged


class _Evened(nn.Module):
    """A linear step whose inputs are divided by `factors`, and its weights multiplied: the same, but for rounding."""

    def __init__(self, linear: nn.Linear, factors: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight * factors)
        self.bias = linear.bias
        self.inverse = nn.Parameter(1 / factors)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x * self.inverse, self.weight, self.bias)


def export(reader: Reader, pairs: Sequence[Pair], folder: Path, source: str) -> None:
    """Write `reader.onnx` and `words.safetensors`; `pairs` are such as will be read."""
    reader.eval()
    folder.mkdir(parents=True, exist_ok=True)
    packed, scales = four_bits(reader.word.weight.detach().numpy())
    save_file(
        {
            "packed": packed,
            "scales": scales,
            "places": reader.pos.weight.detach().numpy()[: 2 * WINDOW + 8].copy(),
            "sides": reader.typ.weight.detach().numpy(),
        },
        folder / "words.safetensors",
        metadata={"source": source},
    )
    even(reader, pairs)
    _export(_Judge(reader), folder / "reader.onnx")


def even(reader: Reader, pairs: Sequence[Pair]) -> None:
    """Make what goes into the linear steps between attentions of much the same size, so that 8 bits round it less.

    After Xiao et al., "SmoothQuant", 2023 (arXiv 2211.10438).
    """
    largest: dict[nn.Linear, Tensor] = {}

    def note(step: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(step, nn.Linear)
        seen = inputs[0].abs().amax((0, 1))
        largest[step] = torch.maximum(largest[step], seen) if step in largest else seen

    steps = [(layer, name) for layer in reader.layers for name in ("i", "f")]
    watched = [getattr(layer, name).register_forward_pre_hook(note) for layer, name in steps]
    with torch.inference_mode():
        for item in read(pairs[:CALIBRATING], adjustment=0.0):
            reader(*tensors([item]), wordings([item]))
    for each in watched:
        each.remove()
    for layer, name in steps:
        step = getattr(layer, name)
        of_weights = step.weight.detach().abs().amax(0).clamp(min=1e-5)
        factors = largest[step].clone().clamp(min=1e-5) ** ALPHA / of_weights ** (1 - ALPHA)
        setattr(layer, name, _Evened(step, factors))


def _export(judge: _Judge, file: Path) -> None:
    whole = file.with_suffix(".whole")
    states, side = torch.randn(2, 20, WIDTH), torch.zeros(2, 20)
    side[:, 10:] = 1
    wording = torch.ones(2, NUMBERS)
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            judge,
            (states, side, wording),
            whole,
            input_names=["states", "side", "wording"],
            output_names=["logit"],
            dynamic_shapes={"states": free, "side": free, "wording": {0: torch.export.Dim.AUTO}},
            dynamo=True,
            opset_version=20,  # the first that has GELU as one step
            external_data=False,
            verbose=False,
        )
    quantize_dynamic(
        whole,
        file,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # weights of 7 bits: with 8, sums overflow on a processor without VNNI
        extra_options={"MatMulConstBOnly": True},
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
