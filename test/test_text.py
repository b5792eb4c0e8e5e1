import pytest

from eventspd_ros.text import first_line, one_line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ValueError("a\n  b\tc "), "a b c"),
        ("one\r\ntwo", "one two"),
        (KeyError(), "KeyError"),
        (OSError(" \n"), "OSError"),
        ("", ""),
    ],
)
def test_whatever_is_said_stands_on_one_line(said, line):
    assert one_line(said) == line


def test_what_is_long_is_cut_and_shows_it():
    assert one_line("abcdef", 6) == "abcdef" and one_line("abcdefg", 6) == "abcde…"


def test_of_a_trace_the_first_line_counts():
    assert first_line(RuntimeError("no card\nat c10.cpp:5")) == "no card"
    assert first_line(RuntimeError("")) == "RuntimeError"
