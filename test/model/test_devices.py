"""What a GPU answers beside what the CPU does, the fast forms beside the plain one, and the memory that comes back.

TF32 is off (exact_convolutions), as an error of its size would hide others. Depths and deviations are compared as
ratios, in two statistics of all points: the median, and the 99th percentile in place of the largest, as the last of a
query's anchors may change places with the next where two cells score alike to rounding: no error, and it moves one
point in hundreds.
"""

import copy
import weakref
from functools import cache

import pytest
import torch
from reference.places import PLACES, TINY, Place, held_bytes
from reference.windows import randomise

from eventspd_ros.benchmark.kernel_twins import relative_error
from eventspd_ros.model import acceleration
from eventspd_ros.model.acceleration import CompiledModel
from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import ENCODER_PRESETS, MODEL_PRESETS, Model, build_model
from eventspd_ros.model.stepped import FEWEST_EVENTS, FEWEST_QUERIES, CapturedStep, bucket, stepped
from eventspd_ros.predictor import Predictor

PRECISIONS = {"float32": (1e-4, 1e-3), "bfloat16": (5e-3, 2e-2)}  # limits of these statistics, of depth
WITH_STEPS = tuple(preset for preset in MODEL_PRESETS if preset != "rgb_spd")
FORMS = {"stepped": lambda step: step, "captured": CapturedStep}
pytestmark = pytest.mark.usefixtures("exact_convolutions")


@cache
def built(preset: str) -> Model:
    """A model whose weights are near where they start, so that rounding stays rounding, and none of them is zero."""
    torch.manual_seed(0)
    return randomise(build_model(preset), scale=0.02).eval()


def fresh(preset: str, device: str = "cpu", precision: str = "float32") -> Model:
    """A copy of that model."""
    model = copy.deepcopy(built(preset)).to(device)
    model.in_bfloat16 = precision == "bfloat16"
    return model


@torch.inference_mode()
def answers(model, place: Place) -> torch.Tensor:
    """(requests, 2, K) depth and deviation on the CPU: of three windows of one stream, the middle one short, each asked
    after all were encoded. What a later window writes is not an earlier one's."""
    states, caches = [StreamState()], []
    for seed, events in enumerate((place.events, place.events // 10, place.events)):
        (made,), states = model.encode([place.window(model.config, seed, events)], states)
        caches.append(made)
    found = [torch.stack(model.decode(made, place.points(seed))) for seed, made in enumerate(caches)]
    return torch.stack(found).float().cpu()


@cache
def on_cpu(preset: str, place: Place) -> torch.Tensor:
    return answers(fresh(preset), place)


def check(found: torch.Tensor, expected: torch.Tensor, precision: str) -> None:
    """The statistics above, of all requests together. The deviation is depth times what another head says, so that it
    may be twice as far off."""
    assert found.shape == expected.shape and bool((expected > 0).all())
    for place, name in enumerate(("depth", "deviation")):
        difference = (found[:, place] / expected[:, place]).log().abs().flatten()
        middle, most = (float(difference.quantile(share)) for share in (0.5, 0.99))  # NaN where one is NaN or below 0
        limits = [limit * (1 + place) for limit in PRECISIONS[precision]]
        assert middle < limits[0] and most < limits[1], f"{name}: median {middle:.1e}, 99 % {most:.1e}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("preset", MODEL_PRESETS)
def test_every_preset_answers_as_on_the_cpu(preset, precision, place):
    check(answers(fresh(preset, place.device, precision), place), on_cpu(preset, place), precision)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("preset", ENCODER_PRESETS)
@torch.inference_mode()
def test_every_encoder_gives_the_maps_of_the_cpu(preset, place):
    model = fresh(preset)
    window = place.window(model.config, seed=1)
    expected = model(model.encoder.scatter([window]))
    model = model.to(place.device)
    assert relative_error(model(model.encoder.scatter([window])).cpu(), expected) < 1e-4


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", WITH_STEPS)
def test_every_form_answers_as_the_plain_one(preset, form, precision, place):
    model = fresh(preset, place.device, precision)
    found = answers(stepped(model, *place.sensor_hw, FORMS[form]), place)
    check(found, answers(model, place), precision)


KEPT_BY_INDUCTOR = 1 << 20  # bytes: the modules of its code stay loaded, with the small constants of their graphs
COMPILED = [
    pytest.param(preset, place.values[0], id=f"{preset}-{place.id}", marks=place.marks)
    for preset in ("eventspd", "eventspd_lite")
    for place in PLACES
    if (preset, place.values[0]) != ("eventspd", TINY)  # test_acceleration.py has one like it
]


@pytest.mark.parametrize("preset, place", COMPILED)
def test_the_compiled_form_answers_as_the_plain_one_and_gives_its_memory_back(preset, place, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # The sizes of windows and requests that get ready are those asked for.
    monkeypatch.setattr(acceleration, "MOST_EVENTS", bucket(place.events, FEWEST_EVENTS))
    monkeypatch.setattr(acceleration, "MOST_QUERIES", bucket(place.queries, FEWEST_QUERIES))
    live("captured", place)  # what libraries keep for good is there before
    before, lines = held_bytes(place.device), []

    def one_life() -> weakref.ref:
        backend = "inductor" if place.device == "cuda" else "eager"
        made = CompiledModel(fresh(preset, place.device), lines.append, backend=backend)
        made.prepare(*place.sensor_hw)
        check(answers(made, place), answers(made.plain, place), "bfloat16" if made.plain.in_bfloat16 else "float32")
        return weakref.ref(made)

    gone = one_life()
    assert len(lines) == 2 and "ready" in lines[1], lines  # the first form that was tried
    assert ("kernels" in lines[1]) == (place.device == "cuda"), lines
    assert held_bytes(place.device) - before < KEPT_BY_INDUCTOR and gone() is None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["plain", *FORMS])
def test_a_predictor_that_goes_gives_its_memory_back(form, place):
    live(form, place)
    before = held_bytes(place.device)
    live(form, place)
    assert held_bytes(place.device) == before


def live(form: str, place: Place) -> None:
    """A predictor's life: model, tables, three windows, two requests."""
    model = fresh("eventspd_lite", place.device, "bfloat16")
    seen, before = weakref.ref(model), held_bytes(place.device)
    made = model if form == "plain" else stepped(model, *place.sensor_hw, FORMS[form])
    predictor = Predictor(made, *place.sensor_hw, fx_px=500.0, allow_untrained=True)
    made.prepare(*place.sensor_hw)
    for seed in range(3):
        predictor.encode(place.window(model.config, seed))
    for seed in range(2):
        predictor.query(place.points(seed).numpy())
    assert held_bytes(place.device) > before and seen() is not None, "the measurement sees what a life holds"
