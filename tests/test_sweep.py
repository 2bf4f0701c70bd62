"""Sweeps as data: lists of overrides, ids, and the grid that members lie on."""

import itertools
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import dynamics
from dynamics.config import ConfigError
from dynamics.probes import PROBES
from dynamics.probes.probe import Probe
from dynamics.sweeps.members import free_keys
from dynamics.sweeps.overrides import chain, choice, grid, log_uniform, own_seeds, random, seeds, uniform, zipped
from dynamics.sweeps.paths import plan
from dynamics.sweeps.sweep import Sweep

MOST_CALLS = 400  # 325 when this was written; before, 701


def config():
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.init = {"name": "normal", "std": 0.3, "std_of": {"W": 0.3}}
    config.init.std = 1.0 / config.model.get_ref("width").to_float()
    config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}}
    return config


def sweep(*overrides, name="small"):
    return Sweep.of(name, config(), list(overrides))


def test_lists():
    pair = {"a": (1, 2), "b": (3, 4)}
    assert grid(pair) == [{"a": a, "b": b} for a, b in itertools.product((1, 2), (3, 4))]
    assert zipped(pair) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert grid(zipped(pair), seeds(2, first=5))[1] == {"a": 1, "b": 3, "seed": 6}
    assert chain(grid({"a": (1,)}), seeds(1)) == [{"a": 1}, {"seed": 0}]


def test_random_is_a_function_of_its_seed_and_extends():
    axes = {"x": log_uniform(1e-4, 1e-1), "y": uniform(2, 3), "z": choice(("p", "q"))}
    few, many = random(axes, 5, seed=1), random(axes, 400, seed=1)
    assert few == many[:5] and few != random(axes, 5, seed=2)
    logs = np.log10([member["x"] for member in many])
    # Uniform on (-4, -1): mean -2.5, standard deviation √(9/12); 5 standard errors.
    assert abs(logs.mean() + 2.5) < 5 * np.sqrt(9 / 12 / 400) and logs.min() >= -4 and logs.max() < -1
    assert all(2 <= member["y"] < 3 for member in many) and {member["z"] for member in many} == {"p", "q"}


def test_a_member_is_its_resolved_config():
    first, second = sweep({"model.width": 4}, {"model.width": 16}).members
    assert sweep({"model.width": 4}).members[0].id == first.id != second.id
    # The standard deviation 1/m follows the width.
    narrow = sweep({"model.width": 4})
    assert narrow.config_of(narrow.members[0])["init"]["std"] == 0.25
    relabelled = config()
    relabelled.figures, relabelled.wandb.group, relabelled.launch.jobs = "x", "y", 7
    assert Sweep.of("other", relabelled, [{"model.width": 4}]).members[0].id == first.id
    # 3 and 3.0 are the same learning rate.
    assert sweep({"laws.gd.learning_rate": 3}).members[0].id == sweep({"laws.gd.learning_rate": 3.0}).members[0].id


def test_survives_json():
    one = sweep(*grid({"model.width": (4, 16)}, seeds(2)))
    assert Sweep.from_dict(json.loads(json.dumps(one.as_dict()))) == one


def test_axes_of_a_grid():
    axes = sweep(*grid({"model.width": (16, 4)}, seeds(3))).axes
    assert axes.dims == {"model.width": 2, "seed": 3}
    assert axes.labels["model.width"] == ("model.width", [4, 16])  # numbers in order
    assert axes.places[0] == (1, 0) and axes.places[-1] == (0, 2)


def test_axes_of_keys_that_go_together():
    pairs = zipped({"task.length": (4, 5), "task.samples": (12, 18)})
    axes = sweep(*grid(pairs, seeds(3))).axes
    assert axes.dims == {"task.length": 2, "seed": 3}
    assert axes.labels["task.samples"] == ("task.length", [12, 18])


