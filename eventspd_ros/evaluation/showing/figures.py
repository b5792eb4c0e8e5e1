"""The figures of a report: each takes tables of the evaluation and gives a matplotlib Figure."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context as matplotlib_settings
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from eventspd_ros.drawing import COLORMAP, event_image, mark_metres, new_figure
from eventspd_ros.evaluation.results import Accuracy, DepthClass, SweepRow, Sweeps, Uncertainty
from eventspd_ros.events.types import EventWindow

COLOURS = ("#1f5fa8", "#d1622b", "#3b8f5a", "#8a4fa3", "#b5892c", "#5b6770", "#c2427a", "#2aa3a3")
STYLE = {
    **{"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True},
    **{"grid.color": "0.9", "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "path"},
    **{"svg.hashsalt": "eventspd"},
}


@dataclass(frozen=True)
class Example:
    """One window with its answers. uv_px: (K, 2); predicted_m, true_m, log_stddev: (K,)."""

    title: str
    window: EventWindow
    uv_px: np.ndarray
    predicted_m: np.ndarray
    true_m: np.ndarray
    log_stddev: np.ndarray


def svg(figure: Figure) -> str:
    """As the source of an <img>."""
    return _embedded(figure, "svg", "svg+xml", metadata={"Date": None})


def png(figure: Figure) -> str:
    return _embedded(figure, "png", "png", dpi=110)


@matplotlib_settings(STYLE)
def _embedded(figure: Figure, kind: str, mime: str, **options) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return f"data:image/{mime};base64," + base64.b64encode(buffer.getvalue()).decode()


def row_of_axes(count: int, height: float = 3.4, width: float = 10.0) -> tuple[Figure, np.ndarray]:
    figure = new_figure(width, height, layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def plain_log(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


@matplotlib_settings(STYLE)
def draw_error_by_depth(methods: dict[str, Accuracy], judged: str) -> Figure:
    """Left AbsRel of all, right the judged one's log error with 10 to 90 %."""
    figure, (left, right) = row_of_axes(2)
    names = sorted(methods, key=lambda name: name != judged)
    for colour, name in zip(_cycle(names), names, strict=True):
        rows = methods[name].by_true_depth
        width = 2.4 if name == judged else 1.3
        left.plot(_middles(rows), [row.abs_rel for row in rows], color=colour, lw=width, label=name)
    rows = methods[judged].by_true_depth
    low, middle, high = zip(*((row.log_error_10, row.log_error_50, row.log_error_90) for row in rows), strict=True)
    right.fill_between(_middles(rows), low, high, color=COLOURS[0], alpha=0.2, lw=0, label="10–90 %")
    right.plot(_middles(rows), middle, color=COLOURS[0], lw=2.4, label=f"{judged}, median")
    right.axhline(0, color="0.3", lw=1)
    left.set(ylabel="AbsRel", xlabel="true depth [m]", ylim=(0, None))
    right.set(ylabel="ln predicted − ln true", xlabel="true depth [m]")
    for axes in (left, right):
        plain_log(axes, "x")
    left.legend(fontsize=9)
    right.legend(fontsize=9)
    return figure


def _middles(rows: list[DepthClass]) -> list[float]:
    return [(row.from_m * row.to_m) ** 0.5 for row in rows]


def _cycle(names) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(names))]


@matplotlib_settings(STYLE)
def draw_uncertainty(groups: dict[str, Uncertainty]) -> Figure:
    """groups: of the judged model by domain, pooled first. Calibration, then sparsification."""
    figure, (calibration, abs_rel, rmse) = row_of_axes(3)
    calibration.plot([0, 1], [0, 1], color="0.3", lw=1)
    for colour, (name, values) in zip(_cycle(groups), groups.items(), strict=True):
        curve, width = values.calibration, 2.4 if name == "pooled" else 1.3
        calibration.plot(curve.expected, curve.observed, color=colour, lw=width, label=name)
    calibration.set(xlabel="quantile predicted", ylabel="share of truths below it", xlim=(0, 1), ylim=(0, 1), aspect=1)
    calibration.legend(fontsize=9)
    pooled = groups["pooled"]
    for axes, found, unit in ((abs_rel, pooled.abs_rel, "AbsRel"), (rmse, pooled.rmse, "RMSE [m]")):
        curve, oracle = np.array(found.curve), np.array(found.oracle)
        dropped = 100 * np.arange(len(curve)) / len(curve)
        axes.axhline(curve[0], color="0.5", lw=1.3, ls="--", label="random order")
        axes.plot(dropped, curve, color=COLOURS[0], lw=2.4, label="by σ")
        axes.plot(dropped, oracle, color=COLOURS[2], lw=1.3, label="by the error itself")
        top = 1.35 * max(curve.max(), 1e-9)  # room for the legend
        axes.set(xlabel="most uncertain dropped [%]", ylabel=f"{unit} of the rest", ylim=(0, top))
        axes.legend(fontsize=9, loc="upper right")
    return figure


