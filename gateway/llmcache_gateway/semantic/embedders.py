"""What makes a vector of a text: the port, and the models that run in the gateway.

A model is a folder. Static vectors: `tokenizer.json` and `*.safetensors`. A transformer: `tokenizer.json` and
`model.onnx`. Nothing is ever downloaded.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from llmcache_gateway.errors import GatewayError

if TYPE_CHECKING:  # without the transformer's runtime, static vectors still work
    from onnxruntime import InferenceSession

BUILT_IN: Final = Path(__file__).parent / "models"
"""Folder of the model that comes with the gateway: static vectors."""

AT_ONCE: Final = 4096
"""Characters that static vectors are looked up for on the event loop: shorter than the way to a thread and back."""

WINDOW: Final = 256
"""Tokens of a text that a transformer reads; what is longer counts by its beginning."""

Vectors = NDArray[np.float32]


class ModelFilesError(GatewayError):
    """A folder that holds no model which can be used; says what is missing or wrong."""


class Embedder(Protocol):
    """Makes vectors of texts."""

    @property
    def identity(self) -> str:
        """Names the model and what its files hold: two embedders with one identity make the same vectors."""

    @property
    def dimensions(self) -> int:
        """Length of each vector."""

    @property
    def threshold(self) -> float | None:
        """Least similarity at which candidates of this model are worth a look; None when nobody measured it."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector a text, float32 `[texts, dimensions]`, each of length 1 (or all zeros for a text of no tokens)."""


class StaticEmbedder:
    """The mean of vectors that each token has, whatever stands around it. Microseconds a text."""

    def __init__(self, folder: Path = BUILT_IN) -> None:
        """Load; ModelFilesError when the files can't be used."""
        file = _vectors_file(folder)
        self._tokenizer = load_tokenizer(folder)
        try:
            with safe_open(file, "np") as tensors:
                notes = tensors.metadata() or {}
                table = _table({name: tensors.get_tensor(name) for name in tensors.keys()}, file)  # noqa: SIM118
        except SafetensorError as error:
            raise ModelFilesError(f"{file}: can't be read as safetensors: {error}") from error
        words = self._tokenizer.get_vocab_size()
        if words > len(table):
            raise ModelFilesError(f"{file}: has {len(table)} vectors, but {folder}/tokenizer.json has {words} tokens")
        self._table = table
        self.identity = _identity("static", folder / "tokenizer.json", file)
        self.dimensions = int(table.shape[1])
        self.threshold = float(notes["threshold"]) if "threshold" in notes else None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the port says; long texts in a thread."""
        if sum(map(len, texts)) <= AT_ONCE:
            return self.embed_now(texts)
        return await asyncio.to_thread(self.embed_now, texts)

    def embed_now(self, texts: Sequence[str]) -> Vectors:
        """The same, blocking."""
        sums = np.zeros((len(texts), self.dimensions), np.float32)
        for row, encoded in enumerate(self._tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            self._table[encoded.ids].sum(axis=0, out=sums[row])
        return _unit(sums)


class TransformerEmbedder:
    """An ONNX transformer; its token states' mean. Milliseconds a text, always in a thread."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the folder's tokenizer and model; ModelFilesError when the files can't be used."""
        self._tokenizer = load_tokenizer(folder)
        self._tokenizer.enable_truncation(WINDOW)
        self._tokenizer.enable_padding()
        file = folder / "model.onnx"
        self._session = open_session(file, threads=threads)
        self._inputs = frozenset(each.name for each in self._session.get_inputs())
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise ModelFilesError(f"{file}: takes {sorted(self._inputs)}, not the inputs of a text encoder")
        self._pooled = len(self._session.get_outputs()[0].shape) == 2
        self.identity = _identity("onnx", folder / "tokenizer.json", file)
        self.dimensions = int(self.embed_now(["?"]).shape[1])
        self.threshold: float | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the port says."""
        return await asyncio.to_thread(self.embed_now, texts)

    def embed_now(self, texts: Sequence[str]) -> Vectors:
        """The same, blocking."""
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([each.attention_mask for each in encoded], np.int64)
        feeds = {
            "input_ids": np.array([each.ids for each in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        states = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        sums = states if self._pooled else (states * mask[:, :, None]).sum(axis=1)
        return _unit(np.asarray(sums, np.float32))


LocalEmbedder = StaticEmbedder | TransformerEmbedder


def load_local(folder: Path | None = None) -> LocalEmbedder:
    """The model of a folder, or the one that comes with the gateway; ModelFilesError when there is none in it."""
    if folder is None:
        return StaticEmbedder()
    if not folder.is_dir():
        raise ModelFilesError(f"{folder}: is no folder here; a model's folder holds its tokenizer and its vectors")
    return TransformerEmbedder(folder) if (folder / "model.onnx").exists() else StaticEmbedder(folder)


def open_session(file: Path, *, threads: int = 1, without: Sequence[str] = ()) -> "InferenceSession":
    """An ONNX model that uses so many threads and no spinning, `without` these optimizers of onnxruntime.

    ModelFilesError when it can't be used.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelFilesError(f"{file}: needs onnxruntime; install the extra `semantic`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
        )
    except Exception as error:  # its exceptions have no common class
        raise ModelFilesError(f"{file}: can't be used as an ONNX model: {error}") from error


def _vectors_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        found = f"{len(files)} *.safetensors" if files else "neither model.onnx nor *.safetensors"
        raise ModelFilesError(
            f"{folder}: a model's folder holds tokenizer.json and either model.onnx or one *.safetensors; found {found}"
        )
    return files[0]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder, without truncation and padding; ModelFilesError when there is none."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelFilesError(f"{file}: is missing; a model's folder holds its tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise ModelFilesError(f"{file}: can't be read as a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _table(tensors: dict[str, NDArray[np.generic]], file: Path) -> Vectors:
    """The vectors, from one tensor of floats or from whole numbers with a scale for each row."""
    scales = tensors.pop("scales", None)
    flat = [tensor for tensor in tensors.values() if tensor.ndim == 2]
    if len(flat) != 1:
        raise ModelFilesError(f"{file}: has {len(flat)} two-dimensional tensors; static vectors are one")
    table = flat[0].astype(np.float32)
    if scales is not None:
        table *= scales.astype(np.float32)[:, None]
    if not np.isfinite(table).all():
        raise ModelFilesError(f"{file}: has vectors that are no numbers")
    return table


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-12)
    return unit


def _identity(kind: str, *files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"{kind}:{digest.hexdigest()[:32]}"
