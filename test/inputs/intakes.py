"""An event intake fed by hand, for tests of what it does with packets."""

from dataclasses import replace

import numpy as np
from streams import Log

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.inputs.event_intake import EventIntake
from eventspd_ros.model.presets import preset_config
from eventspd_ros.ros.workers import Reporter

CONFIG = preset_config("minimal")


class Taken:
    """An intake, its log, the beginnings it told of, and the windows of every packet it took."""

    def __init__(self, make_filter=lambda height, width: None, config=CONFIG, **options):
        self.log, self.begun = Log(), []
        on_begin = lambda height, width, epoch: self.begun.append((height, width, epoch))  # noqa: E731
        self.intake = EventIntake(config, on_begin, Reporter(self.log), make_filter, **options)

    def take(self, packets):
        windows = []
        for packet in packets:
            closed = self.intake.take(packet)
            assert all(window.epoch == self.intake.epoch for window in closed)
            windows += closed
            assert self.begun[-1:] in ([], [(self.intake.height, self.intake.width, self.intake.epoch)])
        return windows

    @property
    def causes(self):
        return {cause: count for cause, count in self.intake.resets.items() if count}


def decoded(packet):
    return make_decoder(packet.encoding, packet.width, packet.height).decode(packet)


def all_of(packets):
    """Their events, int64 (n, 4): t_ns, x, y, p."""
    decoder = make_decoder(packets[0].encoding, packets[0].width, packets[0].height)
    events = [decoder.decode(packet) for packet in packets]
    return np.concatenate([np.stack((e.t_ns, e.x, e.y, e.p), axis=1) for e in events])


def as_libcaer(packet):
    """The packet in an encoding whose clock does not roll over, unnumbered."""
    e = decoded(packet)
    words = np.zeros((len(e), 2), np.uint32)
    words[:, 0] = e.x.astype(np.uint32) << 17 | e.y.astype(np.uint32) << 2 | e.p.astype(np.uint32) << 1
    words[:, 1] = e.t_ns // 1000
    return replace(packet, encoding="libcaer", payload=words.reshape(-1).view(np.uint8), seq=0)
