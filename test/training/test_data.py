from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros.training.config import RunConfig
from eventspd_ros.training.data import Rank, StepSampler, query_states

STEPS = 12


def steps_of(counts, weights, world, batch, start=0, seed=3, accumulate=1):
    """The keys of each step, of all processes in the order of their ranks."""
    run = RunConfig(seed=seed, batch=batch, accumulate=accumulate)
    by_rank = [StepSampler(counts, weights, run, Rank(rank, world), start) for rank in range(world)]
    parts = zip(*[islice(sampler, (STEPS - start) * accumulate) for sampler in by_rank], strict=True)
    return [[key for keys in lists for key in keys] for lists in parts]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 4, 6]),
    st.integers(0, STEPS - 1),
    st.integers(0, 9),
)
def test_a_step_is_the_same_on_any_number_of_processes_and_after_any_restart(counts, world, start, seed):
    weights = [1.0] * len(counts)
    whole = steps_of(counts, weights, 1, 12, seed=seed)
    assert steps_of(counts, weights, world, 12 // world, start, seed) == whole[start:]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 9))
def test_every_sample_comes_once_an_epoch_and_a_step_has_one_source(counts, seed):
    ends = [sum(counts[: n + 1]) for n in range(len(counts))]
    keys = steps_of(counts, [1.0] * len(counts), 1, 5, seed=seed)
    sources = [{next(n for n, end in enumerate(ends) if index < end) for _, index in step} for step in keys]
    assert all(len(source) == 1 for source in sources)
    seen = [key for step in keys for key in step]
    assert len(set(seen)) == len(seen)
    for number, count in enumerate(counts):
        own = [key for step, source in zip(keys, sources, strict=True) if source == {number} for key in step]
        for epoch in range(len(own) // count):
            assert sorted(index for e, index in own if e == epoch) == list(range(ends[number] - count, ends[number]))


def test_parts_of_a_step_are_the_step():
    parts = steps_of([30], [1.0], 1, 6, accumulate=3)
    whole = steps_of([30], [1.0], 1, 6)
    assert [[key for part in parts[n : n + 3] for key in part] for n in range(0, len(parts), 3)] == whole


def test_a_source_of_weight_zero_is_never_drawn():
    assert all(index < 4 for step in steps_of([4, 100], [1.0, 0.0], 1, 3) for _, index in step)


def test_queries_depend_on_the_sample_alone():
    one, two = (
        states[1].integers(0, 1000, 5).tolist()
        for states in (query_states(0, [(0, 1), (2, 5)]), query_states(0, [(7, 7), (2, 5)]))
    )
    assert one == two
    assert one != query_states(1, [(2, 5)])[0].integers(0, 1000, 5).tolist()


def test_samples_of_several_sizes_in_one_source_are_named(scene_set, tmp_path):
    from eventspd_ros.model.presets import preset_config
    from eventspd_ros.simulation.camera import PinholeCamera
    from eventspd_ros.simulation.dataset_writer import SetConfig
    from eventspd_ros.simulation.scene_file import write_scene
    from eventspd_ros.training.config import DataConfig, Source
    from eventspd_ros.training.data import depth_data

    for path in scene_set.glob("*.h5"):
        (tmp_path / path.name).symlink_to(path)
    other = SetConfig(("drive",), 1, 7, 0.1, camera=PinholeCamera.centred(48, 32))
    for path, scene in other.files(tmp_path).items():
        write_scene(path, scene, other.preset)
    with pytest.raises(ValueError, match="48, 32"):
        depth_data(DataConfig((Source(str(tmp_path)),)), RunConfig(), preset_config("eventspd_lite"))


def test_a_source_has_windows_of_its_own(scene_set):
    from eventspd_ros.model.presets import preset_config
    from eventspd_ros.training.config import DataConfig, Source
    from eventspd_ros.training.data import depth_data

    sources = Source(str(scene_set), windows=2), Source(str(scene_set))
    data = depth_data(DataConfig(sources, sources, windows=4), RunConfig(batch=3), preset_config("eventspd_lite"))
    assert data.counts[0] > data.counts[1] > 0  # fewer windows reach back less far
    seen = {batch.windows for batch in data.validation_batches()}
    first, second = data.train[0, 0], data.train[0, data.counts[0]]
    assert (len(first.window_bounds_ns), len(second.window_bounds_ns)) == (2, 4) and seen == {2, 4}
