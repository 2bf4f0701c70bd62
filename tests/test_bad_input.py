"""Bad input of every kind is refused in one line that names the key, before anything is allocated or written."""

import copy

import ml_collections
import pytest
from conftest import small_config
from ml_collections import config_dict

import dynamics
from dynamics.config import ConfigError, check_plain, plain
from dynamics.sweeps.sweep import Sweep
from experiments.reliability.configs import judged, try_out


def test_hundreds_of_random_configs(tmp_path):
    """The full form, 10^4 of them and twenty that are executed, is python -m experiments.reliability.configs."""
    counts = try_out(count=150, seed=1, run=0, folder=tmp_path)
    assert counts.failures == 0, counts.faults
    assert counts.kinds.total() >= 150 and len(counts.kinds) == 5 and counts.outcomes["accepted"] >= 5


def test_the_same_seed_gives_the_same_cases(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (try_out(count=20, seed=3, run=0, folder=tmp_path / name) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("dynamics: seed = -1: must not be negative\n", "refused"),
        ("dynamics: seed = -1:\nmust not be negative\n", "more than a line"),
        ("dynamics: '<' not supported between instances of 'str' and 'int'\n", "no key, value"),
        ("Traceback (most recent call last):\n", "no key, value"),
    ],
)
def test_the_harness_can_fail(message, outcome):
    assert judged(message).startswith(outcome)


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


ODD_VALUES = {
    "a list in a list in a list": (
        nested(5000),
        "x" + 20 * "[0]" + " = a value of the type list: must be nested at most 20 deep",
    ),
    "thousands of digits": (10**5000, "x = a value of the type int: must fit into 64 bits"),
    "control characters": ("a\nb", r"x = 'a\nb': must be a text of one line without control characters"),
    "half a surrogate": ("\ud800", r"x = '\ud800': must be a text of one line"),
    "nan in a list": ([0.0, [float("nan")]], "x[1][0] = nan: must be a finite number"),
    "a set": ({1}, "x = {1}: must be a number, a text, True, False, None, a list or a group of keys"),
    "an object": (len, "x = <built-in function len>: must be a number, a text, "),
    "a key": ({"a": {None: 1}}, "x.a.None = 1: the key None must be a text"),
}


@pytest.mark.parametrize(("value", "message"), ODD_VALUES.values(), ids=ODD_VALUES)
def test_what_json_cannot_hold(value, message):
    with pytest.raises(ConfigError) as refused:
        check_plain({"x": value})
    assert str(refused.value).startswith(message) and str(refused.value).isprintable()


def test_keys_in_a_message_are_on_one_line():
    with pytest.raises(ConfigError) as refused:
        dynamics.Experiment.from_config({**small_config(), "a\x1b[31m\nb" + "x" * 1000: 1})
    message = str(refused.value)
    assert message.startswith(r"a\x1b[31m\nbxxx") and message.isprintable() and len(message) < 1000


def test_a_value_that_cannot_be_computed():
    config = ml_collections.ConfigDict({"a": 0, "b": config_dict.required_placeholder(int)})
    with pytest.raises(ConfigError, match="b = None: must follow from the values that it refers to"):
        plain(config)
    config = ml_collections.ConfigDict({"a": 2.0})
    config.b = 1.0 / config.get_ref("a")
    config.a = 0.0
    with pytest.raises(ConfigError, match=r"b = None: must follow from .*division by zero"):
        plain(config)
    mixed = ml_collections.ConfigDict({3: 1, "a": 2})
    with pytest.raises(ConfigError, match="must have texts for its keys"):
        plain(mixed)


@pytest.mark.parametrize("override", [{3: 1}, {"seed": {1}}, {"seed": 10**400}, {"": 1}, {"seed": nested(5000)}])
def test_odd_overrides(override):
    config = dynamics.base()
    with pytest.raises(ConfigError):
        Sweep.of("x", config, [override])


# Legal values that no machine can serve are refused before anything is allocated.
HOSTILE = {
    "samples": ({"task.samples": 6 * 10**12}, "task.samples = 6000000000000: must be at most 10000000"),
    "vocabulary": ({"task.vocabulary": 10**12}, "task.vocabulary = 1000000000000: must be at most 1000000"),
    "length": ({"task.length": 10**12}, "task.length = 1000000000000: must be at most 1000000"),
    "neurons": ({"model.neurons": 10**12}, "model.neurons = 1000000000000: must be below 2**31"),
    "heads": ({"model.heads": 10**7}, "model.heads = 10000000: must be at most 1024"),
    "memory": (
        {"model.width": 10**6, "task.vocabulary": 10**6},
        "gigabytes of a start = 24000.0: must be at most 1000.0",
    ),
    "record": (
        {"times.count": 10**6, "times.spacing": "linear", "times.stop": 1e8, "words": 10**4, "task.vocabulary": 10**4},
        "gigabytes of the values of the probe 'scores' = 800000.0: must be at most 1000.0",
    ),
    "steps": ({"times.stop": 1e10}, "laws.gd.learning_rate = 0.05: must reach the last saved time, t = 1e+10, in at"),
    "draw": ({"draw": 2**32}, "draw = 4294967296: must be 0 to 2**32 - 1"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("changes", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_sizes(changes, message):
    config = copy.deepcopy(small_config(**changes))
    with pytest.raises(ConfigError) as refused:
        dynamics.Experiment.from_config(config)
    assert str(refused.value).startswith(message), str(refused.value)
