"""Where a training step asks for depth: the query sampling of the architecture document, §4.3.

Each of K draws first picks a category by its weight, then a pixel of that category, with replacement:

    40 %  DEPTH    pixels with metric depth (LiDAR, stereo, simulation)
    20 %  PSEUDO   pixels with a pseudo-label and no metric depth
    15 %  EVENTS   labelled pixels in event-dense regions: among the quarter with most events in the 9×9 px around them
    15 %  EDGES    labelled pixels at depth edges: depth spans more than a factor 1.28 in the 5×5 px around them
    10 %  HARD     labelled pixels of cells drawn in proportion to the spatial loss map (Eq. 33)

"Labelled" is DEPTH or PSEUDO: a query without any target would train nothing. A pixel may belong to several
categories. A category that is empty in a sample (no pseudo-label, no loss seen yet) gives its weight to the others in
proportion to theirs. A sample without any label is asked at uniformly drawn pixels, category NONE, targets NaN.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit

from eventspd_ros.datasets.sample import Sample

TRAINING_QUERIES = 2048  # K in training: eight times what inference asks
EVENT_BOX_PX, EVENT_DENSE_SHARE = 9, 0.25
EDGE_BOX_PX, EDGE_LOG_SPAN = 5, 0.25
LOSS_STRIDE_PX, LOSS_DECAY = 16, 0.99


class Category(IntEnum):
    """Why a pixel was drawn, in the order of priority."""

    DEPTH = 0
    PSEUDO = 1
    EVENTS = 2
    EDGES = 3
    HARD = 4
    NONE = 5


WEIGHTS = {
    Category.DEPTH: 0.40,
    Category.PSEUDO: 0.20,
    Category.EVENTS: 0.15,
    Category.EDGES: 0.15,
    Category.HARD: 0.10,
}


class LossMap:
    """The spatial loss map M of one sensor size: where the model errs, at stride 16 (Eq. 33).

    values: float64 (ceil(H / 16), ceil(W / 16)), zero before any loss was seen; save and restore it with a run.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.values = np.zeros((-(-height // LOSS_STRIDE_PX), -(-width // LOSS_STRIDE_PX)))

    def update(self, uv_px: np.ndarray, losses: np.ndarray) -> None:
        """M ← 0.99·M + 0.01·(mean loss of the queries in the cell). uv_px: (..., 2), losses: (...), of one step.

        Cells without a query keep their value; losses that are not finite (queries without a target) do not count.
        """
        losses = np.asarray(losses, np.float64).reshape(-1)
        cells = np.rint(np.asarray(uv_px).reshape(-1, 2)).astype(np.int64) // LOSS_STRIDE_PX
        flat = (cells[:, 1] * self.values.shape[1] + cells[:, 0])[np.isfinite(losses)]
        counts = np.bincount(flat, minlength=self.values.size)
        sums = np.bincount(flat, losses[np.isfinite(losses)], minlength=self.values.size)
        values, seen = self.values.reshape(-1), counts > 0
        values[seen] = LOSS_DECAY * values[seen] + (1 - LOSS_DECAY) * sums[seen] / counts[seen]

    def draw(self, candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Flat pixel indices (count,): a cell in proportion to M, then one of its candidates, (H, W), uniformly.

        Cells without a candidate are not drawn; an empty result says that no cell with a candidate has a loss.
        """
        sizes, starts, pixels = _by_cell(np.ascontiguousarray(candidates), *self.values.shape)
        mass = np.where(sizes > 0, self.values.reshape(-1), 0.0)
        if not mass.sum() > 0:
            return np.empty(0, np.int64)
        cells = rng.choice(mass.size, count, p=mass / mass.sum())
        return pixels[starts[cells] + (rng.random(count) * sizes[cells]).astype(np.int64)]


# Drawing is done for every sample of every step in the training process: in compiled loops, without branches.
@njit(nogil=True, cache=True)
def _by_category(bits, categories):
    """Flat indices of each category's pixels, (categories, pixels + 1), and how many they are, (categories,)."""
    pools, counts = np.empty((categories, bits.size + 1), np.int32), np.zeros(categories, np.int64)
    for category in range(categories):
        pool, place = pools[category], 0
        for pixel in range(bits.size):
            pool[place] = pixel  # written over by the next one where this is none
            place += (bits[pixel] >> category) & 1
        counts[category] = place
    return pools, counts


@njit(nogil=True, cache=True)
def _by_cell(candidates, rows, columns):
    """How many candidates (H, W) each cell has, where its own start, and their flat indices, cell after cell."""
    height, width = candidates.shape
    sizes = np.zeros(rows * columns, np.int64)
    for v in range(height):
        for u in range(width):
            sizes[v // LOSS_STRIDE_PX * columns + u // LOSS_STRIDE_PX] += candidates[v, u] != 0
    starts = np.cumsum(sizes + 1) - (sizes + 1)  # one more each, for what is written where no candidate is
    place, pixels = starts.copy(), np.empty(sizes.sum() + len(sizes), np.int64)
    for v in range(height):
        for u in range(width):
            cell = v // LOSS_STRIDE_PX * columns + u // LOSS_STRIDE_PX
            pixels[place[cell]] = v * width + u
            place[cell] += candidates[v, u] != 0
    return sizes, starts, pixels


def category_bits(sample: Sample) -> np.ndarray:
    """Which categories each pixel belongs to, uint8 (H, W): bit 1 << Category.

    HARD is every labelled pixel; the loss map decides among them.
    """
    depth = sample.valid
    pseudo = sample.pseudo_inverse_depth
    only_pseudo = np.zeros_like(depth) if pseudo is None else np.isfinite(pseudo) & ~depth
    labelled = depth | only_pseudo
    edges = depth_edges(sample.depth_m)
    if pseudo is not None:
        edges |= depth_edges(pseudo) & only_pseudo
    masks = {
        Category.DEPTH: depth,
        Category.PSEUDO: only_pseudo,
        Category.EVENTS: event_dense(sample.event_counts) & labelled,
        Category.EDGES: edges,
        Category.HARD: labelled,
    }
    bits = np.zeros(depth.shape, np.uint8)
    for category, mask in masks.items():
        bits[mask] |= 1 << category
    return bits


def draw_pixels(
    bits: np.ndarray, rng: np.random.Generator, count: int = TRAINING_QUERIES, loss_map: LossMap | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """K = count pixels of a sample and why: uv_px int64 (K, 2), category uint8 (K,).

    bits: category_bits() of the sample. loss_map: None: no hard examples yet. The same state of rng draws the same.
    """
    height, width = bits.shape
    if loss_map is not None and (loss_map.height, loss_map.width) != (height, width):
        sizes = f"loss map of {loss_map.width}x{loss_map.height} px for samples of {width}x{height} px"
        raise ValueError(f"{sizes}; keep one for each size")
    found, counts = _by_category(np.ascontiguousarray(bits).reshape(-1), int(Category.HARD))
    pools = {category: found[category, : counts[category]] for category in WEIGHTS if category != Category.HARD}
    # Hard pixels are drawn ahead, as many as could be needed, so that an empty category is known before the weights.
    pools[Category.HARD] = np.empty(0, np.int64)
    if loss_map is not None:
        pools[Category.HARD] = loss_map.draw(bits & (1 << Category.HARD), count, rng)
    weights = np.array([weight if len(pools[category]) else 0.0 for category, weight in WEIGHTS.items()])
    if weights.sum() > 0:
        category = rng.choice(len(weights), count, p=weights / weights.sum()).astype(np.uint8)
        pixels = np.empty(count, np.int64)
        for name, pool in pools.items():
            chosen = category == name
            drawn = int(chosen.sum())
            pixels[chosen] = pool[:drawn] if name == Category.HARD else pool[rng.integers(0, len(pool) or 1, drawn)]
    else:
        pixels, category = rng.integers(0, height * width, count), np.full(count, Category.NONE, np.uint8)
    return np.stack((pixels % width, pixels // width), axis=1), category


def event_dense(event_counts: np.ndarray) -> np.ndarray:
    """Pixels (H, W) with most events around them: the top quarter of those that have any event in their 9×9 px."""
    around = _over_box(event_counts.astype(np.int32), EVENT_BOX_PX, np.add, 0)
    active = around > 0
    if not active.any():
        return active
    return active & (around >= np.quantile(around[active], 1 - EVENT_DENSE_SHARE))


def depth_edges(depth: np.ndarray, box_px: int = EDGE_BOX_PX) -> np.ndarray:
    """Known pixels (H, W) around which, in a box of box_px, the known log depth (or log inverse depth) spans more than
    0.25."""
    known = np.isfinite(depth)
    log = np.log(np.where(known, depth, 1.0)).astype(np.float32)
    largest = _over_box(np.where(known, log, -np.inf), box_px, np.maximum, -np.inf)
    smallest = _over_box(np.where(known, log, np.inf), box_px, np.minimum, np.inf)
    return known & (largest - smallest > EDGE_LOG_SPAN)


def _over_box(values: np.ndarray, size: int, combine: np.ufunc, outside: float) -> np.ndarray:
    """Each pixel's size × size neighbourhood combined; `outside` stands beyond the image.

    One axis after the other in numpy: OpenCV's filters run on a pool of threads, which a forked worker lacks.
    """
    half = size // 2
    for axis in (0, 1):
        padding = [(half, half) if along == axis else (0, 0) for along in (0, 1)]
        padded = np.pad(values, padding, constant_values=outside).swapaxes(0, axis)
        length, combined = values.shape[axis], padded[: values.shape[axis]].copy()
        for shift in range(1, size):
            combine(combined, padded[shift : shift + length], out=combined)
        values = combined.swapaxes(0, axis)
    return values
