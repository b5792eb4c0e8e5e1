"""The decoder against its slow twin in one run, on two CPU threads that nothing else uses.

`pytest -s -m slow test/model/test_decoder_speed.py` prints what it measured.
"""

import time

import pytest
import torch
from reference.decoder_inputs import pyramid, queries
from reference.slow_decoder import SlowDecoder

from eventspd_ros.model.attention import TokenSet
from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.presets import preset_config
from eventspd_ros.model.query_decoder import QueryDecoder

pytestmark = pytest.mark.slow
QUERIES, ROUNDS = 256, 30


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def median_times_ms(calls: dict) -> dict[str, float]:
    """The median time of each call over ROUNDS rounds of all calls, after two to warm up.

    A fixed number, whatever comes out: stopping at a good result would only find a disturbed slow call.
    """
    times = {name: [] for name in calls}
    for _ in range(ROUNDS + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    for name, values in times.items():
        kept = torch.tensor(values[2:])
        print(f"{name}: median {kept.median():.2f} ms, least {kept.min():.2f}, p95 {kept.quantile(0.95):.2f}")
    return {name: torch.tensor(values[2:]).median().item() for name, values in times.items()}


@torch.no_grad()
def test_fast_form_is_fast():
    """1280×720, 256 queries: B2 and B5 together at least 8 times faster, the whole decode at least 2.5 times."""
    config, sensor_hw = DecoderConfig(), (704, 1280)  # 704: the 22 rows that k2 s2 leaves of 45
    torch.manual_seed(0)
    decoder = QueryDecoder(config).eval()
    levels = [level.contiguous(memory_format=torch.channels_last) for level in pyramid(config, sensor_hw)]
    uv_px = queries(sensor_hw, QUERIES)
    slow = SlowDecoder(decoder.state_dict(), config)
    context = decoder.precompute(levels, sensor_hw)
    h, tokens = slow.b1(levels, sensor_hw, uv_px)
    attention = slow.b3(h, levels[-1])[1]
    fused = slow.b4(h, tokens, attention, slow.route(attention), levels, sensor_hw, uv_px)
    fine, coarse, anchors = (part.contiguous() for part in fused.split([32, 59, 32], dim=1))

    def fast_b2_b5():
        local = TokenSet.of(fine, coarse)
        decoder.b2(h, local)
        decoder.b5(h, local.with_part(anchors))

    times = median_times_ms(
        {
            "slow": lambda: slow(levels, sensor_hw, uv_px),
            "fast": lambda: decoder(context, uv_px),
            "slow b2 b5": lambda: (slow.b2(h, tokens), slow.b5(h, fused)),
            "fast b2 b5": fast_b2_b5,
        }
    )
    assert times["slow b2 b5"] / times["fast b2 b5"] >= 8
    assert times["slow"] / times["fast"] >= 2.5


@torch.no_grad()
def test_lite_decodes_within_12_ms():
    config, sensor_hw = preset_config("eventspd_lite").decoder, (260, 346)
    decoder = QueryDecoder(config).eval()
    context = decoder.precompute(pyramid(config, sensor_hw), sensor_hw)
    uv_px = queries(sensor_hw, QUERIES)
    times = median_times_ms({"lite": lambda: decoder(context, uv_px)})
    assert times["lite"] <= 12
