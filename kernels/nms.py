"""nms: non-maximum suppression, class by class."""

import numpy as np

from ._spec import reference


@reference(where="center<2", plain=True)
def nms(
    boxes: "f32[b,n,4]",
    scores: "f32[b,c,n]",
    overlap: "f32[1]",
    threshold: "f32[1]?",
    center: "size",
    out: "i64[b,c,k,3]",
    out_count: "i64[1]",
):
    """Of each image and class at most k boxes, the best first, that share no more than ``overlap`` of their union.

    A row of ``out`` is image, class, box; ``out_count`` rows follow each other, the rest is 0.  Boxes are two opposite
    corners (center 0), or centre and size (1).  Scores that do not exceed ``threshold`` do not count, nor does NaN.
    """
    rows = []
    for b, c in np.ndindex(scores.shape[:2]):
        line, kept = scores[b, c], []
        numbers = [i for i in range(len(line)) if line[i] == line[i] and (threshold is None or line[i] > threshold[0])]
        for i in sorted(numbers, key=lambda i: (-line[i], i)):
            if len(kept) < out.shape[2] and not any(covers(boxes[b, j], boxes[b, i], center, overlap[0]) for j in kept):
                kept.append(i)
        rows += [(b, c, i) for i in kept]
    out[:], out_count[0] = 0, len(rows)
    out.reshape(-1, 3)[: len(rows)] = np.array(rows, np.int64).reshape(-1, 3)


def corners(box, center):
    """(low, high) of both axes."""
    u, v = box[:2], box[2:]
    half = v / np.float32(2)
    return (u - half, u + half) if center else (np.minimum(u, v), np.maximum(u, v))


def covers(a, b, center, overlap):
    """Whether boxes share more than `overlap` of their union."""
    (al, ah), (bl, bh) = corners(a, center), corners(b, center)
    sides = np.minimum(ah, bh) - np.maximum(al, bl)
    if not (np.minimum(ah, bh) > np.maximum(al, bl)).all():
        return False
    shared, area = sides[0] * sides[1], (ah - al)[0] * (ah - al)[1] + (bh - bl)[0] * (bh - bl)[1]
    return area - shared > 0 and shared / (area - shared) > overlap


def example(rng, b=2, n=30, c=3, k=5, center=0, threshold=0.3):
    """Boxes around a few places, so that many overlap; some scores are equal, one is NaN."""
    at = rng.integers(0, 4, (b, n, 2)).astype(np.float32)
    boxes = np.concatenate([at, at * (1 - center) + rng.uniform(0.2, 2, (b, n, 2))], 2).astype(np.float32)
    scores = rng.integers(0, 10, (b, c, n)).astype(np.float32) / 10
    scores[:, :, :1] = np.nan
    limit = None if threshold is None else np.float32([threshold])
    return [
        boxes,
        scores,
        np.float32([0.4]),
        limit,
        center,
        np.full((b, c, k, 3), 99, np.int64),
        np.full(1, 99, np.int64),
    ]
