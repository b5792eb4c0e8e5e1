"""What a stream has done and lost, as a diagnostic_msgs/DiagnosticStatus."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from eventspd_ros.ros.stream import Stream


def stream_status(name: str, stream: Stream, model) -> DiagnosticStatus:
    """Counters since the start, and the median and 99th percentile of the last encodes."""
    values: dict[str, object] = {
        "trained": model.trained,
        "packets_rejected": stream.packets_rejected,
        "packets_dropped": stream.packets_dropped,
        "windows_encoded": stream.windows_encoded,
        "windows_dropped": stream.windows_dropped,
    }
    if stream.decoder is not None:
        values |= asdict(stream.decoder.stats)
    if stream.encode_ms:
        p50, p99 = np.percentile(list(stream.encode_ms), [50, 99])
        values |= {"encode_ms_p50": f"{p50:.2f}", "encode_ms_p99": f"{p99:.2f}"}
    values |= {f"keypoints_{status.name.lower()}": n for status, n in stream.points_by_status.items() if n}
    level, message = _verdict(stream, model)
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="", values=pairs)


def _verdict(stream: Stream, model) -> tuple[bytes, str]:
    if stream.predictor is None:
        return DiagnosticStatus.WARN, "no event packet yet"
    if not model.trained:
        return DiagnosticStatus.WARN, "untrained weights: depths mean nothing"
    if stream.predictor.fx_px is None:
        return DiagnosticStatus.WARN, "no focal length: publish camera_info or set fx_px"
    return DiagnosticStatus.OK, "running"
