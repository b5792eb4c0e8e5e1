"""docs/commands.md, written from the parsers: every command, its arguments and its options."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from eventspd_ros.cli import build_parser

# What a command's own texts leave out.
NOTES = {
    "demo": "`make demo` runs it. Motion is used where the bag has poses and camera_info.",
    "info-events": (
        "The statistics (density, runs, isolated events) set real and simulated sensors side by side. IN may also be a "
        "folder of simulated scenes."
    ),
    "decode": "IN is any of these [recordings](recordings.md).",
    "simulate": "More: [simulation.md](simulation.md).",
    "replay": "More: [evaluation.md](evaluation.md#replaying-a-bag); with poses: [motion.md](motion.md).",
    "info": "More: [architecture.md](architecture.md#the-model).",
    "convert-f3": "Names and shapes must fit exactly.",
    "export": "AOTInductor compiles both phases: [speed.md](speed.md#a-package).",
    "pretrain": "More: [training.md](training.md#f³-pretraining-predicting-the-next-20-ms).",
    "pseudo-label": "More: [training.md](training.md#pseudo-labels-ahead-of-training).",
    "train": "It starts from the config's seed, and runs on several GPUs under torchrun: [training.md](training.md).",
    "evaluate": "More: [evaluation.md](evaluation.md).",
    "calibrate": "More: [evaluation.md](evaluation.md#uncertainty).",
    "ablate": "More: [ablations.md](ablations.md).",
    "bench gpu": "More: [speed.md](speed.md#testing-and-measuring-on-a-gpu).",
    "bench stream": "More: [speed.md](speed.md#acceleration).",
}


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command's path, e.g. "bench decode", and its parser."""
    return dict(_below(build_parser(), []))


def _below(parser: argparse.ArgumentParser, path: list[str]) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._subparsers._group_actions if parser._subparsers else []:
        for name, sub in action.choices.items():
            yield from _below(sub, [*path, name]) if sub._subparsers else [(" ".join([*path, name]), sub)]


def document() -> str:
    """docs/commands.md."""
    table = "\n".join(
        f"| [`eventspd {name}`](#eventspd-{name.replace(' ', '-')}) | {parser.description} |"
        for name, parser in commands().items()
    )
    return f"""\
# Commands

Written by `python -m eventspd_ros.cli.document > docs/commands.md` from the parsers; a test keeps the two equal.
`eventspd COMMAND --help` says the same. After `make` the program is `.venv/bin/eventspd`. What is wrong with a command
or its input is one line on stderr, and the exit status is 2.

| command | |
|---|---|
{table}

Every benchmark takes `--repetitions`, `--json` and `--against`: [benchmarks/](benchmarks/README.md) says what is timed
and holds the results.
{"".join(f"{chr(10)}{_section(name, parser)}" for name, parser in commands().items())}"""


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    said = [parser.description[0].upper() + parser.description[1:] + "."]
    if name in NOTES:
        said.append(NOTES[name])
    rows = "\n".join(f"| `{_shape(action)}` | {_meaning(action)} |" for action in actions)
    text = textwrap.fill(" ".join(said), 118, break_long_words=False, break_on_hyphens=False)
    return f"## eventspd {name}\n\n{text}\n\n| argument | meaning |\n|---|---|\n{rows}\n"


def _shape(action: argparse.Action) -> str:
    """How an argument is written: "IN", "--sensor WxH", "--weights W …"."""
    flag = action.option_strings[0] if action.option_strings else ""
    if action.nargs == 0:
        return flag
    metavar = action.metavar or (action.dest.upper() if flag else action.dest)
    if action.choices:
        metavar = ",".join(map(str, action.choices))
    if isinstance(metavar, tuple):
        value = " ".join(metavar)
    else:
        value = " ".join([metavar] * action.nargs) if isinstance(action.nargs, int) else metavar
    value += " …" if action.nargs in ("+", "*") else ""
    return f"{flag} {value}".strip()


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    must = "required" if action.option_strings and action.required else ""
    return "; ".join(filter(None, (text, must)))


if __name__ == "__main__":
    print(document(), end="")
