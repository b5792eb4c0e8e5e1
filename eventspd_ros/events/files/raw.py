"""Prophesee .raw recordings: a text header of lines that begin with %, then the camera's words.

Header lines: https://docs.prophesee.ai/stable/data/file_formats/raw.html. What old headers leave out follows from the
system that recorded: OpenEB 5.1.1, hal_psee_plugins, psee_raw_file_header.cpp and device_system_id.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eventspd_ros.events.files.source import EventSource
from eventspd_ros.events.types import EventPacket
from eventspd_ros.readable import check_readable, unreadable

FORMATS = ("evt2", "evt21", "evt3")
PACKET_BYTES = 1 << 16
MAX_HEADER_LINE_BYTES = 4096
MAX_HEADER_BYTES = 1 << 20
MAX_SIDE_PX = 1 << 11  # addresses of EVT2, EVT2.1 and EVT3 have 11 bits
# The integrator whose system numbers these are; other makers count their own.
PROPHESEE = "prophesee"
# Their systems numbered below this one sent the halves of EVT2.1 swapped before headers said so.
FIRST_SYSTEM_IN_ORDER = 0x37
# Format, width and height of a system, for headers from before Metavision 3; with another % evt that is the format.
SYSTEMS = {
    **dict.fromkeys((0x15, 0x17, 0x97, 0x19, 0x99, 0x1D, 0x21, 0xA1), ("EVT2", 640, 480)),  # Gen 3
    **dict.fromkeys((0x1C, 0x22, 0xA2, 0x23, 0x29), ("EVT2", 640, 480)),  # Gen 3.1
    0x28: ("EVT3", 640, 480),  # EVK3, Gen 3.1
    **dict.fromkeys((0x1A, 0x1F, 0x27), ("EVT2", 1280, 720)),  # Gen 4, 4.1
    **dict.fromkeys((0x1E, 0x2E, 0x30), ("EVT3", 1280, 720)),  # Gen 4; EVK3, Gen 4.1
    **dict.fromkeys((0x31, 0x32), ("EVT3", 1280, 720)),  # IMX636
}


class RawSource(EventSource):
    """A .raw file read in packets of 64 KiB. sensor_hw: where the header names no size; it goes before the system's."""

    kind = "raw"

    def __init__(self, path: Path, sensor_hw: tuple[int, int] | None = None):
        check_readable(path)
        with path.open("rb") as file:
            fields = _read_header(file, path)
            self._data_start = file.tell()
        encoding, (width, height) = _encoding(fields, path), _size(fields, sensor_hw, path)
        super().__init__(path, encoding, width, height)
        self.chunk_count = -(-(path.stat().st_size - self._data_start) // PACKET_BYTES)

    def packets(self) -> Iterator[EventPacket]:
        with self.path.open("rb") as file:
            file.seek(self._data_start)
            seq = 0
            while payload := self._read(file):
                data = np.frombuffer(payload, np.uint8)
                yield EventPacket(self.encoding, self.width, self.height, data, seq)
                seq += 1

    def _read(self, file: BinaryIO) -> bytes:
        try:
            return file.read(PACKET_BYTES)
        except OSError as error:
            raise unreadable(self.path, error) from None


def _read_header(file: BinaryIO, path: Path) -> dict[str, str]:
    """The header's fields by lower-case name, with those of format's options; leaves the file at the first byte of
    data. ValueError: there is none."""
    fields: dict[str, str] = {}
    while True:
        start = file.tell()
        line = file.readline(MAX_HEADER_LINE_BYTES)
        if not re.fullmatch(rb"%([ \t][^\x00-\x08\x0e-\x1f]*)?\r?\n", line):
            break
        if start > MAX_HEADER_BYTES:
            raise ValueError(f"{path}: a header of over {MAX_HEADER_BYTES} bytes; give a Prophesee .raw recording")
        name, _, value = line[1:].decode("latin-1").strip().partition(" ")
        if name == "end":
            start = file.tell()
            break
        fields[name.lower()] = value.strip()
    if not fields:
        found = "begins with no line such as '% evt 3.0'" if line else "is empty"
        raise ValueError(f"{path}: {found}; give a Prophesee .raw recording with its header, whole")
    file.seek(start)
    fields["format"], *options = [part.strip() for part in fields.get("format", "").split(";")]
    named = (option.partition("=") for option in options if "=" in option)
    return fields | {f"format.{name.strip().lower()}": value.strip() for name, _, value in named}


def _encoding(fields: dict[str, str], path: Path) -> str:
    """Of `format EVT3;height=720;width=1280`, of `evt 3.0`, or what the system sends."""
    name = fields["format"]
    if not name and "evt" in fields:
        name = "EVT" + fields["evt"].removesuffix(".0").replace(".", "")
    name = name or (_by_system(fields) or ("",))[0]
    if not name:
        raise ValueError(
            f"{path}: the header names no event encoding{_of_system(fields)}; "
            "put a line before it: (echo '% evt 3.0'; cat IN.raw) > OUT.raw"
        )
    if name.lower() not in FORMATS:
        known = ", ".join(FORMATS).upper()
        raise ValueError(f"{path}: event encoding {name!r} in the header is not known; known are {known}")
    return "evt21_legacy" if name.lower() == "evt21" and _upper_half_first(fields) else name.lower()


def _size(fields: dict[str, str], sensor_hw: tuple[int, int] | None, path: Path) -> tuple[int, int]:
    """Width and height in pixels: of the header's `format`, `geometry 640x480` or `width` and `height`, else as given,
    else of the system."""
    named = [f"{fields.get(f'{of}width')}x{fields.get(f'{of}height')}" for of in ("format.", "")]
    named.insert(1, fields.get("geometry", ""))
    sizes = [match for text in named if (match := re.fullmatch(r"([0-9]{1,9}) *[xX] *([0-9]{1,9})", text))]
    if sizes:
        width, height = map(int, sizes[0].groups())
    elif sensor_hw is not None:
        height, width = sensor_hw
    elif (known := _by_system(fields)) is not None:
        _, width, height = known
    else:
        raise ValueError(
            f"{path}: the header names no sensor size{_of_system(fields)}; give it, e.g. --geometry 640x480"
        )
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise ValueError(f"{path}: a sensor of {width}x{height} px; a side has 1 to {MAX_SIDE_PX}, so one is wrong")
    return width, height


def _system(fields: dict[str, str]) -> int | None:
    """Number of the system that recorded, where it is one of Prophesee's."""
    integrators = [value for name, value in fields.items() if name.endswith("integrator_name")]
    number = fields.get("system_id", "")
    ours = all(integrator.lower() == PROPHESEE for integrator in integrators)
    return int(number) if ours and re.fullmatch("[0-9]{1,9}", number) else None


def _by_system(fields: dict[str, str]) -> tuple[str, int, int] | None:
    """Format, width and height of the system that recorded, where it is a known one."""
    system = _system(fields)
    return None if system is None else SYSTEMS.get(system)


def _of_system(fields: dict[str, str]) -> str:
    return f", and system_ID {fields['system_id']} is not known" if "system_id" in fields else ""


def _upper_half_first(fields: dict[str, str]) -> bool:
    """Whether an EVT2.1 recording has the upper half of each word first; older headers only name the system."""
    endianness = fields.get("format.endianness", fields.get("endianness"))
    if endianness is not None:
        return endianness == "legacy"
    return 0 < (_system(fields) or 0) < FIRST_SYSTEM_IN_ORDER
