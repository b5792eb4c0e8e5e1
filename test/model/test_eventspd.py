"""EventSPD as a whole: streaming, independence of queries and streams, depth forms, precision, compilation."""

from dataclasses import replace

import pytest
import torch
from reference.models import small_config, small_model
from reference.windows import random_image, random_window, randomise

from eventspd_ros.model.config import HeadConfig
from eventspd_ros.model.eventspd import EventSPD
from eventspd_ros.model.feature_cache import StreamState, map_tensors
from eventspd_ros.model.geometry import cell_centres_px
from eventspd_ros.model.heads import WindowCalibration, calibrated_depth
from eventspd_ros.model.presets import build_model, preset_config

WIDTH, HEIGHT = 150, 110
FORMS = {
    "inverse": {"parametrization": "inverse"},
    "log": {"parametrization": "log"},
    "prior": {"parametrization": "log", "prior": True},
    "shared scale": {"parametrization": "log", "prior": True, "shared_scale": True},
    "v9": {"v9": True},
    "image": {"image": True},
}


@pytest.fixture(scope="module", params=FORMS)
def model(request) -> EventSPD:
    return randomise(small_model(**FORMS[request.param]), scale=0.1)


def keypoints(count: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) - 0.5


def windows_of(stream: int, count: int) -> list:
    """Overlapping windows of one stream, the third of them empty."""
    sizes = [1_500, 900, 0, 1_200, 700]
    return [
        random_window(WIDTH, HEIGHT, sizes[index % 5], seed=10 * stream + index, end_ns=20_000_000 + index * 8_333_000)
        for index in range(count)
    ]


def seen_by(model, stream: int, count: int) -> list:
    """windows_of(), or as many images for a model that sees those."""
    if model.config.input == "events":
        return windows_of(stream, count)
    return [random_image(WIDTH, HEIGHT, 10 * stream + index, index * 8_333_000) for index in range(count)]


def answers(model, cache, count: int = 30) -> torch.Tensor:
    return torch.stack(model.decode(cache, keypoints(count)), dim=1)


@torch.no_grad()
def test_the_prior_alone_is_the_answer_without_its_residual():
    model = randomise(small_model(**FORMS["prior"]), scale=0.1)
    cache = model.encode(windows_of(0, 1), [StreamState()])[0][0]
    answered, prior = answers(model, cache)[:, 0], model.prior_depth(cache, keypoints(30))
    assert (answered / prior - 1).abs().min() > 1e-4
    for parameter in (model.decoder.b5.depth[-1].weight, model.decoder.b5.depth[-1].bias):
        parameter.zero_()
    torch.testing.assert_close(answers(model, cache)[:, 0], prior)
    assert small_model().prior_depth(cache, keypoints(3)) is None


@torch.no_grad()
def test_a_point_s_sigma_is_its_own_and_that_of_the_window_s_scale():
    kind = {"parametrization": "log", "prior": True, "shared_scale": True}
    models = [randomise(small_model(**kind, temperature=temperature), scale=0.1) for temperature in (1.0, 1.7)]
    alone = randomise(small_model(**{**kind, "shared_scale": False}), scale=0.1)
    alone.load_state_dict({name: models[0].state_dict()[name] for name in alone.state_dict()})
    found = []
    for model in (*models, alone):
        caches, _ = model.encode([windows_of(0, 1)[0], windows_of(3, 2)[1]], [StreamState(), StreamState()])
        found.append([(cache.scale_stddev, answers(model, cache)) for cache in caches])
    for (scale, whole), (wider, widened), (nothing, own) in zip(*found, strict=True):
        assert nothing is None and wider == pytest.approx(1.7 * scale)
        torch.testing.assert_close(whole[:, 0], own[:, 0])
        torch.testing.assert_close(whole[:, 1] / whole[:, 0], torch.hypot(own[:, 1] / own[:, 0], torch.tensor(scale)))
        torch.testing.assert_close(widened[:, 1], 1.7 * whole[:, 1])
    assert found[0][0][0] != found[0][1][0], "it is the window's"


@pytest.mark.parametrize("preset", ["eventspd", "eventspd_lite", "eventspd_v9"])
@torch.no_grad()
def test_an_untrained_model_answers_the_median_depth(preset):
    torch.manual_seed(0)
    model = build_model(preset)
    (cache,), _ = model.encode(seen_by(model, 0, 1), [StreamState()])
    depth, stddev = model.decode(cache, keypoints(100))
    assert not model.trained
    assert depth.isfinite().all()
    assert depth.median().item() == pytest.approx(model.config.head.median_depth_m, rel=0.25)
    assert (stddev / depth).median().item() == pytest.approx(model.config.head.initial_stddev, rel=0.35)


