"""What the GPU measurement is for: the goals, the numbers to set beside them, and which kernels earned their place."""

from __future__ import annotations

GOALS = {"encode_ms": 1.2, "decode_256_ms": 0.25, "us_per_query": 0.7, "times_faster_than_dense": 5.0}
SHIPS = 1.1  # times faster than torch.compile
KERNEL_PHASE = {
    "voxel_scatter": "encode",
    "convnext": "encode",
    "convnext_bands": "encode",
    "attention": "decode",
    "deformable": "decode",
}


def summary(variants: dict[str, dict]) -> dict:
    """The goals' numbers from the fastest finished variant of the preset, and which kernels earned their place."""
    whole = {name: variants[name] for name in ("best", "compiled", "captured", "eager") if name in variants}
    if not whole:
        return {}
    middle = "256" if all("256" in times["decode_device_ms"] for times in whole.values()) else None
    middle = middle or next(iter(next(iter(whole.values()))["decode_device_ms"]))

    def total(times: dict) -> float:
        return times["encode_device_ms"] + times["decode_device_ms"][middle]

    name = min(whole, key=lambda name: total(whole[name]))
    decode = whole[name]["decode_device_ms"]
    most = max(decode, key=int)
    found = {"fastest": name, "encode_ms": whole[name]["encode_device_ms"], f"decode_{middle}_ms": decode[middle]}
    if int(most) > int(middle):
        found["us_per_query"] = 1e3 * (decode[most] - decode[middle]) / (int(most) - int(middle))
    if dense := variants.get("dense"):
        found["times_faster_than_dense"] = total(dense) / total(whole[name])
    found["ship"] = ships(variants, middle)
    return found


def ships(variants: dict[str, dict], k: str) -> list[str]:
    """The kernels that beat torch.compile by a tenth, end to end in their phase."""
    compiled = variants.get("compiled")
    found = []
    for kernel, phase in KERNEL_PHASE.items():
        alone = variants.get(f"kernel {kernel}")
        if compiled and alone:
            before, after = (times[f"{phase}_device_ms"] for times in (compiled, alone))
            if phase == "decode":
                before, after = before[k], after[k]
            if before / after >= SHIPS:
                found.append(kernel)
    return found
