"""Loops answer to the bit alike, whether they were compiled here or come from numba's cache."""

import hashlib
import os
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import eventspd_ros.motion as room
from eventspd_ros.motion.likelihood import Likelihoods

MODULES = [import_module(f"{room.__name__}.{module.name}") for module in iter_modules(room.__path__)]
LOOPS = {value for module in MODULES for value in vars(module).values() if isinstance(value, Dispatcher)}


@pytest.mark.parametrize("loop", sorted(LOOPS, key=lambda loop: loop.__name__), ids=lambda loop: loop.__name__)
def test_what_a_loop_calls_is_part_of_it_where_sums_have_no_order(loop):
    names = loop.py_func.__code__.co_names
    called = {value for name in names if isinstance(value := loop.py_func.__globals__.get(name), Dispatcher)}
    for each in called:
        options = each.targetoptions
        assert not options.get("fastmath") or options.get("forceinline") or each._can_inline, each.__name__


def test_the_room_has_loops():
    assert len(LOOPS) > 20


@pytest.mark.slow
def test_a_process_that_compiles_and_one_that_does_not_answer_alike(tmp_path):
    code = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r});"
    code += "from motion.test_compiled import answer; print(answer())"
    found = []
    for _ in range(2):
        command = [sys.executable, "-c", code]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1] and len(found[0].split()) == len(fields(Likelihoods))
    assert any(tmp_path.rglob("*.nbc"))


def answer():
    """A digest of each field."""
    from motion.test_likelihood import ACROSS, ask_wall  # this process's cache

    found, _ = ask_wall(ACROSS)
    arrays = (getattr(found, field.name) for field in fields(Likelihoods))
    return " ".join(hashlib.sha256(np.ascontiguousarray(array)).hexdigest() for array in arrays)
