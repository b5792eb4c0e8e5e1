"""One page that says how good and how fast: report.html, which needs no network, and report.json with the same numbers.

Figures are embedded, the page has neither scripts nor links to files. Sections whose numbers were not made are left
out, and a line says which option makes them.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from eventspd_ros.evaluation.asking.questions import KEYPOINT, KINDS, UNIFORM, WindowedScene
from eventspd_ros.evaluation.evaluate import Evaluation
from eventspd_ros.evaluation.results import Diagnostics, EvaluationResult, write_json
from eventspd_ros.evaluation.scoring.summary import POOLED
from eventspd_ros.evaluation.scoring.uncertainty import LEVELS
from eventspd_ros.evaluation.showing import figures, page, published
from eventspd_ros.evaluation.showing.figures import Example
from eventspd_ros.evaluation.showing.model_tables import (
    diagnostic_tables,
    number,
    percent,
    routing_sentence,
    sweep_tables,
)
from eventspd_ros.evaluation.showing.motion_text import cost_sentence, motion_text
from eventspd_ros.evaluation.showing.table import covered
from eventspd_ros.whole import write_whole

PICTURED = 150  # keypoints in a picture, at most
ACCURACY = {
    **{"AbsRel": "abs_rel", "SqRel m": "sq_rel", "RMSE m": "rmse", "RMSElog": "rmse_log", "|log|": "abs_log"},
    **{"SILog ½": "silog_half", "δ1": "delta1", "δ2": "delta2", "δ3": "delta3"},
}


def write_report(evaluation: Evaluation, folder: Path | str, latency: str = "") -> Path:
    """Writes report.html and report.json into a folder; returns the path of the page. latency: a section of it, as
    benchmark/latency_page.py makes it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    result = evaluation.result
    write_json(result, folder / "report.json")
    path = folder / "report.html"
    title = f"{result.summary.judged} on {Path(result.set).name}"
    sections = [
        _head(result, title),
        _accuracy(result),
        _published(result),
        _by_depth(result),
        _uncertainty(result),
        latency,
        _diagnostics(result),
        _sweeps(result),
        _motion(result),
        _pictures(evaluation),
    ]
    write_whole(path, page.FRAME.format(title=escape(title), body="\n".join(sections)))
    return path


def _head(result: EvaluationResult, title: str) -> str:
    scenes = ", ".join(f"{escape(group)} {count}" for group, count in result.summary.scenes.items())
    settings = result.settings
    rows = [
        ["set", f"{result.set} ({result.dataset}); scenes: {scenes}"],
        ["weights", ", ".join(result.weights)],
        ["baselines fitted to", result.train_set or "nothing: run with --train-set for baselines"],
        ["asked", f"every {settings.every}. label after {settings.warm_up} windows; seed {settings.seed}"],
        ["eventspd_ros", result.version],
    ]
    parts = [f"<h1>{escape(title)}</h1>", page.table([], rows, texts=2)]
    if settings.centred:
        parts.append("<p><b>Windows are centred on the label and hold 10 ms of the future.</b></p>")
    if result.dataset == "simulated":
        parts.append("<p class=note>All numbers are of simulated scenes; they say nothing about a real sensor.</p>")
    return "\n".join(parts)


