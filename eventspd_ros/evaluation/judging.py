"""Whether weights reach what is wanted of them, set by set, in one table: what `eventspd judge` runs.

A list of sets, YAML as config/eval/judging.yaml, says how each is made or which recording it is, and what is wanted.
Every number comes out of a command that anybody can give, and that is shown.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from eventspd_ros.evaluation.asking.answers import PRIOR
from eventspd_ros.evaluation.asking.partial import fingerprint
from eventspd_ros.evaluation.evaluate import RESET
from eventspd_ros.evaluation.scoring.summary import POOLED
from eventspd_ros.evaluation.showing.model_tables import number
from eventspd_ros.evaluation.showing.table import format_table
from eventspd_ros.model.config import from_plain
from eventspd_ros.readable import check_readable
from eventspd_ros.resources import find_weights
from eventspd_ros.text import one_line
from eventspd_ros.whole import write_whole

KIND = "uniform"  # of the questions: pixels, drawn evenly
EACH = "each"


def _accuracy(result: dict, group: str) -> dict:
    return result["accuracy"][KIND][group][result["judged"]]


def _uncertainty(result: dict, group: str) -> dict:
    return result["uncertainty"][KIND][result["judged"]][group]


def _ratio(result: dict, other: str, group: str) -> float:
    return result["comparison"][KIND][result["judged"] + other]["abs_log"][group]["ratio"]


def _edge_ratio(result: dict, group: str) -> float:
    methods, judged = result["accuracy"][KIND][group], result["judged"]
    return methods[judged]["near_edges"]["abs_log"] / methods[judged + PRIOR]["near_edges"]["abs_log"]


def _joint_gain(result: dict, group: str) -> float:
    values = _uncertainty(result, group)
    return values["nll"] - values["joint_nll"]


# Measure → its value of a group, in what `eventspd evaluate` and `replay` write.
MEASURES: dict[str, Callable[[dict, str], float]] = {
    "AbsRel": lambda result, group: _accuracy(result, group)["plain"]["abs_rel"],
    "bias": lambda result, group: _accuracy(result, group)["bias"],
    "correlation": lambda result, group: _accuracy(result, group)["correlation"],
    "in 68 %": lambda result, group: _uncertainty(result, group)["coverage"]["68%"],
    "in 95 %": lambda result, group: _uncertainty(result, group)["coverage"]["95%"],
    "AUSE / random": lambda result, group: _uncertainty(result, group)["abs_rel"]["ause_ratio"],
    "NLL - joint NLL": _joint_gain,
    "|log| / memory reset": lambda result, group: _ratio(result, RESET, group),
    "|log| / prior alone": lambda result, group: _ratio(result, PRIOR, group),
    "|log| / prior alone, near edges": _edge_ratio,
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """of: a measure. group: "pooled", a domain, or "each" of them. It must lie in least … most; None: no such end."""

    of: str
    group: str = POOLED
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.of not in MEASURES:
            raise ValueError(f"wanted {self.of!r}: must be one of {', '.join(MEASURES)}")

    @property
    def ends(self) -> str:
        return " ".join(f"{s} {end:g}" for s, end in (("≥", self.least), ("≤", self.most)) if end is not None)

    def verdicts(self, name: str, result: dict) -> Iterator[Verdict]:
        """Of a set's result. A number that is not there is missed."""
        groups = [self.group] if self.group != EACH else [group for group in result["scenes"] if group != POOLED]
        for group in groups:
            try:
                value = MEASURES[self.of](result, group)
            except (KeyError, TypeError):
                value = None
            met = value is not None and not (
                (self.least is not None and value < self.least) or (self.most is not None and value > self.most)
            )
            yield Verdict(name, self.of if group == POOLED else f"{self.of}, {group}", self.ends, value, met)


@dataclass(frozen=True, kw_only=True)
class JudgedSet:
    """name: of the set's folder and result. simulate: arguments of `eventspd simulate`; or recording: a bag below the
    folder of recordings. ask: further arguments of `eventspd evaluate`, of a recording `eventspd replay`."""

    name: str
    simulate: str = ""
    recording: str = ""
    ask: str = ""
    wanted: tuple[Wanted, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.simulate) == bool(self.recording):
            raise ValueError(f"set {self.name!r}: give either simulate or recording")


