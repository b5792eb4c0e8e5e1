"""What runs faery, in a process of its own: `python faery_process.py FILE TRACK WIDTH HEIGHT` (-1 0 0: not given).

faery is fast, but trusts what a file says: bytes that a recorder never wrote can end its process, or make it ask for
all memory there is. So it has a process to lose, and a share of the memory. Records go to stdout: a letter, the length
of what follows as uint64, and that. S: width and height, uint32 each, 0 0 where they are unknown, before any E. E:
events as columns t uint64 µs, x uint16, y uint16, p uint8. F: what is wrong, in words. M: faery is missing. D: done.
"""

import os
import struct
import sys

MEMORY_BYTES = 1 << 30  # beyond what Python, NumPy and faery take
PIECE_EVENTS = 1 << 18


def main(path: str, track: str, width: str, height: str) -> None:
    # This script's folder comes first otherwise, and with it modules of the package named like others' packages.
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) != here]
    try:
        import faery
    except ImportError:
        return _record(b"M")
    _limit_memory()
    try:
        size, packets = _open(faery, path, track, (int(width), int(height)))
        _record(b"S", struct.pack("<II", *size))
        for packet in packets:
            for first in range(0, len(packet), PIECE_EVENTS):
                _events(packet[first : first + PIECE_EVENTS])
    except BrokenPipeError:
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        return _record(b"F", (" ".join(str(error).split()) or type(error).__name__).encode())
    _record(b"D")


def _limit_memory() -> None:
    try:
        import resource

        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES,) * 2)
    except (ImportError, OSError, ValueError):
        pass  # no Linux: what a hostile file takes is its reader's process all the same


def _open(faery, path: str, track: str, given):
    """(width, height), and the packets of events, with y from the top."""
    if path.lower().endswith(".dat"):
        decoder = faery.dat.Decoder(path, given, None)
        if decoder.event_type == "trigger":
            raise ValueError("holds triggers and no events")
        return decoder.dimensions, decoder
    if path.lower().endswith(".aedat4"):
        with faery.aedat.Decoder(path) as decoder:
            tracks = [str(one.id) for one in decoder.tracks() if one.data_type == "events"]
        if not tracks or (track != "-1" and track not in tracks) or (track == "-1" and len(tracks) > 1):
            raise ValueError(f"has events on {len(tracks)} tracks ({', '.join(tracks)}); name one as topic")
        track = tracks[0] if track == "-1" else track
        stream = faery.events_stream_from_file(path, track_id=int(track))
    else:
        stream = faery.events_stream_from_file(path)
    return stream.dimensions(), stream


def _events(packet) -> None:
    polarity = packet["payload"] & 1 if "payload" in packet.dtype.names else packet["on"]
    columns = (packet["t"].astype("<u8"), packet["x"].astype("<u2"), packet["y"].astype("<u2"), polarity.astype("u1"))
    _record(b"E", b"".join(column.tobytes() for column in columns))


def _record(letter: bytes, data: bytes = b"") -> None:
    sys.stdout.buffer.write(letter + struct.pack("<Q", len(data)) + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