def _accuracy(result: EvaluationResult) -> str:
    parts, judged = ["<h2>Accuracy</h2>"], result.summary.judged
    for kind, groups in result.summary.accuracy.items():
        head = ["", "", *ACCURACY, "AbsRel *", "|log| *", "< 10 m", "< 20 m", "< 30 m", "answered"]
        rows, own = [], set()
        for group, methods in groups.items():
            for method, values in methods.items():
                if method == judged:
                    own.add(len(rows))
                numbers = [getattr(values.plain, key) for key in ACCURACY.values()]
                numbers += [values.median_aligned.abs_rel, values.median_aligned.abs_log]
                numbers += values.mean_error_below_m.values()
                rows.append([group, method, *map(number, numbers), percent(values.answered)])
        parts += [f"<h3>{_KINDS[kind]}</h3>", page.table(head, rows, texts=2, own=own)]
    parts.append(
        "<p class=note>* each image scaled so that medians agree. &lt; 10, 20, 30 m: mean error, m, of nearer points. "
        "By range, per image and at event pixels: report.json.</p>"
    )
    for name, scores in (result.protocol or {}).items():
        columns = list(dict.fromkeys(column for values in scores.values() for column in values))
        rows = [[method, *(number(values.get(column)) for column in columns)] for method, values in scores.items()]
        own = {index for index, row in enumerate(rows) if row[0] == judged}
        parts += [f"<h3>Protocol {escape(name)}, mean over images</h3>", page.table(["", *columns], rows, own=own)]
    return "\n".join(parts)


_KINDS = {"uniform": "Pixels drawn evenly", "keypoints": "Keypoints: corners of the events"}


def _published(result: EvaluationResult) -> str:
    head = ["method", "reads", "protocol", *(f"{c}, day1" for c in published.COLUMNS)]
    head += [*(f"{c}, night1" for c in published.COLUMNS), "< 10 m", "< 20 m", "< 30 m", "source"]
    rows = []
    for row in published.MVSEC:
        numbers = (*row.day1, *row.night1, *row.near_m)
        rows.append([row.method, row.reads, row.protocol, *map(number, numbers), row.source])
    own, said = set(), "This evaluation is of another dataset: <b>nothing above compares with these numbers.</b>"
    if result.dataset == "mvsec":
        said = (
            "The first rows are this evaluation, over all sequences of its folder; they compare only if those are the "
            "sequence of the columns, all labelled pixels were asked, and the protocol is the row's."
        )
        for name, scores in (result.protocol or {}).items():
            values = scores[result.summary.judged]
            numbers = [values.get(key) for key in ("abs_rel", "rmse", "rmse_log", "delta1")]
            near = [values.get(f"mean_error_below_{limit}") for limit in (10, 20, 30)]
            cells = [*map(number, numbers), *["–"] * 4, *map(number, near)]
            method = [result.summary.judged, "events", f"{name}, this evaluation"]
            rows.insert(0, [*method, *cells, Path(result.set).name])
            own = {0}
        if not own:
            said = "Run with --protocol hmnet or e2depth to put this evaluation into the table."
    return (
        "<h2>Published numbers</h2>\n"
        f"<p>MVSEC, trained on outdoor_day2, tested on outdoor_day1 and outdoor_night1, all labelled pixels. {said}</p>"
        + page.table(head, rows, texts=3, own=own)
        + "<p>By protocols of their own, which compare with nothing else here:</p>\n"
        + page.table(published.ELSEWHERE_COLUMNS, published.ELSEWHERE, texts=4)
    )


def _by_depth(result: EvaluationResult) -> str:
    methods, judged = result.summary.accuracy["uniform"][POOLED], result.summary.judged
    if not methods[judged].by_true_depth:
        return ""
    figure = figures.draw_error_by_depth(methods, judged)
    return "<h2>Error against depth</h2>\n" + page.figure(
        figures.svg(figure), "Pixels drawn evenly, classes of true depth that grow by √2. Above zero: too far."
    )


