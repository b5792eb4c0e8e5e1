"""How long each stage took, of the last thousand times."""

from __future__ import annotations

from collections import deque

import numpy as np

KEPT = 1000
# In the order in which an event becomes an answer:
#   receive       header stamp → callback, where the stamp is on the node's clock
#   decode        callback → the packet's events decoded (waiting included)
#   window_close  events decoded → the windows they close handed to the encoder
#   encode        window handed over → its cache answers (waiting included)
#   encode_model  the model alone, one batch
#   query         request's callback → answer computed (waiting included)
#   query_model   the model alone
#   publish       answer computed → published
#   window_age    end of the window that answered → when the keypoints were observed
STAGES = ("receive", "decode", "window_close", "encode", "encode_model", "query", "query_model", "publish")
STAGES += ("window_age",)


class Latencies:
    """add() by any one thread a stage, summary() by another."""

    def __init__(self):
        self._ms: dict[str, deque[float]] = {stage: deque(maxlen=KEPT) for stage in STAGES}

    def add(self, stage: str, seconds: float) -> None:
        self._ms[stage].append(1e3 * seconds)

    def summary(self) -> dict[str, tuple[float, float]]:
        """p50 and p99 in ms of every stage that happened."""
        kept = {stage: list(values.copy()) for stage, values in self._ms.items() if values}
        return {stage: tuple(np.percentile(values, [50, 99]).tolist()) for stage, values in kept.items()}
