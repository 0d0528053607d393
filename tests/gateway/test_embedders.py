"""Embedders that run in the gateway: the model that comes with it, and models in folders."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from llmcache_gateway.semantic.embedders import (
    AT_ONCE,
    BUILT_IN,
    Embedder,
    ModelFilesError,
    StaticEmbedder,
    TransformerEmbedder,
    load_local,
)


def test_the_built_in_model_tells_related_questions_from_others() -> None:
    embedder = load_local()

    asked, reworded, other = embedder.embed_now(
        ["How do I reset my password?", "What are the steps to reset a password?", "Which wine goes with salmon?"]
    )

    assert asked @ reworded > 0.7 > 0.4 > asked @ other
    assert embedder.threshold is not None
    assert asked @ other < embedder.threshold < asked @ reworded


async def test_vectors_are_of_length_one_and_float32_however_long_the_text_is() -> None:
    embedder: Embedder = load_local()

    vectors = await embedder.embed(["short", "long " * AT_ONCE, "何ですか", "🙂"])

    assert vectors.dtype == np.float32
    assert vectors.shape == (4, embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)


async def test_a_text_without_tokens_is_like_nothing() -> None:
    vectors = await load_local().embed(["", "\n"])

    assert not vectors.any()


def test_a_folder_of_static_vectors_is_used_and_named_by_its_content(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    table = load_file(BUILT_IN / "vectors.safetensors")
    save_file({"embedding.weight": table["vectors"].astype(np.float16)}, tmp_path / "any.safetensors")
    first = load_local(tmp_path)

    save_file({"embedding.weight": -table["vectors"].astype(np.float16)}, tmp_path / "any.safetensors")
    second = load_local(tmp_path)

    assert isinstance(first, StaticEmbedder)
    assert first.threshold is None
    assert len({first.identity, second.identity, load_local().identity}) == 3
    assert load_local().identity == load_local().identity


def test_a_transformer_is_pooled_over_its_own_tokens_only(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    write_transformer(tmp_path / "model.onnx")
    embedder = load_local(tmp_path)

    alone = embedder.embed_now(["one question"])[0]
    beside_a_longer_one = embedder.embed_now(["one question", "a far longer question that makes padding"])[0]

    assert isinstance(embedder, TransformerEmbedder)
    assert embedder.dimensions == 8
    assert alone == pytest.approx(beside_a_longer_one)
    assert np.linalg.norm(alone) == pytest.approx(1.0)


async def test_a_long_text_is_cut_to_what_the_transformer_reads(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    write_transformer(tmp_path / "model.onnx")

    vectors = await load_local(tmp_path).embed(["word " * 20_000])

    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"neither model\.onnx nor \*\.safetensors"):
        load_local(tmp_path)


def test_a_model_without_its_tokenizer_says_so(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "vectors.safetensors", tmp_path)
    with pytest.raises(ModelFilesError, match=r"tokenizer\.json: is missing"):
        load_local(tmp_path)


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    (tmp_path / "vectors.safetensors").write_bytes(b"no model")
    with pytest.raises(ModelFilesError, match=r"vectors\.safetensors: can't be read"):
        load_local(tmp_path)

    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFilesError, match=r"model\.onnx: can't be used"):
        load_local(tmp_path)

    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFilesError, match=r"tokenizer\.json: can't be read"):
        load_local(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"a": np.ones((4, 8), np.float32)}, "has 4 vectors, but"),
        ({"a": np.ones((4, 8), np.float32), "b": np.ones((4, 8), np.float32)}, "2 two-dimensional tensors"),
        ({"a": np.full((4, 8), np.nan, np.float32)}, "no numbers"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray], complaint: str) -> None:
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    save_file(tensors, tmp_path / "vectors.safetensors")

    with pytest.raises(ModelFilesError, match=complaint):
        load_local(tmp_path)


def write_transformer(file: Path) -> None:
    """A model in a transformer's form: each token's state is a row of a table."""
    table = np.random.default_rng(1).normal(size=(30_522, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["states"])],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids",)],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["b", "t", 8])],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
