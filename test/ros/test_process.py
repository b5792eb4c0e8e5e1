"""How a process of the node uses the machine: its threads sleep when they have nothing to do, and leave cores free; and
how it ends."""

import os
import signal
import subprocess
import sys

import pytest

from eventspd_ros.cores import cores
from eventspd_ros.ros.process import start_process

SAY = """
from eventspd_ros.ros.node import half_of_the_cores
import torch

before = torch.get_num_threads()
with half_of_the_cores():
    torch.ones(1000, 1000).sum()
    print(torch.get_num_threads())
assert torch.get_num_threads() == before
"""


def said(**environment) -> subprocess.CompletedProcess:
    """What a process says that loads the node as its executable does."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", SAY]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, check=True, timeout=120)


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_openmp_itself_says_how_its_threads_wait(given, policy):
    shown = said(OMP_DISPLAY_ENV="TRUE", **given).stderr.replace(" ", "")
    assert f"OMP_WAIT_POLICY='{policy}'" in shown, shown


def test_an_operation_gets_half_of_the_cores_unless_the_user_says_how_many():
    assert said().stdout.split() == [str(max(1, cores() // 2))]
    assert said(OMP_NUM_THREADS=str(cores())).stdout.split() == [str(cores())]


IMPORTS_FOR_LONG = """
import time

time.sleep({})
from eventspd_ros.ros.process import ros_context

with ros_context(None):
    print("spins", flush=True)
    time.sleep(60)
"""


def test_ctrl_c_while_a_process_imports_waits_until_it_can_end_cleanly(capfd):
    process = start_process([sys.executable, "-c", IMPORTS_FOR_LONG.format(1.0)])
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process hears as before"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert capfd.readouterr() == ("", "")
    process = start_process([sys.executable, "-c", IMPORTS_FOR_LONG.format(60)])
    process.terminate()  # as what started it does when it ends: no longer waited for
    assert process.wait(30) == -signal.SIGTERM
    assert capfd.readouterr() == ("", "")
