"""The kernels of the document's model compile for an H200 (sm_90) where there is no GPU, and keep to its registers."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton is not installed")

REGISTERS, LANES = 65536, 128  # of an SM, of a program
# Each launch compiles and writes its line; what it would have written holds NaN.
LAUNCHES = """
import subprocess, tempfile, torch, triton
from pathlib import Path
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from reference.places import Place, poisoned
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.kernels.fuse import KERNELS, fused
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import stepped

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", torch.int64: "*i64"}
TYPES |= {int: "i32", float: "fp32"}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
seen = set()

def launch(kernel, *arguments, grid, warmup, num_warps=4, **constants):
    types = [TYPES[each.dtype if torch.is_tensor(each) else type(each)] for each in arguments]
    if (key := (kernel.__name__, *types, *constants.items())) in seen:
        return
    seen.add(key)
    names = kernel.arg_names
    signature = dict(zip(names, types, strict=False)) | dict.fromkeys(constants, "constexpr")
    values = {(names.index(name),): value for name, value in constants.items()}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types) if kind.startswith("*")}
    source = ASTSource(kernel, signature, values, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": num_warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        used = subprocess.run([TOOLS / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True).stdout
    print(kernel.__name__, constants.get("K", ""), used.replace("\\n", " "))

triton.runtime.jit.JITFunction.run = launch
model = build_model("eventspd").eval()
model.in_bfloat16 = True
made, place = stepped(model, 96, 128), Place("cpu", (96, 128), 300, 4)
with torch.inference_mode(), poisoned():
    for names in (KERNELS, ["convnext_bands"]):
        with fused(made.encode_step, made.decode_step, names):
            (cache,), _ = made.encode([place.window(model.config, seed=1)], [StreamState()])
            made.decode(cache, place.points())
"""


@pytest.mark.slow
def test_for_an_h200(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LAUNCHES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    names = {line.split()[0] for line in lines}
    assert names == {"_scatter", "_first", "_second", "_attend", "_read", "_depthwise", "_squares", "_fold", "_project"}
    assert not [line for line in lines if "STACK:0 " not in line], "registers that go to memory"
    depthwise = {line.split()[1]: int(re.search(r"REG:(\d+)", line)[1]) for line in lines if "_depthwise" in line}
    assert set(depthwise) == {"7", "13"}
    # As many programs at once as convnext_bands.py counts on.
    assert 3 * LANES * depthwise["7"] <= REGISTERS and 2 * LANES * depthwise["13"] <= REGISTERS
