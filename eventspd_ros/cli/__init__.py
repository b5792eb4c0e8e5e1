"""`eventspd …`: every command of the package. Rooms are imported when their command runs."""

from __future__ import annotations

import argparse
import signal
import sys

from eventspd_ros import __version__
from eventspd_ros.cli import benchmarks, judgement, models, recordings
from eventspd_ros.whole import check_place


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors a user can mend are one line on stderr and exit status 2."""
    options = build_parser().parse_args(arguments)
    # Ends as Ctrl-C does: what started other processes ends them too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        check_outputs(options)
        options.run(options)
    except (ValueError, OSError) as error:
        named = isinstance(error, OSError) and error.filename
        print(f"eventspd {options.command}: {f'{named}: {error.strerror}' if named else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def check_outputs(options: argparse.Namespace) -> None:
    """ValueError where what a command is to write cannot be written, before hours of work."""
    for name in ("out", "report", "preview"):
        named = getattr(options, name, None)
        for path in named if isinstance(named, list) else [named]:
            if path is not None:
                check_place(path)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eventspd", description="Metric depth at keypoints from an event camera.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    for group in (recordings, models, judgement, benchmarks):
        group.add_commands(command)
    return parser
