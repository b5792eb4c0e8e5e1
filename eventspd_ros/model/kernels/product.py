"""Products that add up in float32 and rounding to the nearest, also where Triton's interpreter runs them.

The interpreter multiplies bfloat16 as the integers it is stored in, and cuts where a GPU rounds. There, WIDE widens
operands that are rounded already, and rounds by hand.
"""

import os

import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@triton.jit
def product(left, right, WIDE: tl.constexpr):
    if WIDE:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def rounded(x, pointer, WIDE: tl.constexpr):
    """float32 x in the type that pointer points to."""
    if WIDE and pointer.dtype.element_ty == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        x = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
    return x.to(pointer.dtype.element_ty)
