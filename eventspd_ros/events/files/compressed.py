"""Zstandard as rosbag2 uses it: whole files (.db3.zstd, .mcap.zstd) or every message by itself."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENDING = ".zstd"
MAGIC = b"\x28\xb5\x2f\xfd"
# No message, and no chunk of an mcap file, is longer: a few bytes of zstd can stand for any number.
MAX_BYTES = 1 << 30
_PIECE_BYTES = 1 << 16


def plain_message(data) -> bytes | None:
    """A message as ROS serializes it, decompressed where it was not; None for anything else.

    Serialized messages begin with the number of a CDR encoding, whose first byte is 0; those of zstd never do.
    """
    if not isinstance(data, bytes):  # a column of sqlite may hold anything
        return None
    if data.startswith(MAGIC):
        decompressor = zstd.ZstdDecompressor()
        try:
            data = decompressor.decompress(data, max_length=MAX_BYTES)
        except zstd.ZstdError:
            return None
        if not decompressor.eof:  # cut off, or too long
            return None
    return data if len(data) >= 4 and data[0] == 0 else None


def decompress_file(file: Path, folder: Path) -> tuple[Path, Exception | None]:
    """Its content as a file in that folder, as far as it can be decompressed, and what ended it before its end.

    ValueError, one line: it cannot be read, or the folder's disc is full.
    """
    out = folder / file.name[: -len(ENDING)]
    try:
        with zstd.ZstdFile(file) as reader, out.open("wb") as target:
            while piece := reader.read1(_PIECE_BYTES):
                target.write(piece)
    except (EOFError, zstd.ZstdError) as error:
        return out, error
    except OSError as error:
        raise ValueError(
            f"{file}: cannot be decompressed into {folder} ({error.strerror}); make room there, or set TMPDIR"
        ) from error
    return out, None
