"""Encodings of event packets: one row each in the table, a decoder for any of them, encoders for evt2 and evt3."""

from __future__ import annotations

from eventspd_ros.events.codecs.decoder import Codec, Decoder, DecoderStats, TriggerArray
from eventspd_ros.events.codecs.evt2 import decode_evt2, encode_evt2
from eventspd_ros.events.codecs.evt3 import decode_evt3, encode_evt3
from eventspd_ros.events.codecs.libcaer import decode_libcaer, decode_libcaer_cmp

# Another encoding is one more kernel and one more row.
CODECS = {
    "evt2": Codec(decode_evt2, word_bytes=4),
    "evt3": Codec(decode_evt3, word_bytes=2),
    "libcaer": Codec(decode_libcaer, word_bytes=8, per_packet_time=True),
    "libcaer_cmp": Codec(decode_libcaer_cmp, word_bytes=2, per_packet_time=True),
}
ENCODINGS = tuple(CODECS)
ENCODERS = {"evt2": encode_evt2, "evt3": encode_evt3}

__all__ = [
    "CODECS",
    "ENCODERS",
    "ENCODINGS",
    "Decoder",
    "DecoderStats",
    "TriggerArray",
    "encode_evt2",
    "encode_evt3",
    "make_decoder",
]


def make_decoder(encoding: str, width: int, height: int) -> Decoder:
    """A decoder for one camera's stream. encoding: as in EventPacket; width, height: sensor size in pixels."""
    codec = CODECS.get(encoding)
    if codec is None:
        raise ValueError(f"event encoding {encoding!r} is not known; known are {', '.join(ENCODINGS)}")
    return Decoder(encoding, codec, width, height)
