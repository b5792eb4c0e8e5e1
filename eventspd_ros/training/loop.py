"""The loop: one script for one process, several GPUs and several machines (torchrun), on Lightning Fabric.

    eventspd train CONFIG --out RUN                                  this machine, one process
    torchrun --nproc-per-node 4 -m eventspd_ros.cli train CONFIG …   four processes, DDP

Everything random follows from the seed and the step, so a run that was killed goes on from its last checkpoint with
the losses it would have had.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from tqdm import tqdm

from eventspd_ros.training.config import OptimizerConfig, RunConfig
from eventspd_ros.training.data import Rank
from eventspd_ros.training.run_folder import RunFolder, load_state, save_batch
from eventspd_ros.training.task import StepInputs, Task

MAX_BAD_STEPS = 10


def start_fabric(precision: str) -> Fabric:
    """Fabric on this machine's GPU if there is one, else its CPU; on what torchrun started where it did."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    world = int(os.environ.get("WORLD_SIZE", 1))
    # Parts of a model that a window without labels does not reach have no gradient in that step.
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    fabric = Fabric(devices=local, num_nodes=world // local, strategy=strategy, precision=precision)
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches have few shapes
        if precision != "32-true":
            torch.set_float32_matmul_precision("high")  # what is left in float32 where most is in bfloat16
    return fabric


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then a cosine down to final_share, relative to config.learning_rate."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    through = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * min(through, 1.0)))


class WeightAverage:
    """A running mean of a model's weights: what is validated and saved. Short at first, to forget the start."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.mean = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(model.named_parameters())
        torch._foreach_lerp_(list(self.mean.values()), [parameters[name] for name in self.mean], 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module):
        """The model with the mean weights, in eval mode, for a while."""
        own = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        was_training = model.training
        _set_parameters(model, self.mean)
        model.eval()
        try:
            yield model
        finally:
            _set_parameters(model, own)
            model.train(was_training)


@torch.no_grad()
def _set_parameters(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])


def _means(outcomes: list[dict[str, Tensor]], norm: Tensor) -> tuple[dict[str, float], float]:
    """The parts' terms on the CPU, each the mean over the parts, and the gradient's norm: waited for once a step."""
    names = [name for outcome in outcomes for name in outcome]
    values = [*(value for outcome in outcomes for value in outcome.values()), norm]
    *found, norm_value = torch.stack([value.double() for value in values]).tolist()
    terms: dict[str, float] = defaultdict(float)
    for name, value in zip(names, found, strict=True):
        terms[name] += value / len(outcomes)
    return terms, norm_value


def _on_the_cpu(seen: dict | None) -> dict | None:
    """What a task's forward() left for observe(), which other processes may ask for."""
    if seen is None:
        return None
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in seen.items()}


