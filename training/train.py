"""Trains the pair reader."""

import time
from collections.abc import Iterator, Sequence
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
from llmcache_gateway.semantic.wording import NUMBERS, wording
from training.pairs import LABELLED, Pair
from training.reader import Reader

START, END = 101, 102  # [CLS] and [SEP] of the tokenizer
LONGEST: Final = 48
"""Tokens of a question that are read in training; few have more."""

BATCH: Final = 64
DROP: Final = 0.1
SAVE_EACH: Final = 200
UNTOLD: Final = np.zeros(NUMBERS, np.float32)
"""Of a pair whose wording the reader is not told: it makes nothing of these."""

REPORT_EACH: Final = 50


class Item(NamedTuple):
    """A pair as it is read: tokens of both, 1.0 where they are the same, what is added to its log odds, its wording."""

    first: list[int]
    second: list[int]
    same: float
    adjustment: float
    wording: NDArray[np.float32]


def train(
    reader: Reader, pairs: Sequence[Pair], out: Path, *, steps: int, rate: float, last_rate: float, seed: int,
    adjustment: float | None = None,
) -> None:  # fmt: skip
    """So many batches, the rate falling evenly; saves along the way. The word vectors stay as they are.

    The heads' rate is five times that of the layers, which know much already. With `adjustment`, the reader is told how
    pairs are worded, and learns log odds that are so much lower for labelled pairs, so that one threshold is stricter
    there: after Menon et al., "Long-tail learning via logit adjustment", 2021 (arXiv 2007.07314).
    """
    torch.manual_seed(seed)
    random = Random(seed)
    items = read(pairs, adjustment)
    for table in (reader.word, reader.typ, reader.pos):
        table.weight.requires_grad = False
    head = [*reader.heads.parameters(), *reader.told.parameters()]
    body = [
        each
        for name, each in reader.named_parameters()
        if each.requires_grad and not name.startswith(("heads.", "told."))
    ]
    optimizer = torch.optim.AdamW([{"params": body}, {"params": head}], lr=rate, weight_decay=0.01, fused=True)
    chosen = batches(items, random)
    started, smooth = time.monotonic(), 0.7
    reader.train()
    for step in range(steps):
        now = min(1.0, (step + 1) / 100) * (rate + (last_rate - rate) * step / steps)
        for group, factor in zip(optimizer.param_groups, (1, 5), strict=True):
            group["lr"] = now * factor
        picked = [_turned(each) if random.random() < 0.5 else each for each in next(chosen)]
        ids, sides, mask = tensors(picked)
        with torch.autocast("cpu", torch.bfloat16):
            small, large = reader(ids, sides, mask, wordings(picked), DROP)
        added = torch.tensor([each.adjustment for each in picked])
        loss = _loss(small.float() + added, large.float() + added, torch.tensor([each.same for each in picked]))
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


def _loss(small: Tensor, large: Tensor, same: Tensor) -> Tensor:
    """Of both depths. `small` learns from the label and from what `large` makes of the pair, half and half.

    After Zhang et al., "Be Your Own Teacher", 2019 (arXiv 1905.08094).
    """
    told = functional.binary_cross_entropy_with_logits
    return told(large, same) + 0.5 * told(small, same) + 0.5 * told(small, torch.sigmoid(large.detach()))


def _turned(item: Item) -> Item:
    return item._replace(first=item.second, second=item.first)


def read(pairs: Sequence[Pair], adjustment: float | None) -> list[Item]:
    """Without `adjustment`, nothing is told of the wording, and nothing adjusted."""
    tokenizer = load_tokenizer(BUILT_IN)

    def tokens(texts: list[str]) -> list[list[int]]:
        return [each.ids[:LONGEST] for each in tokenizer.encode_batch(texts, add_special_tokens=False)]

    first, second = tokens([pair.a for pair in pairs]), tokens([pair.b for pair in pairs])
    return [
        Item(a, b, float(pair.same), 0.0, UNTOLD)
        if adjustment is None
        else Item(a, b, float(pair.same), adjustment if pair.kind == LABELLED else 0.0, _wording(pair))
        for a, b, pair in zip(first, second, pairs, strict=True)
    ]


def _wording(pair: Pair) -> NDArray[np.float32]:
    return wording(Facts(pair.a), Facts(pair.b))


def wordings(items: Sequence[Item]) -> Tensor:
    """`[pairs, NUMBERS]`."""
    return torch.from_numpy(np.stack([each.wording for each in items]))


def tensors(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, sides and mask, each `[pairs, tokens]`, padded."""
    ids = torch.zeros(len(items), max(map(_length, items)), dtype=torch.long)
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
            chunk = sorted(order[start : start + BATCH * 50], key=lambda at: _length(items[at]))
            cut = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
            random.shuffle(cut)
            for each in cut:
                yield [items[at] for at in each]


def _length(item: Item) -> int:
    return len(item.first) + len(item.second) + 3
