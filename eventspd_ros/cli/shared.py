"""What several commands use: options, tables, progress."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from eventspd_ros.nanoseconds import NS_PER_S

# Of a name, what runs and a description, to the parser that takes its options.
Command = Callable[[str, Callable, str], argparse.ArgumentParser]


def sensor_size(text: str) -> tuple[int, int]:
    """ "1280x720" → (720, 1280), height first."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sensor size such as 1280x720")
    return int(height), int(width)


def add_source(parser: argparse.ArgumentParser) -> None:
    """--topic and --geometry, of commands that open any file of events."""
    add_topic(parser)
    text = "sensor size, for a file that names none, e.g. 640x480"
    parser.add_argument("--geometry", type=sensor_size, metavar="WxH", help=text)


def add_support_filter(parser: argparse.ArgumentParser) -> None:
    text = "leave out events that no pixel next to theirs preceded by at most that, as the node's support_filter_ms"
    parser.add_argument("--support-filter", type=float, default=0.0, metavar="MS", help=f"{text} (0: off)")


def device(name: str) -> str:
    """A device that is there."""
    from eventspd_ros.model.devices import choose_device

    try:
        return str(choose_device(name))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_acceleration(sub: argparse.ArgumentParser, default: str = "auto") -> None:
    """--acceleration, as of model/acceleration.py, which loads torch."""
    text = f"auto (compiled on CUDA, openvino on a CPU), eager, compiled or openvino (default {default})"
    choices = ("auto", "eager", "compiled", "openvino")
    sub.add_argument("--acceleration", choices=choices, default=default, help=text)


def query_counts(text: str) -> tuple[int, ...]:
    """ "1,64,256" → (1, 64, 256)."""
    if not all(part.isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of counts such as 1,64,256")
    return tuple(int(part) for part in text.split(","))


def add_topic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", metavar="TOPIC", help="of the events, where a bag has several (a stereo pair)")


def show(values: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    flat = dict(flatten(values))
    width = max(map(len, flat))
    for key, value in flat.items():
        number = isinstance(value, int) and not isinstance(value, bool)
        print(f"{key:<{width}}  {value:,}" if number else f"{key:<{width}}  {value}")


def flatten(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested dictionaries as dotted keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def warn(text: str | None) -> None:
    """One line on stderr, where there is something to say."""
    if text:
        print(f"warning: {text}", file=sys.stderr)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over scenes, as a function of (done since the last call, all). It appears with the first call, so that what
    is wrong with the input is one line and no bar."""
    with ExitStack() as stack:
        bar = None

        def progress(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(_bar(desc=text, unit="scene"))
            bar.total = total
            bar.update(done)

        yield progress


@contextmanager
def time_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar over a recording's time, as a function of (what is done, time done, all, ns); a new bar for each what. It
    appears as progress_bar() does."""
    shape = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s [{elapsed}<{remaining}]"
    with ExitStack() as stack:
        bar = None

        def progress(what: str, done_ns: int, total_ns: int) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(_bar(total=1.0, bar_format=shape))
            if bar.desc != f"{what}: ":
                bar.set_description(what, refresh=False)
                bar.reset(total_ns / NS_PER_S)
            bar.update(done_ns / NS_PER_S - bar.n)

        yield progress


def _bar(**shape):
    from tqdm import tqdm

    return tqdm(**shape)
