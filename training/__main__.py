"""`python -m training STAGE --pairs FILE`: makes the gateway's models anew, stage by stage. See README.md."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import torch

from llmcache_gateway.semantic.embedders import BUILT_IN, StaticEmbedder
from llmcache_gateway.semantic.verifier import PairReader
from training import corpus, encoders, judge, pairs, weigh
from training.export import export
from training.pairs import Pair
from training.reader import Reader, load_encoder
from training.train import read, train
from training.vectors import save_vectors, token_vectors

Labelled = tuple[list[Pair], list[Pair]]
"""To train on, and held out."""

BUILD: Final = Path("training/build")
LARGE_STEPS: Final = 3_080
"""Batches of 64 pairs: each pair once, and the labelled ones twice."""

LARGE_RATE: Final = 8e-5
SMALL_ROUNDS: Final = ((12_000, 1.5e-4), (5_000, 6e-5))
"""Steps and rate: then some more, from a lower rate."""

ADJUSTMENT: Final = 2.0
"""Log odds by which labelled pairs are held to be less alike. People call fewer questions the same than the sets' rule
does: at the threshold that the sets' traps need, too many of theirs would be served that they call different."""

LAYERS: Final = {"small": 5, "large": 12}
CAME_FROM: Final = {"small": "all-MiniLM-L6-v2 (Apache-2.0)", "large": "bge-small-en-v1.5 (MIT)"}

CORES: Final = 2
SEED: Final = 7


def main() -> None:
    """Run one stage, or all in their order."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    stages = {
        "vectors": _vectors,
        "large": _large,
        "judge": _judge,
        "small": _small,
        "export": _export,
        "weigh": _weigh,
    }
    parser.add_argument("stage", choices=[*stages, "all", "install"])
    parser.add_argument("--pairs", type=Path, help="labelled pairs: JSON lines with a, b, same; .gz too")
    parser.add_argument("--out", type=Path, default=BUILD, help="where everything is written")
    options = parser.parse_args()
    if options.pairs is None and options.stage != "install":
        parser.error(f"{options.stage}: name the labelled pairs with --pairs FILE")
    torch.set_num_threads(CORES)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage == "install":
        install(options.out)
        return
    labelled = pairs.split(pair._replace(kind=pairs.LABELLED) for pair in pairs.read(options.pairs))
    for stage in stages if options.stage == "all" else [options.stage]:
        print(f"== {stage}", flush=True)
        stages[stage](options.out, labelled)


def _vectors(out: Path, labelled: Labelled) -> None:
    table = token_vectors(encoders.minilm())
    np.save(out / "tokens.npy", table)
    (out / "static").mkdir(exist_ok=True)
    save_vectors(table, labelled[0], out / "static" / "vectors.safetensors")
    shutil.copyfile(BUILT_IN / "tokenizer.json", out / "static" / "tokenizer.json")


def _large(out: Path, labelled: Labelled) -> None:
    torch.manual_seed(SEED)  # where the head starts
    reader = Reader(LAYERS["large"])
    load_encoder(reader, encoders.bge(out), rounded=True)
    chosen = corpus.for_large(labelled[0], np.load(out / "tokens.npy"))
    print(corpus.describe(chosen), flush=True)
    train(reader, read(chosen, ADJUSTMENT), out / "large.pt", steps=LARGE_STEPS, rate=LARGE_RATE, seed=SEED)


def _judge(out: Path, labelled: Labelled) -> None:
    chosen = corpus.to_judge(labelled[0], StaticEmbedder(out / "static"))
    np.save(out / "judged.npy", judge.log_odds(_trained(out, "large"), chosen))


def _small(out: Path, labelled: Labelled) -> None:
    torch.manual_seed(SEED)
    reader = Reader(LAYERS["small"])
    load_encoder(reader, encoders.minilm(), rounded=True)
    chosen, judged = corpus.to_judge(labelled[0], StaticEmbedder(out / "static")), np.load(out / "judged.npy")
    if len(judged) != len(chosen):
        raise SystemExit(
            f"{out / 'judged.npy'}: is of {len(judged)} pairs, not {len(chosen)}: run the stage judge again"
        )
    chosen += corpus.made(labelled[0], np.load(out / "tokens.npy"))
    print(corpus.describe(chosen), flush=True)
    items = read(chosen, ADJUSTMENT, judged.tolist())
    again = items[: len(labelled[0])]
    for number, (steps, rate) in enumerate(SMALL_ROUNDS):
        train(reader, [*items, *again], out / "small.pt", steps=steps, rate=rate, seed=SEED + number)


def _export(out: Path, labelled: Labelled) -> None:
    for size, source in CAME_FROM.items():
        export(_trained(out, size), labelled[0], out / size, source)


def _weigh(out: Path, labelled: Labelled) -> None:
    held = corpus.held_out(labelled[1], np.load(out / "tokens.npy"))
    static = StaticEmbedder(out / "static")
    for size in LAYERS:
        print(size)
        reader = PairReader(out / size)
        told = weigh.weigh({name: weigh.measure(some, reader, static) for name, some in held.items()})
        (out / size / "verifier.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def _trained(out: Path, size: str) -> Reader:
    reader = Reader(LAYERS[size])
    reader.load_state_dict(torch.load(out / f"{size}.pt"))
    return reader


def install(out: Path) -> None:
    """Put what was made where the gateway has it."""
    shutil.copyfile(out / "static" / "vectors.safetensors", BUILT_IN / "vectors.safetensors")
    for size in LAYERS:
        for file in ("reader.onnx", "words.safetensors", "verifier.json"):
            shutil.copyfile(out / size / file, BUILT_IN / "verifier" / size / file)


if __name__ == "__main__":
    main()
