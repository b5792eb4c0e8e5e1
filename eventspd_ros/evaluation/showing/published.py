"""Published numbers of monocular depth: on MVSEC's outdoor_day1 and outdoor_night1, trained on outdoor_day2; and those
made by protocols of their own.

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
        *("EReFormer", "events", E2DEPTH, "TCSVT 2024, arXiv:2212.02791"),
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


# By protocols that nothing here follows. Second-hand: read in notes of others on the papers' tables, which agree.
ELSEWHERE_COLUMNS = ("method, of events alone", "data, protocol", "AbsRel, RMSE, δ1; or error of depth", "source")
ALIGNED = "each image scaled and shifted to its truth: not metric"
DEPTH_ANYEVENT = "ICCV 2025, arXiv:2509.15224, second-hand"
WITH_POSES = "MVSEC indoor_flying, given poses, pixels that many rays of events cross"
DERD_NET = "NeurIPS 2025, arXiv:2504.15863, table 11, second-hand"
ELSEWHERE = (
    ("DepthAnyEvent-R, zero-shot", f"MVSEC, trained on EventScape; {ALIGNED}", "0.469, 8.064 m, 0.428", DEPTH_ANYEVENT),
    ("DepthAnyEvent-R, supervised", f"MVSEC, trained on it; {ALIGNED}", "0.365, 6.465 m, 0.489", DEPTH_ANYEVENT),
    ("DepthAnyEvent-R, zero-shot", f"DSEC, trained on EventScape; {ALIGNED}", "0.276, 10.942 m, 0.555", DEPTH_ANYEVENT),
    ("DepthAnyEvent-R, supervised", f"DSEC, trained on it; {ALIGNED}", "0.191, –, –", DEPTH_ANYEVENT),
    ("DERD-Net, monocular", f"{WITH_POSES}; three-fold cross-validation", "23.7 cm mean, 11.6 cm median", DERD_NET),
    ("EMVS", WITH_POSES, "33.8 cm mean, 14.4 cm median", DERD_NET),
)
