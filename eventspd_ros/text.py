"""What libraries and peers say, on one line, for every room."""

from __future__ import annotations


def one_line(said: object, most: int | None = None) -> str:
    """An error or a text without line ends, cut after so many characters; the name of an error that says nothing."""
    line = " ".join(str(said).split())
    if not line and isinstance(said, BaseException):
        line = type(said).__name__
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def first_line(error: BaseException) -> str:
    """Of an error whose further lines are a trace, or say it again."""
    return (str(error).splitlines() or [type(error).__name__])[0]