def test_axes_of_a_chain():
    # The default width, 8, is that of members that do not set it.
    axes = sweep(*chain(grid({"model.width": (4,)}, seeds(2)), seeds(2))).axes
    assert axes.dims == {"model.width": 2, "seed": 2} and sorted(axes.places) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_axes_of_seeds_of_ones_own():
    """Starts that are independent of one another, numbered within their width."""
    members = own_seeds(grid({"model.width": (16, 4)}, [{}] * 3), first=7)
    assert [member["seed"] for member in members] == [7, 8, 9, 10, 11, 12]
    axes = sweep(*members).axes
    assert axes.dims == {"model.width": 2, "seed": 3}
    assert axes.labels == {"model.width": ("model.width", [4, 16]), "seed": ("seed", [0, 1, 2])}
    assert axes.places == [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1), (0, 2)]


def test_seeds_that_differ_with_another_key_keep_their_values():
    axes = sweep(*zipped({"model.width": (4, 16), "seed": (3, 5)})).axes
    assert axes.dims == {"model.width": 2} and axes.labels["seed"] == ("model.width", [3, 5])


def test_axes_where_a_grid_would_be_empty():
    scattered = [{"model.width": a, "model.neurons": b} for a, b in ((4, 4), (4, 5), (5, 6), (6, 6), (7, 8), (8, 8))]
    axes = sweep(*scattered).axes
    assert list(axes.dims) == ["member"] and axes.labels["model.width"] == ("member", [4, 4, 5, 6, 7, 8])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (sweep, "must have at least one member"),
        (lambda: sweep({"model.widht": 4}), "model.widht = 4: unknown key; did you mean 'width'?"),
        (lambda: sweep({"model.width.x": 4}), "model.width is a value, not a group of keys"),
        (lambda: sweep({"model": 4}), "model = 4: is a group of keys"),
        (lambda: sweep({"model.width": 4.5}), "model.width = 4.5: must be of type int"),
        (lambda: sweep({"laws.gd.learning_rate": "fast"}), "must be of type float"),
        (lambda: sweep({"seed": 1}, {"seed": 1}), "is the same member as {'seed': 1}"),
        (lambda: sweep({"wandb.group": "a"}, {"wandb.group": "b"}), "is the same member"),
        (lambda: grid({"seed": (1, 2)}, seeds(2)), "a key must be in one factor of a grid only"),
        (lambda: zipped({"a": (1,), "b": (1, 2)}), "equally many values"),
        (lambda: log_uniform(0.0, 1.0), "0 < low < high"),
    ],
)
def test_mistakes(build, message):
    with pytest.raises(ConfigError) as error:
        build()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_of_three_hundred_members_ids_and_configs_differ():
    random_rates = sweep(*random({"laws.gd.learning_rate": log_uniform(1e-4, 1e-1)}, 300))
    assert len({member.id for member in random_rates.members}) == 300
    for member in random_rates.members:
        rate = random_rates.config_of(member)["laws"]["gd"]["learning_rate"]
        assert rate == member.overrides["laws.gd.learning_rate"]


@pytest.mark.parametrize("follows", [False, True])
def test_members_together_are_members_alone(follows):
    """Those that share a copy of the config, or what was checked of it, are as if they were alone."""
    together = config()
    if follows:  # a key follows the seed
        together.words = together.get_ref("seed") + 3
    overrides = [
        {**width, **rest}
        for width in ({}, {"model.width": 4}, {"laws.gd.name": "adam"}, {"init.std": 0.5})
        for rest in (
            {"seed": 1},
            {"seed": 2},
            {"laws.gd.learning_rate": 0.5},
            {"seed": 2, "probes": ("margin",)},
            {"task.samples": 24},
        )
    ]
    swept = Sweep.of("together", together, overrides)
    planned = plan({"": swept})
    for member, override in zip(swept.members, overrides, strict=True):
        alone = Sweep.of("alone", together, [override])
        assert alone.members == [member]
        assert alone.config_of(member) == swept.config_of(member)
        assert plan({"": alone}).members[member.id] == planned.members[member.id]
        assert swept.config_of(member)["words"] == (override.get("seed", 0) + 3 if follows else 16)
    assert not planned.refused


