"""What the decoders of all encodings share: the layout of their memory, the words' codes, how they are compiled.

A decoder's memory is one int64 array, so that a kernel takes it as one argument and leaves it ready for the next
packet. The first slots belong to every encoding; the counters end up in DecoderStats.
Numba's cache watches the file a kernel stands in, not this one: whoever renumbers slots must touch the kernels' files.
"""

from numba import njit

kernel = njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)

# Every encoding.
WIDTH, HEIGHT = 0, 1
TIME_BASE_NS = 2  # of the packet, where the encoding uses it
TRIGGER_COUNT = 3  # triggers of this packet, rows of the `triggers` array
# Counters, in the order of decoder.KERNEL_COUNTERS.
UNKNOWN_WORDS, STARTUP_WORDS, ROLLOVERS, OUT_OF_SENSOR, TIME_REVERSALS, TRIGGER_EVENTS = 4, 5, 6, 7, 8, 9
# Encodings whose time and address carry over from word to word and packet to packet.
PHASE = 10  # SEARCHING, HAVE_HIGH or RUNNING
TIME_HIGH = 11  # the last TIME_HIGH as sent, without roll-overs
HIGH_NS = 12  # the time it stands for, roll-overs included
NOW_NS = 13  # the newest time
EXPECTED_NS = 14  # where time should be after lost packets, by the host's clock; NO_TIME: unknown
ROW, VECTOR_START, VECTOR_P = 15, 16, 17  # VECTOR_START: first column of the next vector (libcaer_cmp: row)
COLUMN = 18
SENT_NS = 19  # libcaer_cmp: the time of the words now, NOW_NS being the newest
SLOTS = 20

SEARCHING, HAVE_HIGH, RUNNING = 0, 1, 2
NO_TIME = -1
NO_ADDRESS = 0xFFFF  # lies outside every sensor

MAX_BACKWARD_HIGHS = 10  # a TIME_HIGH that falls by more is a roll-over (as in event_camera_codecs)
MAX_EVENTS_PER_WORD = 32  # room a kernel needs to take one more word (evt21 has the widest)
