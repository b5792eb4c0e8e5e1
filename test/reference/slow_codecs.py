"""Decoders one word at a time, written to be read beside the formats' tables: the oracle of the compiled ones."""

from __future__ import annotations

import struct

MAX_BACKWARD = 10


class SlowEvt3:
    """feed(bytes) -> [(t_ns, x, y, p)]; whole words only. Counts what it drops as the fast decoder does."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.high = self.wraps = self.now_us = 0
        self.phase = "searching"
        self.row = self.base = 0xFFFF
        self.polarity = 0
        self.counts = dict.fromkeys(
            ("unknown_words", "startup_words", "rollovers", "out_of_sensor", "time_reversals", "trigger_events"), 0
        )
        self.triggers = []

    def feed(self, payload):
        events = []
        for (word,) in struct.iter_unpack("<H", bytes(payload)):
            self.take(word >> 12, word & 0xFFF, events)
        return events

    def take(self, code, value, events):
        if (self.phase != "running" and code not in (6, 8)) or (self.phase == "searching" and code == 6):
            self.counts["startup_words"] += 1
        elif code == 0:
            self.row = value & 0x7FF
        elif code == 2:
            self.emit(value & 0x7FF, value >> 11, events)
        elif code == 3:
            self.base, self.polarity = value & 0x7FF, value >> 11
        elif code in (4, 5):
            size = 12 if code == 4 else 8
            for bit in range(size):
                if value >> bit & 1:
                    self.emit(self.base + bit, self.polarity, events)
            self.base = min(self.base + size, 0xFFFF)
        elif code == 6:
            self.phase = "running"
            time_us = self.high_us() + value
            self.counts["time_reversals"] += time_us < self.now_us
            self.now_us = max(self.now_us, time_us)
        elif code == 8:
            self.take_high(value)
        elif code == 10:
            self.triggers.append((self.now_us * 1000, value >> 8, value & 1))
            self.counts["trigger_events"] += 1
        elif code not in (7, 14, 15):
            self.counts["unknown_words"] += 1

    def take_high(self, value):
        if self.high - value > MAX_BACKWARD:
            self.wraps += 1
            self.counts["rollovers"] += 1
        self.high = value
        self.now_us = max(self.now_us, self.high_us())
        if self.phase == "searching":
            self.phase = "have high"

    def high_us(self):
        return (self.wraps << 24) + (self.high << 12)

    def emit(self, x, p, events):
        if x < self.width and self.row < self.height:
            events.append((self.now_us * 1000, x, self.row, p))
        else:
            self.counts["out_of_sensor"] += 1


def slow_evt2(payload, width, height):
    """[(t_ns, x, y, p)] of a whole stream."""
    events, high, wraps, now_us = [], None, 0, 0
    for (word,) in struct.iter_unpack("<I", bytes(payload)):
        code = word >> 28
        if code == 8:
            value = word & 0xFFFFFFF
            wraps += high is not None and high - value > MAX_BACKWARD
            high = value
            now_us = max(now_us, (wraps << 34) + (high << 6))
        elif high is not None and code in (0, 1, 10):
            now_us = max(now_us, (wraps << 34) + (high << 6) + (word >> 22 & 0x3F))
            x, y = word >> 11 & 0x7FF, word & 0x7FF
            if code != 10 and x < width and y < height:
                events.append((now_us * 1000, x, y, code))
    return events


def slow_libcaer(payload, time_base_ns, width, height):
    """[(t_ns, x, y, p)] of one packet, at the times that were sent."""
    events = []
    for address, t_us in struct.iter_unpack("<Ii", bytes(payload)):
        x, y = address >> 17, address >> 2 & 0x7FFF
        if x < width and y < height:
            events.append((time_base_ns + 1000 * t_us, x, y, address >> 1 & 1))
    return events


def slow_libcaer_cmp(payload, time_base_ns, width, height):
    """[(t_ns, x, y, p)] of one packet, at the times that were sent."""
    events, high, now_ns, x, base, polarity = [], 0, time_base_ns, 0xFFFF, 0xFFFF, 0
    for (word,) in struct.iter_unpack("<H", bytes(payload)):
        code, value = word >> 12, word & 0xFFF
        hits = []
        if code == 0:
            high = value
        elif code == 1:
            now_ns = time_base_ns + 1000 * (high << 12 | value)
        elif code == 2:
            x = value & 0x7FF
        elif code == 3:
            hits = [(value & 0x7FF, value >> 11)]
        elif code == 4:
            base, polarity = value & 0x7FF, value >> 11
        elif code == 5:
            hits = [(base + bit, polarity) for bit in range(8) if value >> bit & 1]
            base = min(base + 8, 0xFFFF)
        events += [(now_ns, x, y, p) for y, p in hits if x < width and y < height]
    return events


def slow_evt21(payload, width, height, upper_first):
    """[(t_ns, x, y, p)] of a whole stream."""
    events, high, wraps, now_us = [], None, 0, 0
    for first, second in struct.iter_unpack("<II", bytes(payload)):
        word, columns = (first, second) if upper_first else (second, first)
        code = word >> 28
        if code == 8:
            value = word & 0xFFFFFFF
            wraps += high is not None and high - value > MAX_BACKWARD
            high = value
            now_us = max(now_us, (wraps << 34) + (high << 6))
        elif high is not None and code in (0, 1, 10):
            now_us = max(now_us, (wraps << 34) + (high << 6) + (word >> 22 & 0x3F))
            x, y = word >> 11 & 0x7FF, word & 0x7FF
            if code != 10 and y < height:
                events += [(now_us * 1000, x + i, y, code) for i in range(32) if columns >> i & 1 and x + i < width]
    return events


def slow_mono(payload, time_base_ns, width, height):
    """[(t_ns, x, y, p)] of one packet, at the times that were sent."""
    events = []
    for dt_ns, x, y_p in struct.iter_unpack("<IHH", bytes(payload)):
        if x < width and y_p & 0x7FFF < height:
            events.append((time_base_ns + dt_ns, x, y_p & 0x7FFF, y_p >> 15))
    return events
