"""Memory that is filled again: never while somebody can still see what is in it."""

import threading

import numpy as np
import torch

from eventspd_ros.events.buffer import MAX_SPARE_ARRAYS, EventBuffer, RecycledMemory


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_once_the_last_view_is_gone():
    memory = RecycledMemory()
    first = memory.array(1000, np.int64)
    first[:] = 7
    where, view = address(first), first[10:500][5:20]
    tensor = torch.from_numpy(view)
    del first, view
    second = memory.array(1000, np.int64)
    assert address(second) != where and tensor.tolist() == [7] * 15
    del tensor
    assert address(memory.array(1000, np.int64)) == where


def test_memory_of_another_size_is_not_mistaken():
    memory = RecycledMemory()
    memory.array(1000, np.uint8)
    for places, kind in ((999, np.uint8), (1000, np.uint16), (500, np.uint16)):
        array = memory.array(places, kind)
        assert array.shape == (places,) and array.dtype == kind and array.flags.writeable


def test_spare_memory_is_bounded():
    memory = RecycledMemory()
    arrays = [memory.array(100, np.uint8) for _ in range(2 * MAX_SPARE_ARRAYS)]
    places = {address(array) for array in arrays}
    arrays.clear()
    again = [memory.array(100, np.uint8) for _ in range(MAX_SPARE_ARRAYS)]
    assert {address(array) for array in again} <= places and not memory._spare


def test_views_let_go_of_in_another_thread():
    """A writer that takes arrays and a reader that drops them: no array is handed out twice."""
    memory, held, wrong = RecycledMemory(), [], []

    def read():
        for _ in range(2000):
            while held:
                array, value = held.pop()
                wrong.extend([value] * bool((array != value).any()))

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(3000):
        array = memory.array(64, np.int64)
        array[:] = value
        held.append((array[3:60], value))
    reader.join()
    for array, value in held:
        wrong.extend([value] * bool((array != value).any()))
    assert not wrong


def test_a_buffer_that_moves_keeps_what_views_show():
    buffer = EventBuffer(8, 8, 64, before_moving=lambda: None)
    views = []
    for k in range(50):
        buffer.reserve(40)
        buffer.t_ns[buffer.end : buffer.end + 40] = k
        views.append(buffer.t_ns[buffer.end : buffer.end + 40])
        buffer.begin = buffer.end = buffer.end + 40
    assert [view.tolist() for view in views] == [[k] * 40 for k in range(50)]
