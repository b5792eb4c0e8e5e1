"""Triton kernels for inference on a GPU, each checked against the plain PyTorch it stands in for.

    voxel_scatter   A1: packed events -> field, table gather and scatter-add in one
    convnext        ConvNeXt V2 block in two passes, the widest tensor never written
    attention       tokens gathered, standardised and read by one query vector in one
    deformable      B4: softmax, corners and weighted sum in one

None is in the default path: a kernel ships there once it beats torch.compile end to end on a GPU by a tenth, and none
has been timed yet. fuse() switches them on for a model; `eventspd bench gpu` times them. Nothing here imports Triton
before fuse() runs. TRITON_INTERPRET=1 runs them on a CPU.
"""