@matplotlib_settings(STYLE)
def draw_sweeps(sweeps: Sweeps) -> Figure:
    """Error against event rate, added noise, time since a gap and time since the camera stopped."""
    figure, panels = row_of_axes(4 if sweeps.gap else 3, width=12.0, height=3.0)
    rate, noise, stop, *gap = panels
    _line(rate, sweeps.event_rate, lambda row: 100 * row.share)
    rate.set(xlabel="events kept [%]", ylabel="mean |log error|", xticks=[25, 50, 75, 100])
    _line(noise, sweeps.sensor_noise, lambda row: row.added_hz_per_pixel)
    noise.set(xlabel="noise added [Hz a pixel]")
    for axes in gap:  # of recordings shorter than that there is none
        _line(axes, sweeps.gap, _gap_middle, label="100 ms without events")
        _line(axes, sweeps.gap, _gap_middle, lambda row: row.abs_log_without_gap, COLOURS[5], "no gap")
        axes.axvline(0, color="0.4", ls=":", lw=1.3)
        axes.set(xlabel="time since the gap's end [ms]")
        axes.legend(fontsize=9)
    rates = dict.fromkeys(row.noise_hz_per_pixel for row in sweeps.camera_stopped)
    for colour, hertz in zip(_cycle(rates), rates, strict=True):
        rows = [row for row in sweeps.camera_stopped if row.noise_hz_per_pixel == hertz]
        _line(stop, rows, lambda row: row.after_ms, colour=colour, label=f"noise {hertz:g} Hz a pixel")
    stop.set(xlabel="time since the camera stopped [ms]")
    stop.legend(fontsize=9)
    top = 1.1 * max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)
    return figure


def _gap_middle(row: SweepRow) -> float:
    return sum(row.since_gap_ms) / 2


def _line(axes: Axes, rows: list[SweepRow], place, value=lambda row: row.abs_log, colour=COLOURS[0], label="") -> None:
    places, values = [place(row) for row in rows], [value(row) for row in rows]
    axes.plot(places, values, "o-", color=colour, lw=1.8, ms=4, label=label)


@matplotlib_settings(STYLE)
def draw_example(example: Example) -> Figure:
    """Four times the same window: keypoints coloured by predicted and true depth, by error and by σ."""
    height, width = example.window.height, example.window.width
    figure, panels = row_of_axes(4, width=14.0, height=14.0 / 4 * height / width + 1.0)
    background = event_image(example.window)
    both = np.concatenate((example.predicted_m, example.true_m))
    both = both[np.isfinite(both)]
    depth = LogNorm(both.min() / 1.1, both.max() * 1.1)
    error = np.abs(np.log(example.predicted_m / example.true_m))
    spread = Normalize(0, max(float(np.nanpercentile(np.concatenate((error, example.log_stddev)), 98)), 0.1))
    for axes, title, values, norm, colours in zip(
        panels,
        ("predicted depth [m]", "true depth [m]", "|log error|", "σ of log depth"),
        (example.predicted_m, example.true_m, error, example.log_stddev),
        (depth, depth, spread, spread),
        (COLORMAP, COLORMAP, "inferno_r", "inferno_r"),
        strict=True,
    ):
        axes.imshow(background, interpolation="nearest")
        dots = axes.scatter(*example.uv_px.T, c=values, norm=norm, cmap=colours, s=26, edgecolor="black", linewidth=0.5)
        axes.set(xticks=[], yticks=[], title=title, xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color="0.8")
        bar = figure.colorbar(dots, ax=axes, orientation="horizontal", shrink=0.9, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        if norm is depth:
            mark_metres(bar, depth.vmin, depth.vmax, 9, fontsize=9)  # more would touch
    return figure