@pytest.fixture
def of_numbers():
    """Two laws, whose steps, tolerances and starts are numbers; nothing follows from them."""
    config_ = config()
    config_.init = {"name": "normal", "std": 0.3, "std_of": {"W": 0.3}}
    config_.laws.flow = {"name": "flow", "rtol": 1e-5}
    config_.laws.gd.learning_rate = 0.5
    config_.times.update(stop=20.0, count=4)
    return config_


def by_itself(config, override):
    """A sweep of one member, and its plan; of a plan that is refused, the reason."""
    alone = Sweep.of("alone", config, [override])
    try:
        return alone, plan({"": alone})
    except ConfigError as error:
        return alone, str(error).partition(": ")[2].removeprefix(f"{override}: ").rpartition("}: ")[2]


def test_members_that_differ_in_numbers_are_checked_once_and_are_members_alone(of_numbers, monkeypatch):
    overrides = [
        {"seed": seed, **numbers}
        for seed in (1, 2)
        for numbers in (
            *({"laws.flow.rtol": rtol} for rtol in (1e-6, 1e-7, 1e-8)),
            *({"laws.gd.learning_rate": rate} for rate in (1, 0.25, 0.05)),
            *({"init.std": std, "init.std_of.W": 2 * std} for std in (0.1, 0.2)),
            *({"laws.flow.max_steps": count} for count in (1000, 2000)),
        )
    ]
    swept = Sweep.of("numbers", of_numbers, overrides)
    checked = []
    from_config = dynamics.Experiment.from_config
    monkeypatch.setattr(
        dynamics.Experiment, "from_config", lambda config: checked.append(config) or from_config(config)
    )
    planned = plan({"": swept})
    # Each set of keys once, and the number of steps, on which a program depends, every time that it changes.
    assert len(checked) == 4 + 3
    monkeypatch.undo()
    together = {key: path for group in planned.groups for key, path in group.paths.items()}
    groups = {key: i for i, group in enumerate(planned.groups) for key in group.paths}
    for member, override in zip(swept.members, overrides, strict=True):
        alone, plan_alone = by_itself(of_numbers, override)
        assert alone.members == [member]
        assert plan_alone.members[member.id] == planned.members[member.id]
        for group in plan_alone.groups:
            ((key, path),) = group.paths.items()
            shared = together[key]
            assert shared.form == path.form and shared.law == path.law
            assert repr(shared.experiment.laws[path.law]) == repr(path.experiment.laws[path.law])
            assert np.array_equal(shared.experiment.times, path.experiment.times)
            assert shared.experiment.start_inputs(path.law) == path.experiment.start_inputs(path.law)
            assert {together[other].form for other, i in groups.items() if i == groups[key]} == {path.form}
    assert not planned.refused and len({path.form for path in together.values()}) == len(planned.groups)


