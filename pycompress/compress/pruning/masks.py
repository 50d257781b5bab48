"""Chooses the weights to remove: patterns of zeros, and the choice of the least important blocks.

Weights are [n,k] as in `matrix`: rows are output channels, k runs over kernel cells ("segments"), then channels.
A block never spans two cells. If the channels end within a block, the block is smaller. Blocks are ranked by
their mean square, which for whole blocks is the order of their L2 norms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = {"unstructured": (1, 1), "1x4": (1, 4), "4x1": (4, 1), "16x1": (16, 1)}
ALIKE = 0.9  # share of the zeros that must form whole blocks to be a pattern; rounding to int8 adds other zeros


@dataclass(frozen=True)
class Pattern:
    """A pattern of zeros.

    Attributes
    ----------
    rows, cols : size of a block that is removed or kept as a whole, along outputs and along k
    keep : the maximum number of weights to keep of `cols` consecutive ones (N of N:M); 0: whole blocks are removed
    """

    name: str
    rows: int
    cols: int
    keep: int = 0

    @property
    def sparsity(self) -> float | None:
        """The share of zeros, if the pattern determines it; else None."""
        return 1 - self.keep / self.cols if self.keep else None


def parse(text: str) -> Pattern:
    """The pattern called `text`.

    Raises
    ------
    ValueError
        If there is no such pattern, or N:M without 0 < N < M.
    """
    if isinstance(text, str) and text in BLOCKS:
        return Pattern(text, *BLOCKS[text])
    found = re.fullmatch(r"(\d+):(\d+)", text) if isinstance(text, str) else None
    if not found:
        raise ValueError(f"pattern must be {', '.join(BLOCKS)}, channel or N:M as in '2:4', got {text!r}")
    keep, of = map(int, found.groups())
    if not 0 < keep < of:
        raise ValueError(f"pattern {text!r}: of M weights N are kept, 0 < N < M")
    return Pattern(text, 1, of, keep)


def blocks(squares: np.ndarray, pattern: Pattern, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `squares` [n,k] over each block, and the number of weights in it: [row blocks, segments, col blocks]."""
    n, k = squares.shape
    run = k // segments
    tall, wide = -(-n // pattern.rows), -(-run // pattern.cols)
    padded = np.zeros((tall * pattern.rows, segments, wide * pattern.cols))
    padded[:n, :, :run] = squares.reshape(n, segments, run)
    sums = padded.reshape(tall, pattern.rows, segments, wide, pattern.cols).sum((1, 4))
    high = np.minimum(pattern.rows, n - pattern.rows * np.arange(tall))
    broad = np.minimum(pattern.cols, run - pattern.cols * np.arange(wide))
    return sums, np.broadcast_to((high[:, None] * broad)[:, None], sums.shape)


def spread(kept: np.ndarray, shape: tuple[int, int], pattern: Pattern, segments: int) -> np.ndarray:
    """A mask of blocks as a mask of weights [n,k]."""
    n, k = shape
    each = kept.repeat(pattern.rows, 0).repeat(pattern.cols, 2)
    return each[:n, :, : k // segments].reshape(n, k)


def strongest(squares: np.ndarray, pattern: Pattern, segments: int) -> np.ndarray:
    """The mask of N:M: of each M weights along k the N most important ones; of a shorter last group at most N."""
    n, k = squares.shape
    run = k // segments
    wide = -(-run // pattern.cols)
    padded = np.full((n, segments, wide * pattern.cols), -1.0)
    padded[:, :, :run] = squares.reshape(n, segments, run)
    groups = padded.reshape(n, segments, wide, pattern.cols)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[..., : pattern.keep], True, -1)
    return mask.reshape(n, segments, -1)[:, :, :run].reshape(n, k)


def choose_masks(
    squares: Sequence[np.ndarray], segments: Sequence[int], pattern: Pattern, sparsity: float | Sequence[float]
) -> list[np.ndarray]:
    """The masks bool[n,k] of weights to keep in each layer, given the squared importance of each weight.

    One `sparsity` is reached by one threshold over all layers; several are one for each layer. Blocks of zeros are
    always removed; the most important block of a layer always stays, so that no layer is disconnected.
    """
    if pattern.keep:
        ratios = [sparsity] * len(squares) if isinstance(sparsity, (int, float)) else sparsity
        return [
            strongest(x, pattern, s) & (x > 0) if ratio else np.ones(x.shape, bool)
            for x, s, ratio in zip(squares, segments, ratios)
        ]
    parts = [blocks(x, pattern, s) for x, s in zip(squares, segments)]
    ranks = [sums.ravel() / sizes.ravel() for sums, sizes in parts]
    for rank in ranks:
        if rank.any():
            rank[rank.argmax()] = np.inf
    sizes = [sizes.ravel() for _, sizes in parts]
    if isinstance(sparsity, (int, float)):
        ends = np.cumsum([len(rank) for rank in ranks])[:-1]
        stay = np.split(_above(np.concatenate(ranks), np.concatenate(sizes), sparsity), ends)
    else:
        stay = [_above(*given) for given in zip(ranks, sizes, sparsity)]
    return [
        spread(kept.reshape(sums.shape), x.shape, pattern, s)
        for kept, (sums, _), x, s in zip(stay, parts, squares, segments)
    ]


def _above(rank: np.ndarray, size: np.ndarray, sparsity: float) -> np.ndarray:
    """The mask of blocks to keep: blocks are removed by ascending rank until their share of the weights is nearest to `sparsity`."""
    order = np.argsort(rank, kind="stable")
    gone = np.cumsum(size[order]) - size[order] / 2 <= sparsity * size.sum()
    stay = np.ones(len(rank), bool)
    stay[order[gone]] = False
    return (stay & (rank > 0)) | np.isinf(rank)


def found(w: np.ndarray, segments: int) -> str | None:
    """The name of the pattern that the zeros of `w` [n,k] form; None if they form none.

    They form a block pattern if far more of them lie in whole blocks than by chance, and N:M if no group has more than N
    weights and most have exactly N.
    """
    zero = w == 0
    share = zero.mean() if w.size else 0.0
    if not share:
        return None
    for name in ("16x1", "4x1", "1x4"):
        pattern = Pattern(name, *BLOCKS[name])
        if len(w) < pattern.rows or w.shape[1] // segments < pattern.cols:
            continue
        sums, sizes = blocks(~zero, pattern, segments)
        whole = sizes[sums == 0].sum() / zero.sum()
        chance = share ** (pattern.rows * pattern.cols - 1)
        if whole >= max(ALIKE, (1 + chance) / 2):
            return name
    for of in (2, 4, 8, 16):
        sums, sizes = blocks(~zero, Pattern("", 1, of), segments)
        full = sums[sizes == of]
        kept = int(full.max(initial=0))
        if len(full) and 0 < kept < of and (full == kept).mean() >= ALIKE:
            return f"{kept}:{of}"
    return "unstructured"
