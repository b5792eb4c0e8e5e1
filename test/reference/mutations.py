"""What becomes of bytes on bad disks and lines: cut, flipped, zeroed, overwritten, moved."""

import numpy as np

PAGE = 512


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """The bytes after one to three mishaps; as often in the first kilobyte, where headers are, as anywhere."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        end = min(len(data), 1024) if rng.random() < 0.5 else len(data)
        at = int(rng.integers(0, max(end, 1)))
        match rng.integers(0, 6):
            case 0:  # a cut
                del data[at:]
            case 1:  # flipped bits
                for place in rng.integers(0, max(end, 1), rng.integers(1, 4)):
                    data[place : place + 1] = bytes(b ^ (1 << rng.integers(0, 8)) for b in data[place : place + 1])
            case 2:  # a page that was never written
                start = at // PAGE * PAGE
                data[start : start + PAGE] = bytes(len(data[start : start + PAGE]))
            case 3:  # other bytes
                count = len(data[at : at + int(rng.integers(1, 64))])
                data[at : at + count] = rng.bytes(count)
            case 4:  # a number at its limit
                count = len(data[at : at + 4])
                data[at : at + count] = b"\xff" * count
            case 5:  # a part is gone
                del data[at : at + int(rng.integers(1, 64))]
    return bytes(data)
