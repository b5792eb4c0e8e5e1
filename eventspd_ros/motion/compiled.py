"""How this room's loops are compiled: to the same answers, to the bit, in every process.

Free to add in any order (fastmath), LLVM adds a function's sums one way where it was inlined and another where it was
not, and which of them runs differs between the process that compiled a loop and one that took it from numba's cache. So
what a loop calls is always part of it (10 to 20 % faster, too).
"""

from __future__ import annotations

from numba import njit

loop = njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
inner = njit(nogil=True, cache=True, fastmath=True, error_model="numpy", forceinline=True)