@torch.no_grad()
def test_a_batch_of_streams_is_each_alone(model):
    """Three windows of three streams, one of which starts a window later than the others."""
    alone = []
    for stream, first in ((0, 0), (1, 1), (2, 0)):
        state = StreamState()
        for window in seen_by(model, stream, 3)[first:]:
            (cache,), (state,) = model.encode([window], [state])
        alone.append((answers(model, cache), state.memory))
    states = [StreamState() for _ in range(3)]
    for index in range(3):
        if index == 1:
            states[1].reset()
        caches, states = model.encode([seen_by(model, stream, 3)[index] for stream in range(3)], states)
    for cache, state, (expected, memory) in zip(caches, states, alone, strict=True):
        torch.testing.assert_close(answers(model, cache), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state.memory, memory, rtol=1e-4, atol=3e-5)


@torch.no_grad()
def test_memory_matters_and_reset_forgets(model):
    """And without a memory, a window's answers are its own."""
    first, second = seen_by(model, 0, 2)
    (fresh,), _ = model.encode([second], [StreamState()])
    _, (state,) = model.encode([first], [StreamState()])
    (remembering,), _ = model.encode([second], [state])
    difference = (answers(model, remembering) - answers(model, fresh)).abs().max()
    assert difference == 0 if model.memory is None else difference > 1e-3
    state.reset()
    (forgotten,), _ = model.encode([second], [state])
    torch.testing.assert_close(answers(model, forgotten), answers(model, fresh), rtol=0, atol=0)


@torch.no_grad()
def test_encode_does_not_change_the_state_it_is_given(model):
    _, (state,) = model.encode(seen_by(model, 0, 1), [StreamState()])
    before = map_tensors(torch.clone, state.memory)
    first, _ = model.encode([seen_by(model, 0, 2)[1]], [state])
    again, _ = model.encode([seen_by(model, 0, 2)[1]], [state])
    assert torch.equal(state.memory, before) if before is not None else state.memory is None
    torch.testing.assert_close(answers(model, first[0]), answers(model, again[0]), rtol=0, atol=0)