class Trainer:
    """One run of one task. Built on every process; goes on where its folder's last checkpoint stands."""

    def __init__(self, task: Task, run: RunConfig, optimizer: OptimizerConfig, config_yaml: str, out: Path):
        self.task, self.config, self.rates, self.out = task, run, optimizer, Path(out)
        self.fabric = start_fabric(run.precision)
        self.place = Rank(self.fabric.global_rank, self.fabric.world_size)
        self.on_gpu = self.fabric.device.type == "cuda"
        self.folder = RunFolder(self.out, config_yaml) if self.fabric.is_global_zero else None
        self.fabric.barrier()
        state = load_state(self.out)
        if state is not None:
            task.load_state_dict(state["task"])
            task.load_extra_state(state["extra"])
        self.wrapped, self.optimizer = self.fabric.setup(task, self._adamw())
        self.average = WeightAverage(task.model, optimizer.averaging)
        self.step, self.bad_in_row, self.history = 0, 0, []
        if state is not None:
            self._resume(state)
        self.terms: dict[str, list[float]] = defaultdict(list)

    def _adamw(self) -> torch.optim.AdamW:
        groups = []
        for share, parameters in self.task.learning_rates(self.rates.offset_share, self.rates.encoder_share):
            for parameter in parameters:
                parameter.requires_grad_(share > 0)
            if share and parameters:
                groups.append({"params": parameters, "share": share})
        return torch.optim.AdamW(groups, self.rates.learning_rate, weight_decay=self.rates.weight_decay)

    def run(self) -> list[dict]:
        """All steps that are left. Returns the history that metrics.json holds."""
        parts = []
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", disable=not self.fabric.is_global_zero)
        left = self.step < self.config.steps
        batches = self.task.data.batches(self.place, self.step, self.on_gpu) if left else ()
        for part in batches:
            parts.append(part)
            if len(parts) < self.config.accumulate:
                continue
            self._train_step(parts)
            parts = []
            bar.update()
            bar.set_postfix({name: f"{values[-1]:.3f}" for name, values in self.terms.items() if values})
            self._after_step()
            if self.step == self.config.steps:
                break
        bar.close()
        if self.folder is not None:
            self.folder.close()
        return self.history

    def _train_step(self, parts: list) -> None:
        """One optimizer step from one step's batches, or none where a loss or gradient is not finite."""
        # Dropout depends on the step and the process alone: nothing random needs to be stored.
        torch.manual_seed(hash((self.config.seed, self.step, self.place.rank)) % 2**63)
        self.wrapped.train()
        factor = learning_rate(self.step, self.config.steps, self.rates)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates.learning_rate * group["share"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        outcomes = [self._backward(*part, last=number == len(parts) - 1) for number, part in enumerate(parts)]
        seen = [outcome.pop("seen", None) for outcome in outcomes]
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=self.rates.clip_norm, error_if_nonfinite=False
        )
        terms, norm = _means(outcomes, norm)
        if self._everywhere(math.isfinite(terms["loss"]) and math.isfinite(norm)):
            self.optimizer.step()
            self.average.update(self.task.model, self.step)
            self.bad_in_row = 0
            self._observe(terms, seen)
        else:
            self._skip(parts, terms)
        self.step += 1

    def _backward(self, batch, keys, last: bool) -> dict:
        drawn = self.task.draw(batch, keys)
        with self.fabric.no_backward_sync(self.wrapped, enabled=not last):
            outcome = self.wrapped(StepInputs(batch, drawn, self.step / self.config.steps))
            self.fabric.backward(outcome["loss"] / self.config.accumulate)
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in outcome.items()}

    def _everywhere(self, finite: bool) -> bool:
        """Whether every process says so."""
        if self.place.world == 1:
            return finite
        votes = self.fabric.all_gather(torch.tensor(int(finite), device=self.fabric.device))
        return bool(votes.all())

    def _observe(self, terms: dict, seen: list) -> None:
        """Show the terms, means over all processes, and let the task see what every process saw, in their order."""
        seen = [_on_the_cpu(of_part) for of_part in seen]
        if self.place.world > 1:
            names = sorted(terms)
            means = torch.tensor([terms[name] for name in names], device=self.fabric.device)
            means = self.fabric.all_reduce(means, reduce_op="mean")
            terms = dict(zip(names, means.tolist(), strict=True))
            gathered: list = [None] * self.place.world
            torch.distributed.all_gather_object(gathered, seen)
            seen = [item for of_rank in gathered for item in of_rank]
        if self.folder is not None:
            for name, value in terms.items():
                self.terms[name].append(value)
        self.task.observe(seen)

    def _skip(self, parts: list, terms: dict) -> None:
        """A step that would have spoilt the weights is not taken; ten in a row end the run."""
        self.bad_in_row += 1
        names = [name for batch, keys in parts for name in getattr(batch, "names", keys)]
        bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value)) or "a gradient"
        print(f"step {self.step}: {bad} not finite; step skipped ({self.bad_in_row} in a row); samples {names}")
        if self.bad_in_row >= MAX_BAD_STEPS:
            saved = self.out / f"bad_step_{self.step}_{self.place.rank}.pt"
            save_batch([{"keys": keys, "batch": batch} for batch, keys in parts], saved)
            raise ValueError(
                f"step {self.step}: {MAX_BAD_STEPS} steps in a row were not finite; the last batch is in {saved}; "
                "lower learning_rate, or look at its samples"
            )

    def _after_step(self) -> None:
        """Validation, pictures and checkpoints, where they are due; always after the last step."""
        last = self.step == self.config.steps
        if self.folder is not None and (last or self.step % self.config.validate_every == 0):
            self._validate()
        if self.folder is not None and (last or self.step % self.config.checkpoint_every == 0):
            self.folder.save_state(self._state())
            with self.average.applied(self.task.model) as model:
                self.folder.save_model(model, "last")
        self.fabric.barrier()

    def _validate(self) -> None:
        entry = {"step": self.step, **{name: float(np.mean(values)) for name, values in self.terms.items()}}
        self.terms.clear()
        self.folder.wait_for_picture()  # readers are forked next: not in the middle of a drawing
        with self.average.applied(self.task.model) as model:
            batches = iter(self.task.data.validation_batches(self.on_gpu))
            first = next(batches, None)
            if first is not None:
                with self.fabric.autocast():
                    entry["validation"] = self.task.validate(chain((first,), batches))
                    if self.step % self.config.picture_every == 0 or self.step == self.config.steps:
                        self.folder.draw(self.task.picture(first), self.step)
                scores = [past["validation"]["score"] for past in self.history if "validation" in past]
                if entry["validation"]["score"] < min(scores, default=math.inf):
                    self.folder.save_model(model, "best")
        self.history.append(entry)
        self.folder.write_metrics(self.history)
        flat = {name: value for name, value in entry.items() if isinstance(value, float)}
        flat |= {f"validation/{name}": value for name, value in entry.get("validation", {}).items()}
        self.folder.scalars(flat, self.step)

    def _state(self) -> dict:
        return {
            "task": self.task.state_dict(),
            "extra": self.task.extra_state(),
            "average": self.average.mean,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "bad_in_row": self.bad_in_row,
            "history": self.history,
        }

    def _resume(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for name, tensor in state["average"].items():
            self.average.mean[name].copy_(tensor)
        self.step, self.bad_in_row, self.history = state["step"], state["bad_in_row"], state["history"]
