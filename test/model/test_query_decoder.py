"""The query decoder against its slow twin, and alone."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from reference.decoder_inputs import CENTRES, POOLED, RANDOM, SMALL, UNREAD, cells_of, pyramid, queries, spread_decoder
from reference.fast_macs import macs_per_query, macs_precompute
from reference.slow_decoder import SlowDecoder
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_macs import macs_per_query_reference
from eventspd_ros.model.query_decoder import QueryDecoder
from eventspd_ros.model.routing import route

FULL = DecoderConfig()
LITE = dataclasses.replace(
    SMALL, local_radius=(2, 2, 2, -1), adaptive_points=0, global_layers=0, fused_layers=0, anchors=0
)
TOKENLESS = dataclasses.replace(SMALL, local_radius=(-1, -1, -1, -1), adaptive_points=0, local_layers=0)
POOLED_UNREAD = dataclasses.replace(POOLED, anchors=0)  # plan v9's four tokens, and nothing else to fuse
ABLATED = [RANDOM, UNREAD, CENTRES, POOLED_UNREAD, dataclasses.replace(POOLED, routing="random")]
SENSOR_HW = (260, 346)


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices of a few dozen queries: waiting for a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def inputs(config, sensor_hw=SENSOR_HW, count=48, windows=2):
    """A decoder, its maps and queries, and the routed cells the slow form chooses."""
    decoder = spread_decoder(config)
    levels, uv_px = pyramid(config, sensor_hw, windows), queries(sensor_hw, count, windows)
    routed = None
    if config.anchors:
        with torch.no_grad():
            slow = SlowDecoder(decoder.state_dict(), config)
            routed = slow.route(slow.before_b4(levels, sensor_hw, uv_px)[2])
    return decoder, levels, uv_px, routed


def decode(decoder, levels, uv_px, routed=None, sensor_hw=SENSOR_HW):
    return decoder(decoder.precompute(levels, sensor_hw), uv_px, routed)


# ---- the document's numbers


@pytest.mark.parametrize(
    ("stage", "thousands"), [("a3", 506), ("b1", 142), ("b2", 891), ("b3", 740), ("b4", 159), ("b5", 1411)]
)
def test_parameters_by_stage(stage, thousands):
    count = sum(parameter.numel() for parameter in getattr(QueryDecoder(FULL), stage).parameters())
    assert count == pytest.approx(1000 * thousands, rel=0.03)


def test_macs_of_the_document():
    """51.1 M as written, at most 9 M as it runs; stages as the document's table."""
    slow, fast = macs_per_query_reference(FULL), macs_per_query(FULL)
    assert slow["total"] == pytest.approx(51.1e6, rel=0.01)
    for stage, millions in (("b2", 14.2), ("b3", 1.4), ("b4", 5.1), ("b5", 28.4)):
        assert slow[stage] == pytest.approx(millions * 1e6, rel=0.02)
    assert fast["total"] <= 9e6
    assert (SlowDecoder({}, FULL).config.local_tokens, FULL.anchor_count(880)) == (91, 32)


@pytest.mark.parametrize("config", [FULL, SMALL, LITE, TOKENLESS, POOLED, *ABLATED])
def test_macs_are_what_runs(config):
    """The formulas against torch's own count of matrix products, which leaves bilinear reads out."""
    decoder, levels, uv_px, _ = inputs(config, count=16, windows=1)
    cells = [rows * columns for rows, columns in cells_of(config, SENSOR_HW)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        context = decoder.precompute(levels, SENSOR_HW)
    assert counter.get_total_flops() == 2 * macs_precompute(config, cells)

    plain = sdpa_kernel(SDPBackend.MATH)  # the products that the fused kernel makes, which the counter cannot see into
    with plain, torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(context, uv_px)
    macs = macs_per_query(config, cells[-1])
    assert counter.get_total_flops() == 2 * 16 * (macs["total"] - macs["reads"])


# ---- fast = slow


@pytest.mark.parametrize(
    ("config", "sensor_hw"),
    [
        (FULL, (260, 346)),
        (FULL, (480, 640)),
        (SMALL, (180, 240)),
        (SMALL, (720, 1280)),
        (LITE, (640, 640)),
        (POOLED, (260, 346)),
        *((config, (180, 240)) for config in ABLATED),
    ],
)
def test_equals_the_slow_form_in_float32(config, sensor_hw):
    decoder, levels, uv_px, routed = inputs(config, sensor_hw)
    slow = SlowDecoder(decoder.state_dict(), config)
    with torch.no_grad():
        expected = slow(levels, sensor_hw, uv_px, routed)
        got = decode(decoder, levels, uv_px, routed, sensor_hw)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == torch.float32 and ours.shape == uv_px.shape[:2]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [FULL, SMALL, LITE, TOKENLESS, POOLED, *ABLATED])
