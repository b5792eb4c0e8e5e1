"""Prophesee .raw recordings: a text header of lines that begin with %, then the camera's words.

Header lines: https://docs.prophesee.ai/stable/data/file_formats/raw.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eventspd_ros.events.codecs import ENCODINGS
from eventspd_ros.events.files.source import EventSource
from eventspd_ros.events.types import EventPacket

PACKET_BYTES = 1 << 16
# Prophesee's own systems numbered below this one sent the halves of EVT2.1 swapped before headers said so (OpenEB,
# psee_raw_file_header.cpp and device_system_id.h).
FIRST_SYSTEM_IN_ORDER = 0x37
MAX_HEADER_LINE_BYTES = 4096


class RawSource(EventSource):
    """A .raw file read in packets of 64 KiB."""

    kind = "raw"

    def __init__(self, path: Path):
        with path.open("rb") as file:
            fields = _read_header(file)
            self._data_start = file.tell()
        encoding, width, height = _interpret(fields, path)
        super().__init__(path, encoding, width, height)
        self.chunk_count = -(-(path.stat().st_size - self._data_start) // PACKET_BYTES)

    def packets(self) -> Iterator[EventPacket]:
        with self.path.open("rb") as file:
            file.seek(self._data_start)
            seq = 0
            while payload := file.read(PACKET_BYTES):
                data = np.frombuffer(payload, np.uint8)
                yield EventPacket(self.encoding, self.width, self.height, data, seq)
                seq += 1


def _read_header(file: BinaryIO) -> dict[str, str]:
    """The header's fields by lower-case name; leaves the file at the first byte of data."""
    fields: dict[str, str] = {}
    while True:
        start = file.tell()
        line = file.readline(MAX_HEADER_LINE_BYTES)
        if not line.startswith(b"% ") or not line.endswith(b"\n"):
            file.seek(start)
            return fields
        name, _, value = line[2:].decode("latin-1").strip().partition(" ")
        if name == "end":
            return fields
        fields[name.lower()] = value.strip()


def _interpret(fields: dict[str, str], path: Path) -> tuple[str, int, int]:
    """Encoding, width and height from `format EVT3;height=720;width=1280`, or from `evt 3.0` and `geometry 640x480`."""
    name, *options = fields.get("format", "").split(";")
    sizes = dict(option.split("=", 1) for option in options if "=" in option)
    if not name and "evt" in fields:
        name = "EVT" + fields["evt"].removesuffix(".0").replace(".", "")
    encoding = name.lower()
    if encoding == "evt21" and _upper_half_first(fields | sizes):
        encoding = "evt21_legacy"
    if encoding not in ENCODINGS:
        found = repr(name) if name else "missing"
        raise ValueError(f"{path}: event encoding {found} in the header is not known; known are {', '.join(ENCODINGS)}")
    geometry = re.fullmatch(r"(\d+)x(\d+)", fields.get("geometry", ""))
    width, height = geometry.groups() if geometry else (fields.get("width", ""), fields.get("height", ""))
    width, height = sizes.get("width", width), sizes.get("height", height)
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"{path}: the header names no sensor size; add a line such as '% geometry 640x480'")
    return encoding, int(width), int(height)


def _upper_half_first(fields: dict[str, str]) -> bool:
    """Whether an EVT2.1 recording has the upper half of each word first; older headers only name the system."""
    if "endianness" in fields:
        return fields["endianness"] == "legacy"
    system = fields.get("system_id", "")
    return system.isdigit() and 0 < int(system) < FIRST_SYSTEM_IN_ORDER