@dataclass(frozen=True)
class Judging:
    sets: tuple[JudgedSet, ...]


@dataclass(frozen=True)
class Verdict:
    """One line of the table. value: None where the result does not tell."""

    set: str
    what: str
    wanted: str
    value: float | None
    met: bool


@dataclass(frozen=True)
class Judgement:
    """commands: set → what made its numbers. left_out: sets whose recording is not there."""

    weights: str
    commands: dict[str, list[str]]
    verdicts: list[Verdict]
    left_out: list[str]


def read_judging(path: Path | str) -> Judging:
    """ValueError, one line: no YAML, or not as JudgedSet has it."""
    check_readable(path)
    try:
        judging = from_plain(Judging, yaml.safe_load(Path(path).read_text()), "judging")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from None
    names = [judged.name for judged in judging.sets]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"{path}: sets {names}: name one or more, each once")
    return judging


def judge(
    judging: Judging, weights: str, out: Path, recordings: Path | None = None, only: Sequence[str] = ()
) -> Judgement:
    """Makes and asks what is not there yet, or what another command made: sets in out/sets, results in a folder of
    those weights' own, with judged.json. only: names of sets. ValueError: an unknown name, or a command that fails,
    which has said why."""
    unknown = set(only) - {judged.name for judged in judging.sets}
    if unknown:
        raise ValueError(f"sets {sorted(unknown)}: known are {', '.join(judged.name for judged in judging.sets)}")
    path = find_weights(weights)
    results = out / f"{path.stem}-{fingerprint(path)[:8]}"
    judgement = Judgement(weights, {}, [], [])
    for judged in judging.sets:
        if only and judged.name not in only:
            continue
        if judged.recording and not (recordings and (recordings / judged.recording).exists()):
            judgement.left_out.append(judged.name)
            continue
        result = results / f"{judged.name}.json"
        commands = _commands(judged, weights, out, recordings, result)
        written, made_by = [shlex.join(["eventspd", *command]) for command in commands], result.with_suffix(".sh")
        text = "\n".join(written) + "\n"
        if not (result.exists() and made_by.exists() and made_by.read_text() == text):
            for command in commands:
                _run(command, result)
            write_whole(made_by, text)
        judgement.commands[judged.name] = written
        found = json.loads(result.read_text())
        judgement.verdicts.extend(v for wanted in judged.wanted for v in wanted.verdicts(judged.name, found))
    write_whole(results / "judged.json", json.dumps(asdict(judgement), indent=1) + "\n")
    return judgement


def _commands(judged: JudgedSet, weights: str, out: Path, recordings: Path | None, result: Path) -> list[list[str]]:
    """Arguments of `eventspd`, of one command after another."""
    asked = [*shlex.split(judged.ask), "--weights", weights, "--out", str(result)]
    if judged.recording:
        assert recordings is not None
        return [["replay", str(recordings / judged.recording), *asked]]
    folder = str(out / "sets" / judged.name)
    return [["simulate", "--out", folder, *shlex.split(judged.simulate)], ["evaluate", folder, *asked]]


def _run(command: list[str], result: Path) -> None:
    """Its own tables go beside the result."""
    result.parent.mkdir(parents=True, exist_ok=True)
    print(shlex.join(["eventspd", *command]), file=sys.stderr)
    said = subprocess.run([sys.executable, "-m", "eventspd_ros.cli", *command], stdout=subprocess.PIPE, text=True)
    if said.returncode:
        raise ValueError(f"eventspd {shlex.join(command)}: ended with status {said.returncode}")
    write_whole(result.with_suffix(".txt"), said.stdout)


def show_judgement(judgement: Judgement) -> str:
    rows = [[v.set, v.what, v.wanted, number(v.value), "met" if v.met else "MISSED"] for v in judgement.verdicts]
    parts = [format_table([judgement.weights, "", "wanted", "reached", ""], rows)]
    parts += [f"{name}:\n" + "\n".join(f"  {line}" for line in lines) for name, lines in judgement.commands.items()]
    parts += [
        f"{name}: left out, its recording is not there; name their folder by --recordings"
        for name in judgement.left_out
    ]
    return "\n\n".join(parts)