def test_window_by_window_is_the_unrolled_recurrence():
    """Depths and all gradients of four windows streamed equal those of the loop that training unrolls."""
    uv_px = keypoints(12)
    gradients, depths = [], []
    for streamed in (True, False):
        model = randomise(small_model(), scale=0.1).train()
        seen, state, memory = [], StreamState(), None
        for window in windows_of(0, 4):
            if streamed:
                (cache,), (state,) = model.encode([window], [state])
                depth, _ = model.decode(cache, uv_px)
            else:
                tensors, memory = model.phase_a(model.encoder.scatter([window]), memory)
                depth = model.phase_b(tensors, uv_px[None])[0][0]
            seen.append(depth)
        torch.stack(seen).log().square().sum().backward()
        depths.append(torch.stack(seen).detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(depths[0], depths[1], rtol=1e-5, atol=0)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 100
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_gradients_reach_back_through_the_memory():
    model = randomise(small_model(), scale=0.1).train()
    fields = [model.encoder.scatter([window]).detach().requires_grad_() for window in windows_of(0, 3)]
    memory = None
    for field in fields:
        tensors, memory = model.phase_a(field, memory)
    model.phase_b(tensors, keypoints(12)[None])[0].log().sum().backward()
    assert all(field.grad.abs().sum() > 0 for field in fields)


def test_every_parameter_learns():
    """No weight of any stage is left out of the gradient (the dense levels are for the training room's losses)."""
    for form in FORMS.values():
        model = randomise(small_model(**form), scale=0.1).train()
        tensors, memory = model.phase_a(model.encoder.scatter(seen_by(model, 0, 1)), None)
        tensors, _ = model.phase_a(model.encoder.scatter(seen_by(model, 0, 1)), memory)
        depth, stddev = model.phase_b(tensors, keypoints(40)[None])
        (depth.log() + stddev.log()).square().sum().backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert silent == []


@torch.no_grad()
def test_queries_are_independent(model):
    (cache,), _ = model.encode(seen_by(model, 0, 1), [StreamState()])
    uv_px = keypoints(30)
    together = torch.stack(model.decode(cache, uv_px), dim=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    permuted = torch.stack(model.decode(cache, uv_px[order]), dim=1)
    torch.testing.assert_close(permuted, together[order], rtol=1e-4, atol=1e-5)
    alone = torch.cat([torch.stack(model.decode(cache, uv_px[i : i + 1]), dim=1) for i in range(30)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert torch.stack(model.decode(cache, uv_px[:0])).shape == (2, 0)


@torch.no_grad()
def test_many_queries_are_answered_in_parts():
    model = randomise(small_model(), scale=0.1)
    (cache,), _ = model.encode(windows_of(0, 1), [StreamState()])
    uv_px = keypoints(10_000)
    many = torch.stack(model.decode(cache, uv_px), dim=1)
    assert many.shape == (10_000, 2) and torch.isfinite(many).all()
    few = torch.stack(model.decode(cache, uv_px[5_000:5_010]), dim=1)
    torch.testing.assert_close(many[5_000:5_010], few, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["prior", "v9", "image"])
@pytest.mark.parametrize(("width", "height"), [(346, 260), (640, 480), (97, 65), (33, 40)])
@torch.no_grad()
def test_odd_sensors(width, height, form):
    model = randomise(small_model(**FORMS[form]), scale=0.1)
    window = random_image(width, height) if form == "image" else random_window(width, height, 2_000)
    (cache,), (state,) = model.encode([window], [StreamState()])
    assert (None if state.memory is None else state.memory.shape[1:]) == model.memory_shape(height, width)
    corners = torch.tensor([[-0.5, -0.5], [width - 0.51, height - 0.51], [width / 2, height / 3]])
    assert torch.isfinite(torch.stack(model.decode(cache, corners))).all()


def test_state_of_another_sensor_is_named():
    model = small_model()
    _, (state,) = model.encode(windows_of(0, 1), [StreamState()])
    with pytest.raises(ValueError, match=r"memory is \(48, 3, 4\) but this sensor needs \(48, 2, 2\); reset"):
        model.encode([random_window(70, 70, 10)], [state])


def test_eq_26_by_hand():
    """z = 0.5, s = 2, b = −1: softplus(0) = ln 2."""
    depth = calibrated_depth(torch.tensor([[0.5]]), torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(depth, torch.tensor([[1 / (0.6931472 + 1e-6)]]))


@torch.no_grad()
def test_calibration_is_of_the_mean_cell():
    calibration = randomise(WindowCalibration(4, median_depth_m=5.0))
    level4 = torch.randn(2, 4, 3, 5)
    pooled = level4.mean((2, 3))
    scale = torch.log1p(torch.exp(pooled @ calibration.scale.weight.T + calibration.scale.bias))
    shift = pooled @ calibration.shift.weight.T + calibration.shift.bias
    torch.testing.assert_close(calibration(level4), torch.cat((scale, shift), dim=1))


@torch.no_grad()
def test_dense_and_sparse_are_one_function():
    """At the centre of a cell of L2 the answer is that cell of the coarse map times exp(residual)."""
    model = randomise(small_model(**FORMS["prior"]), scale=0.1)
    (cache,), _ = model.encode(windows_of(0, 1), [StreamState()])
    prior = cache.tensors.prior
    uv_px = cell_centres_px(8, tuple(prior.shape[-2:]))
    residual, _ = model.decoder(cache.tensors.context, uv_px[None])
    depth, _ = model.decode(cache, uv_px)
    torch.testing.assert_close(depth.log(), prior.flatten() + residual[0], rtol=1e-4, atol=1e-4)
    assert prior.std() > 0.05 and residual.std() > 0.05


def test_levels_are_kept_for_training_only():
    model = small_model()
    field = model.encoder.scatter(windows_of(0, 1))
    assert model.phase_a(field)[0].levels == ()
    assert [level.shape[1] for level in model.train().phase_a(field)[0].levels] == [16, 24, 32, 48]


def test_offset_head_is_marked_for_its_learning_rate():
    model = small_model()
    slow = model.slow_parameters()
    names = [name for name, p in model.named_parameters() if any(p is one for one in slow)]
    assert names and all("b4.offset" in name for name in names)
    assert all(not parameter.any() for parameter in slow)
    assert build_model("eventspd_lite").slow_parameters() == []


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_bfloat16_agrees_with_float32(form):
    """Median relative difference of depth ≤ 1e-2 and 99th percentile ≤ 5e-2, the routed set injected."""
    model = randomise(small_model(**FORMS[form]), scale=0.03)
    uv_px, window = keypoints(500), seen_by(model, 0, 1)
    (reference,), _ = model.encode(window, [StreamState()])
    cells = reference.tensors.context.cells_hw[-1]
    routed = torch.randint(0, cells[0] * cells[1], (1, 500, model.config.decoder.anchor_count(cells[0] * cells[1])))
    depths = []
    for model.in_bfloat16 in (False, True):
        (cache,), (state,) = model.encode(window, [StreamState()])
        assert state.memory is None or state.memory.dtype == torch.float32
        with model.precision():
            z, _ = model.decoder(cache.tensors.context, uv_px[None], routed=routed)
            depths.append(model.depth(z, cache.tensors, uv_px[None]))
        assert depths[-1].dtype == torch.float32
    error = (depths[1] / depths[0] - 1).abs()
    assert 0 < error.median() <= 1e-2
    assert error.quantile(0.99) <= 5e-2


def compile_and_compare(model, backend: str) -> None:
    field = model.encoder.scatter(seen_by(model, 0, 1))
    shape, uv_px = model.memory_shape(HEIGHT, WIDTH), keypoints(40)[None]
    memory = None if shape is None else torch.randn(1, *shape)
    with torch.no_grad():
        tensors, state = model.phase_a(field, memory)
        compiled_tensors, compiled_state = torch.compile(model.phase_a, fullgraph=True, backend=backend)(field, memory)
        torch.testing.assert_close(compiled_state, state, rtol=1e-4, atol=1e-5)
        expected = torch.stack(model.phase_b(tensors, uv_px))
        decoded = torch.compile(model.phase_b, fullgraph=True, backend=backend)(compiled_tensors, uv_px)
        torch.testing.assert_close(torch.stack(decoded), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["inverse", "prior", "v9", "image"])
def test_encode_and_decode_are_one_graph_each(form):
    compile_and_compare(randomise(small_model(**FORMS[form]), scale=0.1), "aot_eager")


@pytest.mark.slow
def test_compiled_code_gives_the_same_numbers():
    compile_and_compare(randomise(small_model(), scale=0.1), "inductor")


def test_nothing_after_the_scatter_depends_on_the_events():
    """No operator of Phase A or B has an output shape that depends on values: what CUDA graphs need."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = small_model()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        tensors, _ = model.phase_a(torch.empty(2, 8, HEIGHT, WIDTH), None)
        depth, _ = model.phase_b(tensors, torch.empty(2, 30, 2))
    assert tuple(depth.shape) == (2, 30)


def test_configs_that_do_not_fit_together_are_named():
    config = small_config()
    with pytest.raises(
        ValueError, match=r"decoder.strides=\(4, 8, 16, 32\): encoder and pyramid make .*\(2, 4, 8, 16\)"
    ):
        build_model(replace(config, pyramid=replace(config.pyramid, stem_stride=1)))
    with pytest.raises(ValueError, match=r"decoder.channels=.*the pyramid has \(16, 24, 32, 52\)"):
        build_model(replace(config, pyramid=replace(config.pyramid, channels=(16, 24, 32, 52))))
    with pytest.raises(ValueError, match="needs pyramid and decoder"):
        build_model(replace(config, decoder=None))
    with pytest.raises(ValueError, match=r"head\.prior=True: a residual to a coarse map needs"):
        HeadConfig(parametrization="inverse", prior=True)


def test_lite_is_of_its_size():
    model = build_model(preset_config("eventspd_lite"))
    count = sum(p.numel() for p in model.parameters()) - model.encoder.grids.table.numel()
    assert 500_000 <= count <= 1_300_000


@pytest.mark.parametrize("form", ["inverse", "prior"])
def test_without_memory_every_window_stands_alone(form):
    config = small_config(**FORMS[form])
    model = randomise(build_model(replace(config, pyramid=replace(config.pyramid, memory=False))), scale=0.1)
    assert model.memory_shape(HEIGHT, WIDTH) is None and not any("memory" in name for name in model.state_dict())
    first, second = windows_of(0, 2)
    with torch.no_grad():
        (alone,), (state,) = model.encode([second], [StreamState()])
        _, states = model.encode([first], [StreamState()])
        (after,), _ = model.encode([second], states)
        assert state.memory is None
        torch.testing.assert_close(answers(model, after), answers(model, alone), rtol=0, atol=0)
        fields = torch.stack([model.encoder.scatter([window]) for window in (first, second)])
        unrolled = model.phase_b(model.unroll(fields), keypoints(30)[None])
        torch.testing.assert_close(torch.stack(unrolled, dim=-1)[0], answers(model, alone))
        model.in_bfloat16 = True
        (cache,), _ = model.encode([second], [StreamState()])
        assert answers(model, cache).isfinite().all() and cache.tensors.context.keys.dtype == torch.bfloat16


def test_map_tensors_leaves_the_rest_alone():
    (cache,), _ = small_model().encode(windows_of(0, 1), [StreamState()])
    doubled = map_tensors(lambda tensor: 2 * tensor, cache.tensors)
    assert doubled.context.cells_hw == cache.tensors.context.cells_hw
    torch.testing.assert_close(doubled.context.fine[0], 2 * cache.tensors.context.fine[0])
    assert doubled.prior is None
