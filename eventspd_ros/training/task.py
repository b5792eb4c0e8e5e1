"""What the loop trains: a task owns a model and whatever else learns beside it, and knows its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn


class StepInputs:
    """What a task's forward() takes. Not a dataclass: Fabric would look inside and copy what it finds.

    drawn: what draw() gave. progress: how much of the run is done, 0 … 1.
    """

    def __init__(self, batch: Any, drawn: Any, progress: float):
        self.batch, self.drawn, self.progress = batch, drawn, progress


class Task(nn.Module):
    """A model and its losses. Subclasses fill in the methods; forward() runs inside autocast and under DDP.

    model: what is shipped. data: gives batches(place, start) and validation_batches(), as TrainingData does.
    """

    model: nn.Module
    data: Any

    def draw(self, batch: Any, keys: list[tuple[int, int]]) -> Any:
        """What chance decides about a batch besides its samples, from their keys alone; passed to forward()."""
        return None

    def forward(self, inputs: StepInputs) -> dict[str, Any]:
        """-> "loss", a mean per window, to differentiate; detached terms to show; "seen", for observe()."""
        raise NotImplementedError

    def observe(self, outcomes: list[dict]) -> None:
        """After a step: what forward() left under "seen", of all processes in the order of their ranks."""

    def validate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Figures on held-out batches; "score", the lower the better, decides which weights are the best."""
        raise NotImplementedError

    def picture(self, batch: Any) -> Callable[[Path], None]:
        """What the model says about a batch, asked now; the result draws it to a file, beside the training."""
        raise NotImplementedError

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides weights: tensors, numbers and dicts of them."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of extra_state()."""

    def learning_rates(self, offset_share: float, encoder_share: float) -> list[tuple[float, list[nn.Parameter]]]:
        """Groups of parameters with their relative learning rates; a share of 0 freezes."""
        return [(1.0, list(self.parameters()))]