def _uncertainty(result: EvaluationResult) -> str:
    judged = result.summary.judged
    groups = result.summary.uncertainty["uniform"][judged]
    if not groups[POOLED].points:
        return ""
    head = ["", "", *(f"in {level:.0%}" for level in LEVELS), "width 68%", "ECE", "NLL", "AUSE AbsRel", "/ random"]
    head += ["AUSE RMSE", "/ random"]
    rows, own = [], set()
    for kind, methods in result.summary.uncertainty.items():
        for method, by_group in methods.items():
            for group, values in by_group.items():
                if not values.points:
                    continue
                if method == judged:
                    own.add(len(rows))
                numbers = [values.width["68%"], values.ece, values.nll]
                for sorted_by_stddev in (values.abs_rel, values.rmse):
                    numbers += [sorted_by_stddev.ause, sorted_by_stddev.ause_ratio]
                rows.append([f"{method}, {kind}", group, *covered(values), *map(number, numbers)])
    figure = figures.draw_uncertainty({g: values for g, values in groups.items() if values.points})
    return (
        "<h2>Uncertainty</h2>\n"
        + page.figure(
            figures.svg(figure),
            f"{escape(judged)}, pixels drawn evenly. Left: honest is the diagonal. "
            "Right: error of what stays when the most uncertain points are dropped; all domains.",
        )
        + page.table(head, rows, texts=2, own=own)
        + "<p class=note>AUSE / random: 0 where σ orders points as their errors do, 1 where it knows nothing.</p>"
    )


def _diagnostics(result: EvaluationResult) -> str:
    found = result.diagnostics
    if not isinstance(found, Diagnostics):
        return ""
    parts = ["<h2>What the decoder does</h2>", f"<p>{escape(routing_sentence(found.routing))}</p>"]
    return "\n".join(parts + [page.titled(table) for table in diagnostic_tables(found)])


def _sweeps(result: EvaluationResult) -> str:
    sweeps = result.sweeps
    if sweeps is None:
        return "<h2>Robustness</h2>\n<p class=note>Not measured: run with --sweeps.</p>"
    parts = [
        "<h2>Robustness</h2>",
        f"<p>Pixels drawn evenly in {len(sweeps.scenes)} scenes, the same in every row of a table.</p>",
        page.figure(figures.svg(figures.draw_sweeps(sweeps)), "Mean |log error| when something is made harder."),
    ]
    return "\n".join(parts + [page.titled(table) for table in sweep_tables(sweeps)])


def _motion(result: EvaluationResult) -> str:
    parts = ["<h2>With the camera's poses</h2>"]
    if result.motion:
        parts.append(f"<p>{escape(cost_sentence(result.motion.cost))}</p>")
    else:
        parts.append("<p class=note>Not measured: run with --motion, and --pose-errors.</p>")
    return "\n".join(parts + [page.titled(table) for table in motion_text(result.motion, result.pose_errors)])


def _pictures(evaluation: Evaluation) -> str:
    parts = ["<h2>Pictures</h2>"]
    for example in examples(evaluation):
        parts.append(page.figure(figures.png(figures.draw_example(example)), example.title))
    return "\n".join(parts)


def examples(evaluation: Evaluation) -> list[Example]:
    """Of every domain the scene whose mean |log error| is the median one, its last window: neither best nor worst."""
    judged, summary, chosen = evaluation.methods[0], evaluation.result.summary, []
    scenes = {name: own.abs_log for name, own in summary.per_scene["uniform"][judged.name].items()}
    for domain in list(summary.scenes)[1:]:
        own = [(s, a) for s, a in zip(evaluation.sequences, evaluation.answers, strict=True) if a.domain == domain]
        own = [pair for pair in own if scenes.get(pair[1].name) is not None]
        own.sort(key=lambda pair: scenes[pair[1].name])
        if not own:
            continue
        sequence, answer = own[len(own) // 2]
        questions = answer.questions
        last = questions.window == questions.window.max()
        kind = KEYPOINT if (last & (questions.kind == KEYPOINT)).any() else UNIFORM
        which = last & (questions.kind == kind)
        which &= np.cumsum(which) <= PICTURED
        config = judged.model.config
        scene = WindowedScene(sequence, config.window_ms, config.stride_ms, evaluation.settings)
        window = scene.window(int(questions.window[which][0]))
        asked = next(name for name, value in KINDS.items() if value == kind)
        title = f"{answer.name}, last window; {asked}: {which.sum()}; the scene's |log error| is its domain's median."
        columns = (questions.uv_px, answer.depth_m[judged.name], questions.true_m, answer.log_stddev[judged.name])
        chosen.append(Example(title, window, *(column[which] for column in columns)))
    return chosen
