"""Triton kernels beside the plain PyTorch they stand in for, in float32 and bfloat16: on a GPU, or else interpreted.

The reference takes the same (rounded) operands in float32; the difference is measured as a whole tensor's norm, and
what a kernel is to write holds NaN before.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from reference.decoder_inputs import SMALL, pyramid, queries, spread_decoder
from reference.models import small_config, small_model
from reference.packed import packed
from reference.places import HERE, REAL, Place, poisoned
from reference.windows import random_window, randomise

from eventspd_ros.benchmark.kernel_twins import relative_error, twins
from eventspd_ros.model.attention import _attend, normalised
from eventspd_ros.model.blocks import ConvNeXtBlock
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import stepped
from eventspd_ros.model.steps import PackedField
from eventspd_ros.model.table_read import read_table

pytest.importorskip("triton", reason="triton is not installed")

import triton
import triton.language as tl

from eventspd_ros.model.kernels import convnext_bands
from eventspd_ros.model.kernels.attention import attend, gather_attend
from eventspd_ros.model.kernels.convnext import FusedConvNeXt
from eventspd_ros.model.kernels.convnext_bands import COLUMNS, LANES, BandedConvNeXt
from eventspd_ros.model.kernels.deformable import FusedDeformableRead
from eventspd_ros.model.kernels.fuse import KERNELS, fused
from eventspd_ros.model.kernels.voxel_scatter import voxel_scatter

pytestmark = pytest.mark.usefixtures("exact_convolutions")
TINY = Place(HERE, (32, 64), events=300, queries=3)  # the interpreter takes its time
TYPES = [torch.float32, torch.bfloat16]
# In bfloat16 beyond the error of plain PyTorch in bfloat16, whose rounding of the result alone is 1.6e-3.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3}


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(HERE, dtype)


def test_voxel_scatter():
    model = randomise(build_model("minimal")).eval().to(HERE)
    field = PackedField(model, 24, 40)
    events = packed(random_window(40, 24, 700), 1000).to(HERE)  # pixels with several events, and padding
    with torch.no_grad():
        expected = field(events).permute(0, 2, 3, 1).reshape(24 * 40, -1)
    with poisoned():
        found = voxel_scatter(events, field.table, field.node_index, model.encoder.grids.node_weight, 24 * 40)
    assert relative_error(found, expected) < 1e-6


def check_convnext(form, dtype, channels, kernel, size):
    block = randomise(ConvNeXtBlock(channels, kernel), scale=0.3).to(HERE, dtype).float().eval()
    batch, rows, columns = size
    x = random(batch, channels, rows, columns, dtype=dtype)
    with torch.no_grad():
        with poisoned():
            found = form(block, dtype)(x)
        expected, plain = block(x.float()), block.to(dtype)(x)
    assert found.shape == x.shape and found.dtype == dtype
    assert relative_error(found, expected) < relative_error(plain, expected) + TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("channels", "kernel", "size"), [(32, 7, (1, 2, 70)), (24, 3, (2, 5, 7))])
def test_convnext(dtype, channels, kernel, size):
    check_convnext(FusedConvNeXt, dtype, channels, kernel, size)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("channels", "kernel", "size", "bands"),
    [
        (32, 7, (1, 2, 70), 1),  # a map lower than the kernel, columns over from three strips
        (64, 7, (1, 7, 17), 3),  # bands of 3, 3 and 1 rows, each lower than the kernel
        (24, 3, (2, 5, 7), 3),
        (40, 13, (1, 5, 9), 2),  # taps that are not held, half of them beside the map
    ],
)
def test_convnext_by_bands(dtype, channels, kernel, size, bands, monkeypatch):
    batch, _, columns = size
    strips = -(-columns // (COLUMNS * max(1, LANES // (64 if channels > 32 else 32))))
    monkeypatch.setattr(convnext_bands, "programs_at_once", lambda device, held: bands * strips * batch)
    check_convnext(BandedConvNeXt, dtype, channels, kernel, size)


@triton.jit
def apply_gelu(x, out, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    tl.store(out + at, convnext_bands._gelu(tl.load(x + at)))


def test_the_polynomial_gelu():
    x = torch.linspace(-15, 15, 8192).to(HERE)
    found = torch.empty_like(x)
    apply_gelu[(1,)](x, found, len(x))
    difference = (found.double() - torch.nn.functional.gelu(x.double())).abs()
    assert (difference < 1.2e-6 + 4e-7 * x.abs()).all()


def read_tokens(probe: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, float]:
    """What attention.py reads in float32, and how far it is from that in the type of the probe."""
    with torch.no_grad():
        exact = _attend(probe.float(), tokens.float())[0]
        return exact, relative_error(_attend(probe, tokens.to(probe.dtype))[0], exact)


@pytest.mark.parametrize("dtype", TYPES)
def test_attention(dtype):
    probe, tokens = random(5, 3, 48, seed=1, dtype=dtype) / 4, random(5, 41, 48, seed=2, dtype=dtype) + 0.5
    expected, plain = read_tokens(probe, tokens)
    with poisoned():
        found = attend(probe, tokens)
    assert relative_error(found, expected) < plain + TOLERANCE[dtype]


@dataclass(frozen=True)
class Gathering:
    """windows, queries of each, tokens that are there, tokens that are gathered, width, heads, rows of the table."""

    windows: int = 2
    queries: int = 3
    first: int = 7
    second: int = 37
    dim: int = 48
    heads: int = 4
    rows: int = 30


B1 = Gathering(1, 1024, 66, 25, 192, 6, 20_000)  # of `eventspd` at 1280×720, about


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [Gathering(), pytest.param(B1, marks=pytest.mark.gpu)], ids=["tiny", "gpu-1280x720"])
def test_gathered_attention(dtype, size):
    number = size.windows * size.queries
    table = random(size.windows, size.rows, size.dim, dtype=dtype)
    first = random(number, size.first, size.dim, seed=1, dtype=dtype)
    shape = (size.windows, size.queries, size.second, 5)
    rows = torch.randint(size.rows, shape, generator=torch.Generator().manual_seed(3)).to(HERE, torch.int32)
    weights = random(*shape, seed=4)
    probe = random(number, size.heads, size.dim, seed=5, dtype=dtype) / 4
    read = normalised(read_table(table.float(), rows, weights).flatten(0, 1))
    with poisoned():
        context, second = gather_attend(probe, first, table, rows, weights)
    assert context.dtype == second.dtype == dtype
    assert relative_error(second, read) < relative_error(read.to(dtype), read) + TOLERANCE[dtype]
    expected, plain = read_tokens(probe, torch.cat((first, read), 1))
    assert relative_error(context, expected) < plain + TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [0.1, 3.0], ids=["near", "off the map too"])
def test_deformable_read(dtype, scale):
    config = replace(SMALL, dim=40, heads=5, samples=3)
    decoder = spread_decoder(config).to(HERE)
    sensor_hw = (96, 150)
    maps = [level.to(HERE) for level in pyramid(config, sensor_hw, windows=2)]
    with torch.no_grad():
        context = decoder.precompute(maps, sensor_hw)
        context = replace(context, reads=context.reads.to(dtype).float())
        b4, u = decoder.b4, scale * random(2 * 4 * 6, 40, seed=7)
        anchors_px = queries(sensor_hw, 24, windows=2).flatten(0, 1).to(HERE)
        cells_hw = context.cells_hw[1:]
        rows, weights = b4._sampling(u, anchors_px, cells_hw)
        table = context.reads.reshape(2, -1, 8)
        expected = read_table(table, rows.view(2, -1, *rows.shape[1:]), weights).reshape(48, 40)
        with poisoned():
            found = FusedDeformableRead(b4).read(context.reads.to(dtype), u, anchors_px, cells_hw)
    assert found.dtype == dtype
    assert relative_error(found, expected) < relative_error(expected.to(dtype), expected) + TOLERANCE[dtype]


CASES = [
    *(pytest.param(small_config(), TINY, name, id=f"{name}-small-tiny") for name in KERNELS),
    *(pytest.param("eventspd", REAL, name, id=f"{name}-eventspd-gpu", marks=pytest.mark.gpu) for name in KERNELS),
    *(
        pytest.param("eventspd_lite", REAL, name, id=f"{name}-eventspd_lite-gpu", marks=pytest.mark.gpu)
        for name in ("voxel_scatter", "convnext", "convnext_bands", "attention")
    ),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("preset, place, name", CASES)
@torch.inference_mode()
def test_every_call_that_a_model_makes(preset, place, name, dtype):
    torch.manual_seed(0)
    model = randomise(build_model(preset), scale=0.05).eval().to(place.device)
    model.in_bfloat16 = dtype == torch.bfloat16
    made = stepped(model, *place.sensor_hw)

    def run() -> None:
        (cache,), _ = made.encode([place.window(model.config, seed=1)], [StreamState()])
        made.decode(cache, place.points())

    for call in twins(model, made, name, run):
        with poisoned():
            found = call.kernel()
        exact = call.exact()
        assert found.shape == exact.shape
        plain = relative_error(call.plain(), exact)
        assert relative_error(found, exact) < plain + TOLERANCE[dtype], type(call.module).__name__


def test_what_a_kernel_does_not_write_shows():
    with poisoned():
        assert torch.empty(3).isnan().all() and random(2).new_empty(3).isnan().all()
        assert torch.empty_like(random(2, dtype=torch.bfloat16)).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_fused_model_answers_alike_and_is_itself_again():
    model = randomise(small_model(), scale=0.1).eval().to(HERE)
    made = stepped(model, 32, 64)
    uv_px = queries((32, 64), 3)[0]

    def answers() -> list[torch.Tensor]:
        (cache,), _ = made.encode([random_window(64, 32, 300)], [StreamState()])
        return [*list_tensors(cache.tensors), *made.decode(cache, uv_px)]

    modules = [*made.encode_step.modules(), *made.decode_step.modules()]
    expected = answers()
    for name in KERNELS:
        with fused(made.encode_step, made.decode_step, [name]):
            one = answers()
            assert [part for part in modules if "forward" in vars(part)], f"{name} stands in for nothing"
        for mine, plain in zip(one, expected, strict=True):
            assert relative_error(mine, plain) < 1e-4, name
    assert not [part for part in modules if "forward" in vars(part)]


@pytest.mark.parametrize("names", [["convnxt"], ["all"]])
def test_an_unknown_kernel_is_named(names):
    with pytest.raises(ValueError, match=names[0]), fused(None, None, names):
        pass
