"""Trains the pair reader."""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llmcache_gateway.semantic.embedders import BUILT_IN, load_tokenizer
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.wording import wording
from training.pairs import LABELLED, NEAR, Pair
from training.reader import Reader

START, END = 101, 102  # [CLS] and [SEP] of the tokenizer
LONGEST: Final = 48
"""Tokens of a question that are read in training; few have more."""

BATCH: Final = 64
DROP: Final = 0.1
FALL: Final = 50
"""By how much the rate is less in the end."""

SAVE_EACH: Final = 200
REPORT_EACH: Final = 50


class Item(NamedTuple):
    """A pair as it is read: tokens of both, how likely they are the same, what is added to log odds, its wording."""

    first: list[int]
    second: list[int]
    same: float
    adjustment: float
    wording: NDArray[np.float32]


def train(reader: Reader, items: Sequence[Item], out: Path, *, steps: int, rate: float, seed: int) -> None:
    """So many batches, the rate falling evenly; saves along the way. The word vectors stay as they are.

    The heads' rate is five times that of the layers, which know much already.
    """
    torch.manual_seed(seed)
    random = Random(seed)
    for table in (reader.word, reader.typ, reader.pos):
        table.weight.requires_grad = False
    head = [*reader.inner.parameters(), *reader.out.parameters(), reader.told]
    of_head = {id(each) for each in head}
    body = [each for each in reader.parameters() if each.requires_grad and id(each) not in of_head]
    optimizer = torch.optim.AdamW([{"params": body}, {"params": head}], lr=rate, weight_decay=0.01, fused=True)
    chosen = batches(items, random)
    started, smooth = time.monotonic(), 0.7
    reader.train()
    for step in range(steps):
        now = min(1.0, (step + 1) / 100) * (rate + (rate / FALL - rate) * step / steps)
        for group, factor in zip(optimizer.param_groups, (1, 5), strict=True):
            group["lr"] = now * factor
        picked = [_turned(each) if random.random() < 0.5 else each for each in next(chosen)]
        ids, sides, mask = tensors(picked)
        with torch.autocast("cpu", torch.bfloat16):
            odds = reader(ids, sides, mask, wordings(picked), DROP)
        added = torch.tensor([each.adjustment for each in picked])
        same = torch.tensor([each.same for each in picked])
        loss = functional.binary_cross_entropy_with_logits(odds.float() + added, same)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(body + head, 1.0)
        optimizer.step()
        smooth += (loss.item() - smooth) * 0.02
        if (step + 1) % REPORT_EACH == 0:
            speed = (step + 1) * BATCH / (time.monotonic() - started)
            print(f"step {step + 1} of {steps}: loss {smooth:.4f}, {speed:.0f} pairs/s", flush=True)
        if (step + 1) % SAVE_EACH == 0 or step + 1 == steps:
            torch.save(reader.state_dict(), out)


def _turned(item: Item) -> Item:
    return item._replace(first=item.second, second=item.first)


def read(pairs: Sequence[Pair], adjustment: float, judged: Sequence[float] = ()) -> list[Item]:
    """With `adjustment`, labelled pairs are held to be less alike by so many log odds, so that one threshold is
    stricter there: after Menon et al., "Long-tail learning via logit adjustment", 2021 (arXiv 2007.07314).

    `judged` has the log odds that another reader gives the first of the pairs. What is learned of these is half the
    label and half what that says, and of pairs that nobody has labelled just that: after Hinton et al., "Distilling the
    knowledge in a neural network", 2015 (arXiv 1503.02531).
    """
    tokenizer = load_tokenizer(BUILT_IN)

    def tokens(texts: list[str]) -> list[list[int]]:
        return [each.ids[:LONGEST] for each in tokenizer.encode_batch(texts, add_special_tokens=False)]

    first, second = tokens([pair.a for pair in pairs]), tokens([pair.b for pair in pairs])
    items: list[Item] = []
    for a, b, pair, odds in zip_longest(first, second, pairs, judged):
        added = adjustment if pair.kind == LABELLED else 0.0
        same = float(pair.same)
        if odds is not None:
            told = 1 / (1 + math.exp(-(odds + added)))
            same = told if pair.kind == NEAR else (same + told) / 2
        items.append(Item(a, b, same, added, _wording(pair)))
    return items


def _wording(pair: Pair) -> NDArray[np.float32]:
    return wording(Facts(pair.a), Facts(pair.b))


def wordings(items: Sequence[Item]) -> Tensor:
    """`[pairs, NUMBERS]`."""
    return torch.from_numpy(np.stack([each.wording for each in items]))


def tensors(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, sides and mask, each `[pairs, tokens]`, padded."""
    ids = torch.zeros(len(items), max(map(length, items)), dtype=torch.long)
    sides, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (a, b, *_) in enumerate(items):
        text = [START, *a, END, *b, END]
        ids[row, : len(text)] = torch.tensor(text)
        sides[row, len(a) + 2 : len(text)] = 1
        mask[row, : len(text)] = 1
    return ids, sides, mask


def batches(items: Sequence[Item], random: Random) -> Iterator[list[Item]]:
    """For ever, each of pairs of much the same length, so that little is padded."""
    order = list(range(len(items)))
    while True:
        random.shuffle(order)
        for start in range(0, len(order), BATCH * 50):
            chunk = sorted(order[start : start + BATCH * 50], key=lambda at: length(items[at]))
            cut = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
            random.shuffle(cut)
            for each in cut:
                yield [items[at] for at in each]


def length(item: Item) -> int:
    """Tokens of the pair as one text."""
    return len(item.first) + len(item.second) + 3