def test_is_the_same_function_in_float64(config):
    """To twelve digits: what float32 shows is rounding, not an approximation."""
    decoder, levels, uv_px, routed = inputs(config)
    decoder, levels, uv_px = decoder.double(), [features.double() for features in levels], uv_px.double()
    with torch.no_grad():
        expected = SlowDecoder(decoder.state_dict(), config)(levels, SENSOR_HW, uv_px, routed)
        got = decode(decoder, levels, uv_px, routed)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_gradients_in_bfloat16():
    """As training runs: autocast, attention dropout. Within a tenth of each tensor's float32 gradient."""
    decoder, levels, uv_px, routed = inputs(SMALL, count=24)
    decoder.train()
    leaves = [*decoder.parameters(), *[features.requires_grad_() for features in levels]]
    found = []
    for enabled in (False, True):
        torch.manual_seed(4)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            z, stddev = decode(decoder, levels, uv_px, routed)
        found.append(torch.autograd.grad(z.sum() - 2 * stddev.sum(), leaves))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == exact.dtype
        assert (rounded - exact).norm() <= 0.1 * exact.norm()


def gradients(config, dtype):
    """Of all parameters and maps, by name, from both forms: training mode, the same dropout, routed cells injected."""
    decoder, levels, uv_px, routed = inputs(config, count=24)
    decoder.to(dtype).train()
    levels = [features.to(dtype).requires_grad_() for features in levels]
    uv_px = uv_px.to(dtype)
    parameters = dict(decoder.named_parameters())
    names = [*parameters, *(f"level {number}" for number in range(len(levels)))]
    weights = torch.randn(2, *uv_px.shape[:2], generator=torch.Generator().manual_seed(3)).to(dtype)
    results = []
    for form in (
        lambda: decode(decoder, levels, uv_px, routed),
        lambda: SlowDecoder(parameters, config, training=True)(levels, SENSOR_HW, uv_px, routed),
    ):
        torch.manual_seed(4)
        z, stddev = form()
        loss = (weights[0] * z + weights[1] * stddev).sum()
        results.append(torch.autograd.grad(loss, [*parameters.values(), *levels]))
    return zip(names, *results, strict=True)


@pytest.mark.parametrize("config", [FULL, SMALL, POOLED, dataclasses.replace(RANDOM, attention_dropout=0.0), UNREAD])
def test_gradients_equal_the_slow_form(config):
    """Attention dropout on: the two forms draw the same masks for their seven layers, so that its algebra is tested."""
    for name, ours, theirs in gradients(config, torch.float64):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("config", [FULL])
def test_gradients_equal_the_slow_form_in_float32(config):
    """To 1e-5 of each tensor's largest gradient, once rounding of the slow form's own coordinates is allowed for."""
    for name, ours, theirs in gradients(config, torch.float32):
        largest = theirs.abs().max().item()
        assert (ours - theirs).abs().max().item() <= 1e-5 * largest + 1e-5, name


