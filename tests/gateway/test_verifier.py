"""The learned judge of question pairs, as it comes with the gateway."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from llmcache_gateway.semantic.embedders import BUILT_IN, ModelFilesError
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.verifier import WINDOW, PairReader, Size, Verifier

ASKED = "How do I reset my password?"
SIZES: list[Size] = ["small", "large"]


@pytest.fixture(scope="module", params=SIZES)
def verifier(request: pytest.FixtureRequest) -> Verifier:
    return Verifier.load(size=request.param)


def test_a_rewording_is_told_from_another_question(verifier: Verifier) -> None:
    same, other, far = (
        verifier.score(ASKED, text)
        for text in ("How can I reset my password?", "How do I reset my router?", "Which wine goes with salmon?")
    )

    assert same > verifier.threshold > other
    assert verifier.threshold > far


def test_scores_do_not_depend_on_what_is_asked_together(verifier: Verifier) -> None:
    texts = [
        "How can I reset my password?",
        "What is it?",
        "Tell me at length how I would reset a lost password, please",
    ]

    together = verifier.scores(Facts(ASKED), list(map(Facts, texts)))

    assert together == [verifier.score(ASKED, text) for text in texts]
    assert verifier.scores(Facts(ASKED), []) == []


def test_what_is_too_long_to_be_read_is_never_the_same(verifier: Verifier) -> None:
    long = "reset my password " * WINDOW

    assert verifier.score(long, long + "?") == 0.0
    assert verifier.score(ASKED, long) == verifier.score(ASKED, "") == 0.0
    assert verifier.score(ASKED, "How can I reset my password?") > 0.0


def test_what_is_read_is_weighed_as_the_notes_say(tmp_path: Path) -> None:
    shutil.copytree(BUILT_IN / "verifier" / "small", tmp_path, dirs_exist_ok=True)
    told = {"threshold": 0.5, "bias": 0.5, "weight": 0.75}
    (tmp_path / "verifier.json").write_text(json.dumps(told))
    verifier = Verifier(tmp_path)
    other = "What do I do to have another password?"
    (odds,) = PairReader(tmp_path).log_odds(Facts(ASKED), [Facts(other)])

    score = verifier.score(ASKED, other)

    assert odds is not None
    assert math.log(score / (1 - score)) == pytest.approx(0.75 * odds + 0.5, abs=1e-4)


@pytest.mark.parametrize("text", ["何ですか", "🙂🙂🙂", "\x00", "a" * 5000, "¿Cómo restablezco mi contraseña?"])
def test_any_text_gets_a_score(verifier: Verifier, text: str) -> None:
    assert 0.0 <= verifier.score(ASKED, text) <= 1.0


def test_the_two_sizes_are_named_apart() -> None:
    assert len({Verifier.load(size=size).identity for size in SIZES}) == len(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_what_comes_with_the_gateway_is_weighed_soundly(size: Size) -> None:
    told = json.loads((BUILT_IN / "verifier" / size / "verifier.json").read_text())

    assert 0.5 < told["threshold"] < 1
    assert told["weight"] > 0


@pytest.mark.parametrize("size", SIZES)
def test_no_sum_of_its_8_bit_steps_overflows(size: Size) -> None:
    # A processor without VNNI adds the products of two unsigned and two signed bytes in 16 bits.
    layers = onnx.load(BUILT_IN / "verifier" / size / "reader.onnx")
    weights = [numpy_helper.to_array(each) for each in layers.graph.initializer if each.data_type == TensorProto.INT8]

    assert sum(each.ndim == 2 for each in weights) >= 12
    assert max(int(np.abs(each.astype(np.int32)).max()) for each in weights) * 255 * 2 < 2**15


def test_a_folder_without_a_verifier_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("words.safetensors", "reader.onnx"):
        shutil.copy(BUILT_IN / "verifier" / "small" / name, tmp_path)

    with pytest.raises(ModelFilesError, match=r"verifier\.json: doesn't say how a verifier weighs: FileNotFound"):
        Verifier(tmp_path)

    (tmp_path / "verifier.json").write_text(json.dumps({"threshold": 0.5, "bias": 0}))
    with pytest.raises(ModelFilesError, match="'weight'"):
        Verifier(tmp_path)

    (tmp_path / "reader.onnx").write_bytes(b"no layers")
    with pytest.raises(ModelFilesError, match=r"reader\.onnx: can't be used as an ONNX model"):
        Verifier(tmp_path)

    (tmp_path / "words.safetensors").write_bytes(b"no vectors")
    with pytest.raises(ModelFilesError, match=r"words\.safetensors: holds no word vectors"):
        Verifier(tmp_path)
