"""Latency on the page of an evaluation's report."""

from __future__ import annotations

from html import escape

from matplotlib import rc_context as matplotlib_settings
from matplotlib.figure import Figure

from eventspd_ros.benchmark.latency import Latency
from eventspd_ros.evaluation.showing import figures, page
from eventspd_ros.evaluation.showing.model_tables import number


def latency_section(latency: Latency) -> str:
    model, dense = latency.model, latency.dense
    ks = list(model.total_ms)
    rows = [
        [times.name, number(times.encode_ms), *(number(times.total_ms[k]) for k in ks)]
        for times in ([model, dense] if dense else [model])
    ]
    said = [
        f"{escape(latency.device)}, {latency.torch_threads} threads, load average {latency.load_average}, "
        f"torch {escape(latency.versions['torch'])}; one window of {latency.sensor} px with "
        f"{latency.events:,} events. Medians of {model.repetitions} runs."
    ]
    if dense:
        said.append(
            f"The dense baseline's weights are {'the given ones' if dense.trained else 'random'}, on which its "
            f"time does not depend; medians of {dense.repetitions} runs. {_crossover(latency)}"
        )
    else:
        said.append(escape(latency.no_dense or ""))
    return "\n".join(
        (
            "<h2>Latency</h2>",
            *(f"<p>{line}</p>" for line in said if line),
            page.figure(figures.svg(draw_time_by_k(latency)), "Time from a window of events to K depths."),
            page.table(["", "encode ms", *(f"T({k}) ms" for k in ks)], rows),
            page.figure(figures.svg(draw_stages(model.stages_ms)), "Where encode and decode spend it."),
        )
    )


def _crossover(latency: Latency) -> str:
    crossing, (width, height) = latency.crossover, map(int, latency.sensor.split("x"))
    if crossing.k is None:
        return "The curves do not meet."
    if crossing.k == 0:
        return "The dense map is faster from the first keypoint on."
    how = "" if crossing.measured else ", continuing the last two points"
    share = crossing.k / (width * height)
    return f"They meet at K* = {crossing.k:,} keypoints{how}: {share:.2g} times the sensor's pixels."


@matplotlib_settings(figures.STYLE)
def draw_stages(stages: dict[str, dict[str, float]]) -> Figure:
    """stages: of encode and of decode, ms by stage."""
    figure, panels = figures.row_of_axes(len(stages), height=2.8)
    for axes, (name, times) in zip(panels, stages.items(), strict=True):
        labels, values = list(times), list(times.values())
        bars = axes.barh(labels[::-1], values[::-1], color=figures.COLOURS[0], height=0.62)
        axes.bar_label(bars, [f"{value:.2f}" for value in values[::-1]], padding=3, fontsize=9)
        axes.set(xlabel="ms", title=f"{name}: {sum(values):.2f} ms", xlim=(0, 1.18 * max(max(values), 1e-3)))
        axes.grid(axis="y", visible=False)
    return figure


@matplotlib_settings(figures.STYLE)
def draw_time_by_k(latency: Latency) -> Figure:
    """T(K) of the model, and of the dense one where it was timed, with the crossover."""
    figure, (axes,) = figures.row_of_axes(1, width=7.0)
    for colour, times, further in (
        (figures.COLOURS[0], latency.model, ""),
        (figures.COLOURS[1], latency.dense, ", then sampled"),
    ):
        if times:
            total, label = times.total_ms, times.name + further
            axes.plot([int(k) for k in total], list(total.values()), "o-", color=colour, lw=2, ms=5, label=label)
    if latency.crossover and (crossing := latency.crossover.k):
        last, level = ([*times.total_ms.items()][-1] for times in (latency.model, latency.dense))
        if not latency.crossover.measured:
            axes.plot([int(last[0]), crossing], [last[1], level[1]], "--", color=figures.COLOURS[0], lw=1.3)
        axes.axvline(crossing, color="0.4", ls=":", lw=1.3)
        axes.annotate(f"K* = {crossing:,} ", (crossing, latency.model.encode_ms), ha="right", va="bottom")
    figures.plain_log(axes, "x")
    figures.plain_log(axes, "y")
    ks = [int(k) for k in latency.model.total_ms]
    axes.set_xticks(ks, [f"{k:,}" for k in ks])
    axes.set(xlabel="keypoints K", ylabel="T(K): encode + decode [ms]")
    axes.legend(fontsize=9)
    return figure
