"""The stages of a model, by the document's names: what counting, timing and looking on are done by.

A model's stages() is the one table of them, in the document's order. Every parameter belongs to one stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from torch import nn


class Phase(str, Enum):
    """When a stage runs: A once a window, B for every query."""

    A = "encode"
    B = "decode"


@dataclass(frozen=True)
class Stage:
    """module: what computes it; Identity where the config leaves it out. timed_as: under which name its time is added
    up, "" where it is part of the rest."""

    module: nn.Module
    phase: Phase
    timed_as: str = ""

    def called(self) -> Iterator[nn.Module]:
        """The modules with parameters whose forward() does the stage's work: of a list, each for itself."""
        parts = self.module if isinstance(self.module, nn.ModuleList) else (self.module,)
        return (part for part in parts if any(True for _ in part.parameters()))
