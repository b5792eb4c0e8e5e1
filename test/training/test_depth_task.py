from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.models import NARROW_V9
from reference.teachers import write_teacher

from eventspd_ros.datasets.queries import LossMap
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene
from eventspd_ros.training.config import read_config
from eventspd_ros.training.data import Rank
from eventspd_ros.training.depth_task import DepthTask
from eventspd_ros.training.task import StepInputs


@pytest.fixture
def task(write_config):
    return DepthTask(read_config(write_config(data={"windows": 4})))


def first_batch(task):
    return next(iter(task.data.batches(Rank(), 0)))


def split(fields, gradients):
    """Late windows, and the early ones if there are any: as unroll() takes them."""
    return fields[-gradients:], fields[:-gradients] if gradients < len(fields) else None


@pytest.mark.parametrize("gradients", [1, 3, 4])
def test_unrolled_windows_are_encoded_as_one_after_another(task, gradients):
    batch, _ = first_batch(task)
    model = task.model
    fields = task._fields(batch, 0, batch.windows)
    memory = None
    for field in fields:
        tensors, memory = model.phase_a(field, memory)
    together = model.unroll(*split(fields, gradients))
    for one, other in zip(tensors.levels, together.levels, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_features_of_the_last_windows_and_every_step_of_the_memory(task):
    batch, _ = first_batch(task)
    fields = task._fields(batch, 0, batch.windows).detach().requires_grad_()
    for gradients in (1, 2):
        fields.grad = None
        task.model.unroll(*split(fields, gradients)).levels[3].square().sum().backward()
        reached = fields.grad.flatten(1).abs().amax(1) > 0
        assert reached.tolist() == [False] * (4 - gradients) + [True] * gradients

    # The memory's weights see all steps: without the early windows their gradient is another one.
    def candidate_gradient(windows):
        task.zero_grad()
        task.model.unroll(*split(fields.detach()[-windows:], 1)).levels[3].square().sum().backward()
        return torch.cat([p.grad.flatten() for p in task.model.memory.parameters()])

    assert not torch.allclose(candidate_gradient(4), candidate_gradient(1), rtol=0.05)


def test_every_weight_learns(task):
    batch, keys = first_batch(task)
    outcome = task(StepInputs(batch, task.draw(batch, keys), 0.0))
    outcome["loss"].backward()
    silent = [name for name, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not silent
    # Losses are weighted terms of the whole.
    terms = [value for name, value in outcome.items() if name not in ("loss", "seen")]
    torch.testing.assert_close(sum(terms), outcome["loss"].detach())


def test_the_centre_loss_asks_what_lies_around_a_query_alone(write_config):
    """L_ctr learns through B1, the pyramid and the calibration, through no attention; the rest learns otherwise."""
    losses = {"centre": 0.25, "dense_l2": 0.0, "dense_l3": 0.0}
    task = DepthTask(read_config(write_config(preset="eventspd_v9", changes=NARROW_V9, losses=losses)))
    batch, keys = first_batch(task)
    outcome = task(StepInputs(batch, task.draw(batch, keys), 0.0))
    reached = torch.autograd.grad(
        task.centre(task.model, task.unroll(batch), torch.rand(2, 5, 2) * 40).log().sum(),
        [p for _, p in task.named_parameters()],
        allow_unused=True,
    )
    names = {name for (name, _), gradient in zip(task.named_parameters(), reached, strict=True) if gradient is not None}
    assert {"model.calibration.scale.weight", "model.decoder.b1.seed_out.weight", "centre.code.0.weight"} <= names
    assert not [name for name in names if "decoder" in name and "decoder.b1" not in name]
    outcome["loss"].backward()
    assert not [name for name, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    terms = [value for name, value in outcome.items() if name not in ("loss", "seen")]
    torch.testing.assert_close(sum(terms), outcome["loss"].detach())
    assert outcome["centre"] > 0
    assert not [name for name in task.model.state_dict() if "centre" in name], "not shipped"


def test_a_model_on_images_learns_from_them(write_config, tmp_path):
    """Its answers follow the image, not the events; samples without an image teach it nothing."""
    folder = tmp_path / "pictures"
    config = SetConfig(("drive",), 1, 0, 0.1, camera=PinholeCamera.centred(64, 48), images=True)
    for path, scene in config.files(folder).items():
        write_scene(path, scene, config.preset, images=True)
    changes = {name: NARROW_V9[name] for name in ("pyramid", "decoder")} | {"image": {"channels": 16}}
    losses = {"centre": 0.25, "dense_l2": 0.0, "dense_l3": 0.0}
    source = [{"folder": str(folder)}]
    values = write_config(
        preset="rgb_spd", changes=changes, losses=losses, data={"train": source, "validation": source, "windows": 1}
    )
    task = DepthTask(read_config(values))
    batch, keys = first_batch(task)
    assert batch.has_image.all()
    drawn = task.draw(batch, keys)
    outcome = task(StepInputs(batch, drawn, 0.0))
    outcome["loss"].backward()
    assert not [name for name, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    with torch.no_grad():
        before = task.model.eval().phase_b(task.unroll(batch), drawn.uv_px)[0]
        assert torch.equal(before, task.model.phase_b(task.unroll(replace(batch, events=None)), drawn.uv_px)[0])
        other = replace(batch, image=255 - batch.image)
        assert not torch.equal(before, task.model.phase_b(task.unroll(other), drawn.uv_px)[0])
    assert np.isfinite(task.validate(task.data.validation_batches())["score"])
    blind = replace(batch, has_image=torch.tensor([True, False]))
    known = task.draw(blind, keys).depth_m.isfinite()
    assert known[0].any() and not known[1].any()
    with pytest.raises(ValueError, match=r"no sample of simulated/drive.* has an image"):
        task.draw(replace(batch, has_image=torch.tensor([False, False]), image=None), keys)


def test_a_set_without_images_is_named(write_config):
    with pytest.raises(ValueError, match="image: missing; make the set with eventspd simulate --images"):
        DepthTask(read_config(write_config(preset="rgb_spd", changes={})))


def test_the_centre_loss_needs_a_query_decoder(write_config):
    with pytest.raises(ValueError, match=r"losses\.centre: preset 'minimal' has no query decoder"):
        DepthTask(read_config(write_config(preset="minimal", changes={}, losses={"centre": 0.25})))


def test_dense_losses_fade(task):
    batch, keys = first_batch(task)
    drawn = task.draw(batch, keys)
    with torch.no_grad():
        start, end = (task(StepInputs(batch, drawn, progress)) for progress in (0.0, 1.0))
    for name in ("dense_l2", "dense_l3"):
        torch.testing.assert_close(end[name], 0.25 * start[name])
    assert end["silog"] == start["silog"]


def test_pseudo_labels_only_say_what_is_nearer(task):
    """Their queries change L_silog alone, and their scale does not matter."""
    batch, keys = first_batch(task)
    drawn = task.draw(batch, keys)
    depth = drawn.depth_m.clone()
    canonical = depth / batch.metric_per_canonical[:, None] * 1.3
    target = depth / batch.metric_per_canonical[:, None]
    target[:, ::2] = drawn.depth_m[:, ::2] = torch.nan
    losses = []
    for scale in (1.0, 50.0):
        drawn.pseudo_inverse_depth[:] = torch.where(target.isnan(), scale / canonical, torch.nan)
        losses.append(task._error_terms(canonical, target, drawn))
    assert losses[0]["pseudo"].max() < 1e-3  # in proportion to the answers: no error
    torch.testing.assert_close(losses[0]["pseudo"], losses[1]["pseudo"], atol=1e-3, rtol=0)
    drawn.pseudo_inverse_depth[:] = torch.nan
    without = task._error_terms(canonical, target, drawn)
    assert "pseudo" not in without
    for name, value in without.items():
        torch.testing.assert_close(value, losses[0][name])


def test_a_scale_that_nothing_tells_is_learnt_by_the_likelihoods_alone(task):
    """Labels twice as large change no loss of the answers then; σ is held against them as they are."""
    batch, keys = first_batch(task)
    drawn = task.draw(batch, keys)

    def terms(told: bool, factor: float) -> dict:
        labels = replace(drawn, depth_m=drawn.depth_m * factor)
        dense = replace(batch, depth_m=batch.depth_m * factor, scale_told=torch.full_like(batch.scale_told, told))
        return task(StepInputs(dense, labels, 0.0))

    known, twice = terms(True, 1.0), terms(True, 2.0)
    unknown, also_twice = terms(False, 1.0), terms(False, 2.0)
    for name in ("silog", "dense_l2", "dense_l3"):
        assert not torch.isclose(known[name], twice[name], rtol=1e-3)
        torch.testing.assert_close(unknown[name], also_twice[name], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(unknown["nll"], also_twice["nll"], rtol=1e-3)
    torch.testing.assert_close(unknown["nll"], known["nll"])


def test_the_loss_map_follows_and_is_kept(task):
    uv, losses = torch.tensor([[[20.0, 20.0], [60.0, 40.0]]]), torch.tensor([[2.0, torch.nan]])
    task.observe([{"size": (48, 64), "uv_px": uv, "losses": losses}])
    expected = LossMap(48, 64)
    expected.update(uv.numpy(), losses.numpy())
    np.testing.assert_array_equal(task.loss_maps[48, 64].values, expected.values)
    assert expected.values.any()
    other = DepthTask(task.config)
    other.load_extra_state(task.extra_state())
    np.testing.assert_array_equal(other.loss_maps[48, 64].values, expected.values)


def test_validation_of_a_model_that_knows_scores_zero(task, monkeypatch):
    """The real path but for the network: answers are the truth times a factor."""
    for factor, inside in ((1.0, 1.0), (1.5, 0.0)):

        def truth(tensors, uv_px, factor=factor):
            u, v = uv_px[0].long().T
            depth = tensors.depth_m[:, v, u] / tensors.metric_per_canonical[:, None] * factor
            return depth, depth * 0.2

        monkeypatch.setattr(task, "unroll", lambda batch: batch)
        monkeypatch.setattr(task.model, "phase_b", truth)
        found = task.validate(task.data.validation_batches())
        assert found["score"] == pytest.approx(np.log(factor), abs=1e-6)
        assert found["abs_rel"] == pytest.approx(factor - 1, abs=1e-6)
        assert found["within_stddev"] == inside


def test_the_offset_head_and_a_frozen_encoder_learn_apart(write_config):
    task = DepthTask(read_config(write_config(preset="eventspd", changes={}, losses={"nll": 0.1})))
    groups = task.learning_rates(0.1, 0.0)
    assert [share for share, _ in groups] == [1.0, 0.1, 0.0]
    assert {id(p) for p in groups[1][1]} == {id(p) for p in task.model.decoder.b4.offsets.parameters()}
    assert sum(len(parameters) for _, parameters in groups) == len(list(task.parameters()))


def test_the_teacher_is_followed_where_there_are_images(write_config, tmp_path):
    config = SetConfig(("drive",), 1, 0, 0.1, camera=PinholeCamera.centred(64, 48), images=True)
    for path, scene in config.files(tmp_path / "set").items():
        write_scene(path, scene, config.preset, images=True)
    teacher = write_teacher(tmp_path / "teacher")
    losses = {"feature_l3": 0.1, "feature_l4": 0.2, "teacher": str(teacher)}
    source = [{"folder": str(tmp_path / "set")}]
    task = DepthTask(read_config(write_config(losses=losses, data={"train": source, "validation": []})))
    batch, keys = first_batch(task)
    outcome = task(StepInputs(batch, task.draw(batch, keys), 0.0))
    assert 0 < outcome["feature_l3"] < 0.4 and 0 < outcome["feature_l4"] < 0.8
    outcome["loss"].backward()
    assert all(p.grad.abs().sum() > 0 for p in task.features.parameters())
    assert not [name for name in task.state_dict() if "teacher" in name], "frozen and not kept"
    without = replace(batch, has_image=torch.zeros_like(batch.has_image))
    assert task(StepInputs(without, task.draw(batch, keys), 0.0))["feature_l3"] == 0
