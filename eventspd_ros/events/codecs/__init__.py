"""Encodings of event packets: one row each in the table, a decoder for any of them, encoders for evt2 and evt3."""

from __future__ import annotations

from eventspd_ros.events.codecs.decoder import Codec, Decoder, DecoderStats, TriggerArray
from eventspd_ros.events.codecs.event_array import decode_event_array, decode_event_array_be
from eventspd_ros.events.codecs.evt2 import decode_evt2, encode_evt2
from eventspd_ros.events.codecs.evt3 import decode_evt3, encode_evt3
from eventspd_ros.events.codecs.evt21 import decode_evt21, decode_evt21_legacy
from eventspd_ros.events.codecs.libcaer import decode_libcaer, decode_libcaer_cmp
from eventspd_ros.events.codecs.mono import decode_mono

# Another encoding is one more kernel and one more row.
CODECS = {
    "evt2": Codec(decode_evt2, word_bytes=4),
    "evt21": Codec(decode_evt21, word_bytes=8),
    "evt21_legacy": Codec(decode_evt21_legacy, word_bytes=8),
    "evt3": Codec(decode_evt3, word_bytes=2),
    "libcaer": Codec(decode_libcaer, word_bytes=8, per_packet_time=True),
    "libcaer_cmp": Codec(decode_libcaer_cmp, word_bytes=2, per_packet_time=True),
    "mono": Codec(decode_mono, word_bytes=8, per_packet_time=True),
    # What event_array.packet_from_event_array() makes of dvs_msgs and prophesee_event_msgs.
    "event_array": Codec(decode_event_array, word_bytes=16, whole_messages=True),
    "event_array_be": Codec(decode_event_array_be, word_bytes=16, whole_messages=True),
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
