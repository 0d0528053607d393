"""What a trained reader makes of pairs, for another to learn from."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.pairs import Pair
from training.reader import Reader
from training.train import length, read, tensors, wordings

BATCH: Final = 128
REPORT_EACH: Final = 200


def log_odds(reader: Reader, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    """Of each pair."""
    items = read(pairs, adjustment=0.0)
    order = sorted(range(len(items)), key=lambda at: length(items[at]))
    found = np.zeros(len(items), np.float32)
    started = time.monotonic()
    reader.eval()
    for number, start in enumerate(range(0, len(order), BATCH), 1):
        rows = order[start : start + BATCH]
        some = [items[at] for at in rows]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found[rows] = reader(*tensors(some), wordings(some)).float().numpy()
        if number % REPORT_EACH == 0:
            speed = number * BATCH / (time.monotonic() - started)
            print(f"{number * BATCH} of {len(items)}, {speed:.0f} pairs/s", flush=True)
    return found
