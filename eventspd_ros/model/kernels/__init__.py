"""Triton kernels for inference on a GPU, each checked against the plain PyTorch it stands in for.

    voxel_scatter   A1: packed events -> field, table gather and scatter-add in one
    convnext        ConvNeXt V2 block in two passes, the widest tensor never written
    convnext_bands  the same in four, the depthwise convolution by itself; not timed yet
    attention       tokens gathered, standardised and read by one query vector in one
    deformable      B4: softmax, corners and weighted sum in one

`acceleration: compiled` switches the first two on, which paid on an H200 (docs/speed.md); another joins them once it
beats torch.compile end to end by a tenth. fused() switches kernels on for a model; `eventspd bench gpu` times them.
Nothing here imports Triton before fuse.py is imported. TRITON_INTERPRET=1 runs them on a CPU.
"""
