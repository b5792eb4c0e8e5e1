"""The types that CUDA's autocast gives, on a CPU: what a training in bf16-mixed meets on a GPU.

CPU and CUDA both take products in bfloat16. CUDA besides takes the functions below in float32 whatever comes in, and
has no gradient of embedding_bag's weights in bfloat16.
https://docs.pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

OF_TENSORS = """__pow__ __rtruediv__ acos asin cosh cumprod cumsum erfinv exp expm1 log log10 log1p log2 logsumexp
norm pow prod reciprocal rsqrt sinh softmax log_softmax square sum tan"""
OF_LAYERS = """binary_cross_entropy_with_logits cosine_similarity group_norm huber_loss layer_norm log_softmax l1_loss
mse_loss smooth_l1_loss softmax softplus"""
IN_FLOAT32 = {getattr(place, name) for name in OF_TENSORS.split() for place in (torch, Tensor) if hasattr(place, name)}
IN_FLOAT32 |= {getattr(F, name) for name in OF_LAYERS.split()}


class CudaTypes(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is F.embedding_bag:
            weights = kwargs.get("per_sample_weights")
            assert weights is None or not weights.requires_grad or weights.dtype != torch.bfloat16, "not on CUDA"
        if function in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_widened, (args, kwargs))
        return function(*args, **kwargs)


def _widened(value):
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


@contextmanager
def cuda_types() -> Iterator[None]:
    """bf16-mixed as on CUDA, on a CPU."""
    with CudaTypes(), torch.autocast("cpu", torch.bfloat16):
        yield
