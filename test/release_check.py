"""Whether weights that are to ship reach what they must on held-out simulated scenes, at uniformly drawn pixels.

    make release-check RESULT=OUT.json    what `eventspd evaluate SET --train-set SET --out OUT.json` wrote

With `--weights MODEL minimal.safetensors` it is also held against the minimal model. Exits with 1 where one is missed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from eventspd_ros.evaluation.evaluate import RESET
from eventspd_ros.evaluation.scoring.summary import POOLED
from eventspd_ros.evaluation.showing.model_tables import number
from eventspd_ros.evaluation.showing.table import format_table

KIND = "uniform"
AUSE_RATIO = 0.7
INTERVALS = {"68%": (0.64, 0.72), "95%": (0.93, 0.99)}
DRIVE = {"abs_rel": (None, 0.18), "delta1": (0.75, None)}


@dataclass(frozen=True)
class Target:
    """value must lie in low … high; None: no such end."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)

    @property
    def line(self) -> list[str]:
        ends = [f"{sign} {end:g}" for sign, end in (("≥", self.low), ("≤", self.high)) if end is not None]
        return [self.name, " ".join(ends), number(self.value), "met" if self.met else "MISSED"]


def check_targets(result: dict) -> list[Target]:
    """The targets that a result has the numbers for. ValueError: it is not of simulated scenes."""
    if result.get("dataset") != "simulated":
        raise ValueError(f"dataset {result.get('dataset')!r}: targets are of simulated scenes; give their evaluation")
    comparison, domains = result["comparison"][KIND], list(result["scenes"])[1:]
    reset = result["judged"] + RESET
    minimal = next((other for other in comparison if other.partition(":")[0] == "minimal"), None)
    targets = []
    for other, metric, high in (
        ("coordinates", "abs_rel", 0.50),
        ("coordinates+domain", "abs_rel", 0.70),
        ("coordinates+domain", "abs_log", 0.60),
        (minimal, "abs_log", 0.85),
        (reset, "abs_log", 0.92),
    ):
        if other in comparison:
            ratio = comparison[other][metric][POOLED]["ratio"]
            targets.append(Target(f"{metric} / that of {other}, pooled", ratio, high=high))
    if "coordinates+domain" in comparison:
        won = comparison["coordinates+domain"]["abs_log"]
        targets += [Target(f"scenes better than coordinates+domain, {d}", won[d]["won"], low=0.85) for d in domains]
    if "drive" in domains:
        plain = result["accuracy"][KIND]["drive"][result["judged"]]["plain"]
        targets += [Target(f"{metric}, drive", plain[metric], *ends) for metric, ends in DRIVE.items()]
    uncertainty = result["uncertainty"][KIND][result["judged"]]
    for level, ends in INTERVALS.items():
        targets += [Target(f"in the {level} interval, {d}", uncertainty[d]["coverage"][level], *ends) for d in domains]
    ratio = uncertainty[POOLED]["abs_rel"]["ause_ratio"]
    targets.append(Target("AUSE of AbsRel / random order's, pooled", ratio, high=AUSE_RATIO))
    return [target for target in targets if target.value is not None]


def main(path: str) -> int:
    """Prints every target; 1: one is missed."""
    targets = check_targets(json.loads(Path(path).read_text()))
    print(format_table(["targets", "", "", ""], [target.line for target in targets]))
    return int(not all(target.met for target in targets))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