@pytest.mark.parametrize("config", [SMALL, POOLED, *ABLATED])
def test_slow_form_reads_every_parameter(config):
    """The same state_dict, all of it."""

    class Recording(dict):
        def __init__(self, *args):
            super().__init__(*args)
            self.read = set()

        def __getitem__(self, key):
            self.read.add(key)
            return super().__getitem__(key)

        def get(self, key, default=None):
            return self[key] if key in self else default

    decoder, levels, uv_px, _ = inputs(config, count=2)
    parameters = Recording(decoder.state_dict())
    with torch.no_grad():
        SlowDecoder(parameters, config)(levels, SENSOR_HW, uv_px)
    assert parameters.read == set(parameters)


# ---- routing


def test_free_running_routes_alike():
    """Wherever the R-th and the next weight differ by more than rounding, both forms choose the same cells."""
    decoder, levels, uv_px, routed = inputs(FULL, (480, 640), count=200, windows=1)
    context = decoder.precompute(levels, (480, 640))
    seen = []
    decoder.b3.register_forward_hook(lambda module, args, output: seen.append(output[1]))
    with torch.no_grad():
        decoder(context, uv_px)
        slow = SlowDecoder(decoder.state_dict(), FULL)
        attention = slow.before_b4(levels, (480, 640), uv_px)[2]
    count = routed.shape[-1]
    ranked = attention.sort(dim=-1, descending=True).values
    decided = ranked[..., count - 1] - ranked[..., count] > 1e-6 * ranked[..., 0]
    assert decided.float().mean() > 0.9
    ours, theirs = route(torch.cat(seen, dim=1), count).sort().values, routed.sort().values
    assert torch.equal(ours[decided], theirs[decided])


@pytest.mark.parametrize(("cells", "count"), [(880, 32), (300, 32), (99, 12), (48, 6), (4, 1)])
def test_anchors_shrink_with_the_sensor(cells, count):
    assert FULL.anchor_count(cells) == count


def test_straight_through_leaves_the_forward_pass_alone():
    """1 − sg(ᾱ_r) + ᾱ_r is one, exactly: training without dropout answers as evaluation does."""
    config = dataclasses.replace(SMALL, attention_dropout=0.0)
    decoder, levels, uv_px, _ = inputs(config)
    with torch.no_grad():
        evaluated = decode(decoder.eval(), levels, uv_px)
        trained = decode(decoder.train(), levels, uv_px)
    assert torch.equal(evaluated[0], trained[0]) and torch.equal(evaluated[1], trained[1])


def routed_cells(decoder, levels, uv_px):
    """Anchors (B, K, R) of a pass of the decoder."""
    seen = []
    with decoder.b4.register_forward_hook(lambda module, args, output: seen.append(args[3])), torch.no_grad():
        decode(decoder, levels, uv_px)
    return torch.cat(seen, dim=1)


@pytest.mark.parametrize("config", [RANDOM, dataclasses.replace(SMALL, routing="random")])
def test_random_anchors_are_the_same_again_and_fresh_in_training(config):
    decoder, levels, uv_px, routed = inputs(config)
    assert torch.equal(routed_cells(decoder, levels, uv_px), routed), "the slow form's"
    other_maps = pyramid(config, SENSOR_HW, windows=2, seed=9)
    assert torch.equal(routed_cells(decoder, other_maps, uv_px), routed), "whatever is seen"
    decoder.train()
    torch.manual_seed(0)
    first, second = (routed_cells(decoder, levels, uv_px[:1].expand(2, -1, -1)) for _ in range(2))
    for one, other in ((first, second), (first[0], first[1]), (first[0], routed[0])):
        assert not torch.equal(one, other)
    torch.manual_seed(0)
    assert torch.equal(routed_cells(decoder, levels, uv_px[:1].expand(2, -1, -1)), first), "follows torch's seed"


