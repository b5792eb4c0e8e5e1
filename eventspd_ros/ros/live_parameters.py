"""The node's parameters while it runs: what may change when, and where a change goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace

from rcl_interfaces.msg import SetParametersResult

from eventspd_ros.ros.parameters import NODE_PARAMETERS, Parameter, declare

PER_STREAM = tuple(p for p in NODE_PARAMETERS if p.per_stream)
MAX_STREAMS = 16


class LiveParameters:
    """values: the node's own, by name; streams: those of each stream, by its name ("" where it has none).

    configured: set by the node; only live parameters may change then. on_change(): called after one has.
    """

    def __init__(self, node, on_change: Callable[[], None]):
        """ValueError names a value of the wrong type or range."""
        self._node, self._on_change = node, on_change
        self.configured = False
        self.values = declare(node, NODE_PARAMETERS, read_only=False)
        self.streams: dict[str, SimpleNamespace] = {}
        node.add_on_set_parameters_callback(self._on_set)

    def read(self) -> None:
        """Read all anew, streams included. ValueError names what is wrong."""
        self.values = declare(self._node, NODE_PARAMETERS, read_only=False)
        names = self.values.streams or [""]
        for name in names:
            if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(f"parameter streams: {name!r} is no name; use letters, digits and _")
        if len(set(names)) < len(names) or len(names) > MAX_STREAMS:
            raise ValueError(f"parameter streams: {names}: at most {MAX_STREAMS} different names")
        self.streams = {
            name: declare(self._node, PER_STREAM, f"{name}.", self.values, read_only=False) if name else self.values
            for name in names
        }

    def _on_set(self, changed: list) -> SetParametersResult:
        found = [(p, *self._entry(p.name)) for p in changed]
        for given, entry, target in found:
            if entry is not None and (reason := self._objection(given, entry, target)):
                return SetParametersResult(successful=False, reason=reason)
        if self.configured:
            for given, entry, target in found:
                if entry is not None:
                    setattr(target, entry.name, given.value)
            self._on_change()
        return SetParametersResult(successful=True)

    def _entry(self, name: str) -> tuple[Parameter | None, SimpleNamespace]:
        """The row of the table, None for parameters that are not of this package, and where its value is kept."""
        stream, dot, own = name.rpartition(".")
        if dot and stream in self.streams:
            return next((p for p in PER_STREAM if p.name == own), None), self.streams[stream]
        return next((p for p in NODE_PARAMETERS if p.name == name), None), self.values

    def _objection(self, given, entry: Parameter, target: SimpleNamespace) -> str | None:
        if entry.choices and given.value not in entry.choices:
            return f"{given.name}: {given.value!r} is not {entry.wanted}"
        if entry.per_stream and target is self.values:
            # A stream's own, once declared, keeps the default it had then.
            names = [name for name in self._node.get_parameter("streams").value if name]
            declared = [f"{name}.{given.name}" for name in names if self._node.has_parameter(f"{name}.{given.name}")]
            if declared:
                return f"{given.name} is only a default: set {declared[0]}"
        if not self.configured:
            return None
        if not entry.live:
            return (
                f"{given.name} is read when the node is configured: deactivate it and clean it up first "
                f"(ros2 lifecycle set {self._node.get_fully_qualified_name()} deactivate, then cleanup)"
            )
        return None