def test_a_member_that_differs_in_numbers_costs_few_calls(of_numbers):
    """The calls of this library's functions and of those that make its laws, for each of ten thousand members."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        of_file = frame.f_code.co_filename
        calls += event == "call" and ("equinox" in of_file or dynamics.__path__[0] in of_file)

    def counted(members):
        nonlocal calls
        overrides = [{"seed": seed, "laws.gd.learning_rate": 0.25 / (seed + 1)} for seed in range(members)]
        calls = 0
        sys.setprofile(count)
        try:
            plan({"": Sweep.of("numbers", of_numbers, overrides)})
        finally:
            sys.setprofile(None)
        return calls

    counted(2)
    assert (counted(40) - counted(20)) / 20 < MOST_CALLS


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"laws.flow.rtol": 1e-6}, {"laws.flow.rtol": -1.0}),
        ({"seed": 1, "laws.flow.rtol": 1e-6}, {"seed": -2, "laws.flow.rtol": -1.0}),
        ({"seed": 1, "init.std": 0.1}, {"seed": -2, "init.std": 0.1}),
        ({"init.std": 0.1}, {"init.std": -0.1}),
        ({"init.std": 0.1, "laws.flow.rtol": 1e-6}, {"init.std": -0.1, "laws.flow.rtol": -1.0}),
        ({"laws.gd.learning_rate": 0.25}, {"laws.gd.learning_rate": 50.0}),
        ({"certify": True, "laws.flow.rtol": 1e-6}, {"certify": True, "laws.flow.rtol": 1e-12}),
    ],
)
def test_a_number_that_is_not_allowed_is_refused_as_alone(of_numbers, good, bad):
    swept = Sweep.of("numbers", of_numbers, [good, bad])
    planned = plan({"": swept})
    _, reason = by_itself(of_numbers, bad)
    assert isinstance(reason, str) and list(planned.refused) == [swept.members[1].id]
    assert planned.refused[swept.members[1].id].endswith(reason)


def test_a_number_on_which_the_randomness_of_a_law_depends(of_numbers, monkeypatch):
    """A law that is random has a draw and no large probes: its experiment is checked as a whole."""
    monkeypatch.setattr(dynamics.GradientDescent, "is_random", lambda law, _: law.learning_rate < 0.3)
    of_numbers.draw = 2
    overrides = [{"laws.gd.learning_rate": rate} for rate in (0.5, 0.25, 0.125)]
    swept = Sweep.of("numbers", of_numbers, overrides)
    planned = plan({"": swept})
    for member, override in zip(swept.members, overrides, strict=True):
        assert by_itself(of_numbers, override)[1].members[member.id] == planned.members[member.id]


def test_a_name_that_a_member_sets_counts_with_its_code(monkeypatch):
    """The member's id is that of a config which names the same code itself."""
    monkeypatch.setitem(PROBES, "mine", Probe("mine", (), lambda params, view: jnp.zeros(())))
    itself = config()
    itself.probes = ("mine",)
    assert sweep({"probes": ("mine",)}).members[0].id == Sweep.of("itself", itself, [{}]).members[0].id


def test_the_keys_from_which_others_follow():
    shared = config()
    shared.checkpoints = shared.get_ref("words")  # one value with two names
    shared.laws.gd.learning_rate = shared.init.get_ref("std") * 2
    keys = free_keys(shared)
    linked = {"model.width", "init.std", "words", "checkpoints", "laws.gd.name", "task.name", "model.name", "init.name"}
    assert not keys & linked and {"laws.gd.learning_rate", "model.heads", "seed", "step", "loss"} <= keys
    # A member that sets a key that follows from another has its own value, and no other member has.
    swept = Sweep.of("follows", shared, [{"laws.gd.learning_rate": 0.5}, {"model.width": 4}, {"seed": 1}])
    rates = [swept.config_of(member)["laws"]["gd"]["learning_rate"] for member in swept.members]
    assert rates == [0.5, 0.5, 0.25] and len({member.id for member in swept.members}) == 3


def test_a_member_with_a_bad_seed_is_refused_and_no_other():
    swept = sweep(*({"seed": seed} for seed in (1, -2, 3)))
    planned = plan({"": swept})
    assert planned.refused == {swept.members[1].id: "seed = -2: must not be negative"}
    assert [len(paths) for paths in planned.members.values()] == [1, 0, 1]


def test_a_part_with_options_can_be_swept():
    transformer = config()
    transformer.model = {"name": "transformer", "width": 4, "heads": 1, "neurons": 0}
    masks = ({"name": "window", "back": 2}, "causal")
    swept = Sweep.of("masks", transformer, grid({"model.mask": masks}))
    assert [swept.config_of(member)["model"]["mask"] for member in swept.members] == list(masks)
    assert Sweep.from_dict(json.loads(json.dumps(swept.as_dict()))) == swept
