"""How many threads an operation of torch gets where a stream is answered: as many offline as in the node, since sums of
other parts differ in their last bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from eventspd_ros.cores import cores


@contextmanager
def half_of_the_cores() -> Iterator[None]:
    """Give an operation of torch half of the cores, unless OMP_NUM_THREADS says how many: the other half is for the
    answers, which are computed beside the encoder, and for the processes beside this one."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)