def test_lots_teach_the_global_attention_nothing():
    """With random anchors ᾱ has no gradient from the read: B3's keys learn by what B3 adds to h alone."""
    config = dataclasses.replace(SMALL, routing="random", attention_dropout=0.0)
    decoder, levels, uv_px, routed = inputs(config)
    parameters = list(decoder.train().b3.parameters())
    z, _ = decode(decoder, levels, uv_px, routed)
    z.sum().backward()
    found = [parameter.grad for parameter in parameters]
    decoder.eval().zero_grad()  # without the straight-through factor
    decode(decoder, levels, uv_px, routed)[0].sum().backward()
    for ours, plain in zip(found, parameters, strict=True):
        torch.testing.assert_close(ours, plain.grad)


# ---- queries and windows are independent


@pytest.mark.parametrize("config", [FULL, POOLED, RANDOM])
def test_one_query_is_many_and_order_is_free(config):
    decoder, levels, uv_px, _ = inputs(config, count=12, windows=1)
    context = decoder.precompute(levels, SENSOR_HW)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        many = torch.stack(decoder(context, uv_px))
        one = torch.cat([torch.stack(decoder(context, uv_px[:, k : k + 1])) for k in range(12)], dim=-1)
        permuted = torch.stack(decoder(context, uv_px[:, order]))
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(permuted, many[..., order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, POOLED, RANDOM])
def test_windows_are_independent(config):
    decoder, levels, uv_px, _ = inputs(config, windows=3)
    with torch.no_grad():
        together = torch.stack(decode(decoder, levels, uv_px))
        for index in range(3):
            one = slice(index, index + 1)
            alone = torch.stack(decode(decoder, [features[one] for features in levels], uv_px[one]))
            torch.testing.assert_close(alone, together[:, one], rtol=1e-5, atol=1e-5)


def test_no_query():
    decoder, levels, _, _ = inputs(SMALL, windows=2)
    z, stddev = decode(decoder, levels, torch.zeros(2, 0, 2))
    assert z.shape == stddev.shape == (2, 0)


@pytest.mark.parametrize(("windows", "count"), [(1, 10_000), (3, 400), (300, 2)])
def test_chunks_bound_memory_and_change_nothing(monkeypatch, windows, count):
    """No step decodes more queries than a chunk, unless there are more windows than that, and all are answered."""
    decoder, levels, uv_px, _ = inputs(SMALL, (64, 64), count, windows)
    steps, whole = [], QueryDecoder._decode
    monkeypatch.setattr(
        QueryDecoder, "_decode", lambda *args: (steps.append(args[2].shape[0] * args[2].shape[1]), whole(*args))[1]
    )
    with torch.no_grad():
        context = decoder.precompute(levels, (64, 64))
        chunked = torch.stack(decoder(context, uv_px))
        assert sum(steps) == windows * count and max(steps) <= max(1024, windows)
        assert chunked.shape == (2, windows, count) and chunked.isfinite().all()
        last = torch.stack(decoder(context, uv_px[:, -7:]))
    torch.testing.assert_close(chunked[..., -7:], last[..., -7:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, POOLED, RANDOM])
def test_a_query_that_is_no_number_answers_nan_alone(config):
    decoder, levels, uv_px, _ = inputs(config)
    spoilt = uv_px.clone()
    spoilt[0, 7, 0], spoilt[1, 3, 1], spoilt[1, 5] = float("nan"), float("inf"), float("-inf")
    with torch.no_grad():
        expected, got = torch.stack(decode(decoder, levels, uv_px)), torch.stack(decode(decoder, levels, spoilt))
    bad = ~spoilt.isfinite().all(-1)
    assert got[:, bad].isnan().all()
    torch.testing.assert_close(got[:, ~bad], expected[:, ~bad], rtol=1e-5, atol=1e-5)


# ---- precision and compilation


