"""The decoder beside its slow twin, in one run on two CPU threads: python test/reference/bench_decoder.py

1280×720, 256 queries, same weights. Prints medians and p95 in ms, and the ratios slow / fast of the medians.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference.decoder_inputs import pyramid, queries
from reference.slow_decoder import SlowDecoder

from eventspd_ros.benchmark.machine import cpu_name
from eventspd_ros.model.attention import normalised
from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.presets import preset_config
from eventspd_ros.model.query_decoder import QueryDecoder

QUERIES, ROUNDS, RUNS = 256, 10, 4


def times_ms(calls: dict) -> dict[str, dict[str, float]]:
    """Median, p95 and best of each call over ROUNDS turns, so that a drift of the machine meets all alike.

    A turn runs a call RUNS times and leaves out the first, which finds another call's data in the caches.
    """
    times = {name: [] for name in calls}
    for _ in range(1 + ROUNDS):
        for name, call in calls.items():
            for run in range(RUNS):
                start = time.perf_counter()
                call()
                if run:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: summary(np.array(t[RUNS - 1 :])) for name, t in times.items()}  # the first turn warms up


def summary(times: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(times)), "p95": float(np.percentile(times, 95)), "best": float(times.min())}


def document_calls() -> dict:
    """The decoder of `eventspd`, whole and B2 with B5 alone, and the slow form of both."""
    config, sensor_hw = DecoderConfig(), (704, 1280)  # 704: the 22 rows that k2 s2 leaves of 45
    decoder = QueryDecoder(config).eval()
    levels = [level.contiguous(memory_format=torch.channels_last) for level in pyramid(config, sensor_hw)]
    uv_px = queries(sensor_hw, QUERIES)
    slow = SlowDecoder(decoder.state_dict(), config)
    context = decoder.precompute(levels, sensor_hw)
    h, tokens = slow.b1(levels, sensor_hw, uv_px)
    attention = slow.b3(h, levels[-1])[1]
    fused = slow.b4(h, tokens, attention, slow.route(attention), levels, sensor_hw, uv_px)
    anchors = fused[:, tokens.shape[1] :].contiguous()

    def fast_b2_b5():
        local = normalised(tokens)
        decoder.b2(h, context.local, local)
        decoder.b5(h, context.fused, torch.cat((local, normalised(anchors)), dim=1))

    return {
        "slow": lambda: slow(levels, sensor_hw, uv_px),
        "fast": lambda: decoder(context, uv_px),
        "slow_b2_b5": lambda: (slow.b2(h, tokens), slow.b5(h, fused)),
        "fast_b2_b5": fast_b2_b5,
    }


def lite_call() -> dict:
    config, sensor_hw = preset_config("eventspd_lite").decoder, (260, 346)
    decoder = QueryDecoder(config).eval()
    context = decoder.precompute(pyramid(config, sensor_hw), sensor_hw)
    uv_px = queries(sensor_hw, QUERIES)
    return {"lite": lambda: decoder(context, uv_px)}


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    found = times_ms(document_calls() | lite_call())
    ratios = {
        "whole": found["slow"]["median"] / found["fast"]["median"],
        "b2_b5": found["slow_b2_b5"]["median"] / found["fast_b2_b5"]["median"],
    }
    machine = {"cpu": cpu_name(), "threads": 2, "torch": torch.__version__}
    print(json.dumps({"queries": QUERIES, "decode_ms": found, "slow_over_fast": ratios, "machine": machine}, indent=2))


if __name__ == "__main__":
    main()
