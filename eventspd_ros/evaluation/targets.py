"""What weights that ship must reach on held-out simulated scenes, at uniformly drawn pixels. docs/evaluation.md."""

from __future__ import annotations

from dataclasses import dataclass

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


def check_targets(result: dict, reset: str, minimal: str | None) -> list[Target]:
    """The targets that a result of summarise() has the numbers for. reset, minimal: names of the judged model with its
    memory reset and of the minimal model, where it was asked."""
    comparison, domains = result["comparison"][KIND], list(result["scenes"])[1:]
    targets = []
    for other, metric, high in (
        ("coordinates", "abs_rel", 0.50),
        ("coordinates+domain", "abs_rel", 0.70),
        ("coordinates+domain", "abs_log", 0.60),
        (minimal, "abs_log", 0.85),
        (reset, "abs_log", 0.92),
    ):
        if other in comparison:
            ratio = comparison[other][metric]["pooled"]["ratio"]
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
    ratio = uncertainty["pooled"]["abs_rel"]["ause_ratio"]
    targets.append(Target("AUSE of AbsRel / random order's, pooled", ratio, high=AUSE_RATIO))
    return [target for target in targets if target.value is not None]