@pytest.mark.parametrize("sensor_hw", [(260, 346), (480, 640)])
def test_bfloat16(sensor_hw):
    """Depth as Eq. 26 and as exp(z): median relative difference at most 1e-2, 99 of 100 within 5e-2."""
    decoder, levels, uv_px, routed = inputs(FULL, sensor_hw, count=256, windows=1)
    with torch.no_grad():
        exact = decode(decoder, levels, uv_px, routed, sensor_hw)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rounded, stddev = decode(decoder, levels, uv_px, routed, sensor_hw)
    assert rounded.dtype == stddev.dtype == torch.float32
    for depth in (lambda z: 1 / (F.softplus(z) + 1e-6), torch.exp):
        relative = (depth(rounded) / depth(exact) - 1).abs().flatten()
        assert 0 < relative.median() <= 1e-2 and relative.quantile(0.99) <= 5e-2


def test_bfloat16_keeps_routing_softmax_and_heads_in_float32():
    decoder, levels, uv_px, _ = inputs(SMALL)
    kinds = {}

    def keep(name):
        def hook(module, args, output):
            kinds[name] = output[1].dtype if isinstance(output, tuple) else output.dtype

        return hook

    decoder.b3.register_forward_hook(keep("routing"))
    decoder.b3.layers[0].attention.register_forward_hook(keep("cell softmax"))
    decoder.b5.depth.register_forward_hook(keep("depth"))
    decoder.sigma.register_forward_hook(keep("sigma"))
    decoder.b2.layers[0].ffn.register_forward_hook(keep("ffn"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        context = decoder.precompute(levels, SENSOR_HW)
        decoder(context, uv_px)
    assert kinds.pop("ffn") == torch.bfloat16 and context.reads.dtype == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}, kinds


@pytest.mark.parametrize("config", [SMALL, RANDOM])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole(backend, config):
    """One graph, no break; K and the maps' sizes are the only shapes it depends on."""
    decoder, levels, uv_px, _ = inputs(config, count=16, windows=1)
    torch._dynamo.reset()
    compiled = torch.compile(decoder, fullgraph=True, backend=backend)
    with torch.no_grad():
        context = decoder.precompute(levels, SENSOR_HW)
        expected, got = torch.stack(decoder(context, uv_px)), torch.stack(compiled(context, uv_px))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


# ---- what training needs


def test_offset_parameters_are_marked_and_start_at_zero():
    decoder = QueryDecoder(FULL)
    marked = decoder.offset_parameters()
    assert sum(parameter.numel() for parameter in marked) == 27_792
    assert not any(parameter.any() for parameter in marked)
    assert QueryDecoder(LITE).offset_parameters() == []


@pytest.mark.parametrize("config", [FULL, LITE, POOLED, *ABLATED])
def test_every_parameter_learns(config):
    decoder, levels, uv_px, _ = inputs(config, count=8)
    z, stddev = decode(decoder.train(), levels, uv_px)
    (z.sum() + stddev.sum()).backward()
    assert [name for name, parameter in decoder.named_parameters() if parameter.grad is None] == []


def test_reduced_configurations_have_no_idle_parts():
    assert [name for name, _ in QueryDecoder(LITE).named_parameters() if name.startswith(("a3", "b3", "b4"))] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 50}, "decoder.dim=50"),
        ({"anchors": 8, "global_layers": 0}, "decoder.anchors=8: routing by attention"),
        ({"anchors": 0, "local_radius": (-1,) * 4, "adaptive_points": 0, "local_layers": 0}, "decoder.fused_layers=3"),
        ({"routing": "nearest"}, "decoder.routing='nearest'"),
        ({"routing": "random", "anchors": 0}, "decoder.routing='random': without anchors"),
        ({"fused_layers": 0}, "decoder.anchors=32"),
        ({"strides": (4, 8)}, r"decoder.strides=\(4, 8\)"),
        ({"read_levels": 4}, "decoder.read_levels=4"),
        ({"adaptive_reach": (6.0, 4.0)}, "decoder.adaptive_reach"),
        ({"pooled_levels": 1}, r"decoder.local_radius=\(2, 2, 2, 1\): with pooled_levels=1"),
        ({"local_radius": (-1, -1, -1, -1), "adaptive_points": 0}, "decoder.local_radius"),
    ],
)
def test_configurations_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FULL, **change)
