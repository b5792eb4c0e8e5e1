"""The multi-resolution grids of F³ over (x, y, age), with which A1 encodes every event (arXiv 2509.25146).

Shapes: N events of all windows together, B windows, L levels, F features a level, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.config import EncoderConfig
from eventspd_ros.model.event_tensors import EventTensors
from eventspd_ros.model.voxel_sums import sum_events

MAX_LOG2_SLOTS = 19  # published tables hold 2^19 entries a level and hash only finer grids, which none of ours is


class GridEncoding(nn.Module):
    """Multi-resolution grids: (x, y, bin) -> L·F features, trilinear in each level.

    Coordinates are x/W, y/H (not pixel centres: x = 0 lies on a grid node) and bin/time_bins. A level of resolution
    (Rx, Ry, Rt) stores node (i, j, k) in slot i + j·Rx + k·Rx·Ry, the published indexing, in which node (Rx, j) shares
    its slot with (0, j + 1). Only the slots that this can address are kept: 1.10 of the published 4.19 M values.

    prepare() builds the exact voxel table of a sensor size for inference. Spatial interpolation depends on the pixel
    alone and time is linear between a level's Rt + 1 nodes, so the table holds, for each pixel, the spatially
    interpolated value at every time node of every level, (H·W, 19, F): 140 MB at 1280×720, 47 MB at 640×480, 14 MB
    at 346×260 in float32, a quarter of one row per (x, y, bin) and equal to the grids to float rounding. An event
    then is two table rows a level.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        for level in config.levels:
            if sum(math.log2(size + 1) for size in level) > MAX_LOG2_SLOTS:
                raise ValueError(
                    f"encoder level {level}: finer than 2^{MAX_LOG2_SLOTS} slots, which would need hashing"
                )
        self.levels = config.levels
        self.time_bins = config.time_bins
        self.slots = [rx + ry * rx + rt * rx * ry + 1 for rx, ry, rt in config.levels]
        self.offsets = [sum(self.slots[:level]) for level in range(len(self.slots))]
        self.table = nn.Parameter(torch.empty(sum(self.slots), config.level_features).uniform_(-1e-4, 1e-4))
        self.time_nodes = sum(rt + 1 for _, _, rt in config.levels)
        node_index, node_weight = _time_nodes(config.levels, config.time_bins)
        self.node_index: Tensor
        self.node_weight: Tensor
        self.register_buffer("node_index", node_index, persistent=False)
        self.register_buffer("node_weight", node_weight, persistent=False)
        # The same two as matrices: a bin's weights of all nodes (bins, nodes), and which level a node is of (nodes, L).
        by_bin = node_weight.new_zeros(config.time_bins, self.time_nodes)
        by_bin.scatter_add_(1, node_index.flatten(1), node_weight.flatten(1))
        of_level = [level for level, (*_, rt) in enumerate(config.levels) for _ in range(rt + 1)]
        self.by_bin: Tensor
        self.node_level: Tensor
        self.register_buffer("by_bin", by_bin, persistent=False)
        self.register_buffer("node_level", torch.eye(len(config.levels))[of_level], persistent=False)
        self._voxels: dict[tuple[int, int], tuple[int, Tensor]] = {}
        self.register_load_state_dict_post_hook(_drop_tables)

    @torch.no_grad()
    def start_as_time_bins(self) -> None:
        """Values that do not depend on the pixel, for training without pretraining.

        Published grids start at ±1e-4, where LayerNorm's ε hides them, and at random in space, which pretraining must
        first unlearn. Here channel (l, f) answers 1 at time node f of its level and falls to 0 at the next ones: counts
        of the newest events over 20, 10, 5 and 2.5 ms and of those before them. In a level's last row of cells, whose
        lower nodes share slots with the next time node, the two are mixed.
        """
        for (rx, ry, rt), offset, slots in zip(self.levels, self.offsets, self.slots, strict=True):
            node = (torch.arange(slots, device=self.table.device) // (rx * ry)).clamp_max(rt)
            for feature in range(self.table.shape[1]):
                self.table[offset : offset + slots, feature] = (node == feature).to(self.table.dtype)

    @property
    def channels(self) -> int:
        return len(self.levels) * self.table.shape[1]

    @property
    def voxel_table_bytes(self) -> int:
        """Memory of the voxel tables held now."""
        return sum(table.nbytes for _, table in self._voxels.values())

    def bytes_for(self, height: int, width: int) -> int:
        """Memory that prepare() takes for a sensor size."""
        return height * width * self.time_nodes * self.table.shape[1] * self.table.element_size()

    def drop_tables(self) -> None:
        self._voxels.clear()

    def train(self, mode: bool = True) -> GridEncoding:
        if mode:
            self.drop_tables()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True):
        self.drop_tables()  # the weights move or change type
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def prepare(self, height: int, width: int) -> None:
        """Build the voxel table of a sensor size. For inference: does nothing in training mode."""
        if self.training:
            return
        self._voxels[height, width] = (self._weights_version, self.planes(height, width).flatten(0, 1))

    def planes(self, height: int, width: int) -> Tensor:
        """Every time node of every level, spatially interpolated at every pixel: (H·W, time_nodes, F).

        Interpolation along an axis is a matrix, so that a level is two products however many pixels there are.
        """
        planes = []
        for (rx, ry, rt), offset in zip(self.levels, self.offsets, strict=True):
            across, down = _interpolation(width, rx, self.table), _interpolation(height, ry, self.table)
            index = torch.arange(rx + 1, device=self.table.device) + torch.arange(
                0, (ry + 1) * rx, rx, device=self.table.device
            ).unsqueeze(1)
            nodes = torch.arange(0, (rt + 1) * rx * ry, rx * ry, device=self.table.device) + offset
            grid = F.embedding(index[:, :, None] + nodes, self.table)  # (Ry + 1, Rx + 1, Rt + 1, F)
            with torch.autocast(grid.device.type, enabled=False):
                rows = torch.matmul(down, grid.flatten(1)).view(height, rx + 1, -1)
                planes.append(torch.matmul(across, rows).view(height * width, rt + 1, -1))
        return torch.cat(planes, dim=1)

    def field(self, events: EventTensors) -> Tensor:
        """The sum of the encodings of each pixel's events, (B·H·W, L·F) float32: what training differentiates.

        Both forms read planes that were interpolated once for all windows.
        """
        planes = self.planes(events.height, events.width)
        return (
            self.field_by_pixel(events, planes) if planes.device.type == "cpu" else self.field_by_event(events, planes)
        )

    def field_by_pixel(self, events: EventTensors, planes: Tensor) -> Tensor:
        """field() on a CPU. planes: (H·W, time_nodes, F).

        A pixel's events are first counted by age, which needs no gradient, and counts become weights of time nodes;
        every pixel with events then is one weighted sum of its planes, however many events it has. That takes a seventh
        of the time of the grids event by event.
        """
        planes = planes.transpose(1, 2).flatten(1)
        pixels, inverse = torch.unique(events.pixel, return_inverse=True)
        counts = torch.bincount(inverse * self.time_bins + events.bin, minlength=len(pixels) * self.time_bins)
        weights = counts.view(-1, self.time_bins).to(planes.dtype) @ self.by_bin
        area = events.height * events.width
        rows = F.embedding(pixels % area, planes).unflatten(1, (-1, self.time_nodes))
        sums = torch.matmul(rows * weights.unsqueeze(1), self.node_level).transpose(1, 2).flatten(1)
        return sums.new_zeros(events.windows * area, sums.shape[1]).index_copy(0, pixels, sums)

    def field_by_event(self, events: EventTensors, planes: Tensor) -> Tensor:
        """field() on a GPU: one gather and one scatter-add for all windows, which wait for nothing: no shape depends on
        where the events are. planes: (H·W, time_nodes, F).

        What is gathered is a row a pixel and bin, (H·W·bins, L·F): 58 MB at 346×260, 590 MB at 1280×720. Its gradient
        is the same two the other way round.
        """
        weights = self.by_bin.unsqueeze(-1) * self.node_level  # (bins, time_nodes, L)
        rows = torch.einsum("pnf,bnl->pblf", planes, weights).reshape(-1, self.channels)
        read = rows.index_select(0, events.site * self.time_bins + events.bin)
        field = rows.new_zeros(events.windows * events.height * events.width, self.channels)
        return field.index_add_(0, events.pixel, read)

    def forward(self, events: EventTensors) -> Tensor:
        """-> (N, L·F) float32. Reads the voxel table where one is prepared, evaluates the grids otherwise."""
        voxels = self._voxel_table(events)
        return self._evaluate_grids(events) if voxels is None else self._read_voxels(events, voxels)

    def sums(self, events: EventTensors, into: Tensor | None = None) -> Tensor:
        """The sum of the encodings of each pixel's events, (B·H·W, L·F) float32: what inference takes, and training
        for windows that it does not differentiate. into: of that size, on a CPU, may be written over for it."""
        shape = (events.windows, events.height * events.width, len(self.levels), self.table.shape[1])
        voxels = self._voxel_table(events)
        if voxels is not None and voxels.device.type == "cpu" and voxels.dtype == torch.float32:
            if into is None:
                field = voxels.new_zeros(shape)
            else:
                field = into.view(shape)
                field.numpy().fill(0)  # torch would wake threads for it, which then spin beside what comes next
            voxels = voxels.view(-1, self.time_nodes, self.table.shape[1])
            sum_events(events, voxels, (self.node_index, self.node_weight), field)
            return field.view(-1, self.channels)
        encoded = self._evaluate_grids(events) if voxels is None else self._read_voxels(events, voxels)
        return self.table.new_zeros(shape).view(-1, self.channels).index_add(0, events.pixel, encoded)

    def _voxel_table(self, events: EventTensors) -> Tensor | None:
        """What prepare() built for this sensor, where it still stands; in training, which moves the weights, one for
        this call if no gradient is asked."""
        size = events.height, events.width
        if self.training:
            return None if torch.is_grad_enabled() else self.planes(*size).flatten(0, 1)
        version, voxels = self._voxels.get(size, (None, None))
        if voxels is not None and version != self._weights_version:
            self.drop_tables()
            return None
        return voxels

    @property
    def _weights_version(self) -> int:
        """Counts in-place changes of the grid values; weights made in inference mode cannot change outside it."""
        return 0 if self.table.is_inference() else self.table._version

    def _read_voxels(self, events: EventTensors, voxels: Tensor) -> Tensor:
        row = (events.site * self.time_nodes)[:, None, None] + self.node_index[events.bin]
        weight = self.node_weight[events.bin]
        return self._weighted_rows(voxels, row, weight)

    def _evaluate_grids(self, events: EventTensors) -> Tensor:
        slots, weights = [], []
        x, y = events.site % events.width, events.site // events.width
        first_node = 0
        for level, ((rx, ry, rt), offset) in enumerate(zip(self.levels, self.offsets, strict=True)):
            corner, weight = _corners(x, y, (events.height, events.width), (rx, ry))
            node = (self.node_index[:, level] - first_node)[events.bin]
            slots.append((corner[:, :, None] + (node * (rx * ry) + offset)[:, None, :]).flatten(1))
            weights.append((weight[:, :, None] * self.node_weight[:, level][events.bin][:, None, :]).flatten(1))
            first_node += rt + 1
        return self._weighted_rows(self.table, torch.stack(slots, dim=1), torch.stack(weights, dim=1))

    def _weighted_rows(self, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """index, weight (N, L, n) -> Σ_n weight·rows[index] as (N, L·F)."""
        count, levels, terms = index.shape
        weight = weight.reshape(-1, terms).to(rows.dtype)
        bags = F.embedding_bag(index.reshape(-1, terms).int(), rows, per_sample_weights=weight, mode="sum")
        return bags.reshape(count, levels * rows.shape[1])


def _drop_tables(grids: GridEncoding, _) -> None:
    grids.drop_tables()


def _time_nodes(levels: tuple[tuple[int, int, int], ...], time_bins: int) -> tuple[Tensor, Tensor]:
    """The two time nodes of each bin and level: indices (counted through all levels) and weights, (bins, L, 2)."""
    fraction = torch.arange(time_bins, dtype=torch.float32) / time_bins
    indices, weights, first_node = [], [], 0
    for *_, resolution in levels:
        scaled = fraction * resolution
        lower = scaled.int()
        upper = (lower + 1).clamp(max=resolution)
        pair = torch.stack((lower, upper), dim=-1)
        indices.append(pair.long() + first_node)
        weights.append(1.0 - (pair - scaled[:, None]).abs())
        first_node += resolution + 1
    return torch.stack(indices, dim=1), torch.stack(weights, dim=1)


def _interpolation(pixels: int, cells: int, like: Tensor) -> Tensor:
    """Linear interpolation between cells + 1 nodes at so many pixels of an axis, as a matrix (pixels, cells + 1)."""
    node, weight = _axis_nodes(torch.arange(pixels, device=like.device), pixels, cells)
    return like.new_zeros(pixels, cells + 1).scatter_add_(1, node, weight.to(like.dtype))


def _axis_nodes(pixel: Tensor, size: int, cells: int) -> tuple[Tensor, Tensor]:
    """The two nodes around each pixel (N,) of an axis and their weights, both (N, 2)."""
    scaled = (pixel.float() / size) * cells
    lower = scaled.int()
    node = torch.stack((lower, (lower + 1).clamp(max=cells)), dim=-1)
    return node.long(), 1.0 - (node - scaled[:, None]).abs()


def _corners(x: Tensor, y: Tensor, size_hw: tuple[int, int], resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Slots (of time node 0) and bilinear weights of the four nodes around pixels x, y (N,): both (N, 4)."""
    node_x, weight_x = _axis_nodes(x, size_hw[1], resolution[0])
    node_y, weight_y = _axis_nodes(y, size_hw[0], resolution[1])
    slot = node_y[:, :, None] * resolution[0] + node_x[:, None, :]
    return slot.flatten(1), (weight_y[:, :, None] * weight_x[:, None, :]).flatten(1)
