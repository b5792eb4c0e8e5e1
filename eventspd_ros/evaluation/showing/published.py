"""Published numbers of monocular depth on MVSEC's outdoor_day1 and outdoor_night1, trained on outdoor_day2.

Every paper scores all labelled pixels of an image, then takes the mean over images, but by protocols that differ
(evaluation/scoring/protocols.py), so that even these rows are not strictly comparable. A number of ours is comparable
only if it was made on those sequences by that protocol.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One method. reads: "events", or with images. protocol: whose scoring it follows, with its range of true depth.
    day1, night1: AbsRel, RMSE (m), RMSElog, δ1. near_m: mean error (m) below 10, 20 and 30 m on day1. None: not given.
    """

    method: str
    reads: str
    protocol: str
    source: str
    day1: tuple[float | None, ...] = (None,) * 4
    night1: tuple[float | None, ...] = (None,) * 4
    near_m: tuple[float | None, ...] = (None,) * 3


COLUMNS = ("AbsRel", "RMSE m", "RMSElog", "δ1")
E2DEPTH = "E2Depth: 1.97–80 m, far errors masked"
HMNET = "HMNet: 1.978–80 m"
MVSEC = (
    Published(
        *("E2Depth", "events", E2DEPTH, "3DV 2020, arXiv:2010.08350"),
        *((0.346, 8.564, 0.421, 0.567), (0.591, 11.21, 0.646, 0.408), (1.85, 2.64, 3.13)),
    ),
    Published(
        *("EReFormer", "events", E2DEPTH, "arXiv:2212.02791"),
        *((0.271, None, 0.333, 0.664), (0.317, None, 0.415, 0.547)),
    ),
    Published(
        *("HMNet-L3", "events", HMNET, "CVPR 2023, arXiv:2305.17852"),
        *((0.254, 6.890, 0.319, 0.690), (0.323, 9.008, 0.482, 0.513)),
    ),
    Published(
        *("RAM-Net", "events + images", E2DEPTH, "RA-L 2021, arXiv:2102.09320"),
        *((0.303, 8.526, 0.424, 0.541), (0.583, 13.34, 0.830, 0.296), (1.39, 2.17, 2.76)),
    ),
    Published(
        *("PCDepth", "events + images", E2DEPTH, "arXiv:2402.18925"),
        *((0.228, 6.526, 0.301, 0.712), (0.271, 6.715, 0.354, 0.632)),
    ),
    Published(
        *("FUSE-L", "events + images", "rectified truth, 1.97–80 m, prediction clamped", "arXiv:2503.19739"),
        *((0.196, 6.004, 0.270, 0.745), (0.261, 6.587, 0.351, 0.629)),
    ),
    Published("EventDAM-S", "events", "second-hand", "ICCV 2025", near_m=(1.64, 2.46, 3.36)),
)
