"""Configs become typed objects, or a ConfigError of one sentence; every type of a field is covered."""

import copy
import dataclasses
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType

import ml_collections
import pydantic
import pytest
from conftest import ROOT, small_config

import dynamics
from dynamics.config import build, choose
from dynamics.files import module_of

Rate = NewType("Rate", float)
Positive = Annotated[float, pydantic.Field(gt=0)]


@dataclasses.dataclass(frozen=True)
class Schedule:
    start: float
    stop: float = 1.0


def field(hint, value):
    """The value of a field of this type after build()."""
    cls = dataclasses.make_dataclass("Cls", [("x", hint)])
    return build(cls, {"x": value}, "part.").x


@pytest.mark.parametrize(
    ("hint", "value", "held"),
    [
        (float, 3, 3.0),
        (int, 3, 3),
        (bool, True, True),
        (float | None, None, None),
        (float | None, 2, 2.0),
        (Any, [1, "a"], [1, "a"]),
        (Rate, 2, 2.0),
        (Literal["a", 1], 1, 1),
        (Sequence[float], [1, 2], (1.0, 2.0)),
        (Sequence[float], (), ()),
        (list[float], (1, 2), [1.0, 2.0]),
        (tuple[float, ...], [1, 2], (1.0, 2.0)),
        (tuple[int, int], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[()], [], ()),
        (tuple, [1, "a"], (1, "a")),
        (frozenset[str], ["a", "a"], frozenset("a")),
        (tuple[tuple[str, ...], ...], [["a"], []], (("a",), ())),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dict[str, float], ml_collections.ConfigDict({"a": 1}), {"a": 1.0}),
        (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
        (dict, {"a": 1}, {"a": 1}),
        (Positive, 1, 1.0),
        (Annotated[list[int], "counts"], (1,), [1]),
        (Schedule, {"start": 1}, Schedule(1.0)),
        (Schedule | None, None, None),
    ],
)
def test_types(hint, value, held):
    converted = field(hint, value)
    assert converted == held and type(converted) is type(held)
    if isinstance(held, (tuple, list)):
        assert [type(item) for item in converted] == [type(item) for item in held]


@pytest.mark.parametrize(
    ("hint", "value", "sentence"),
    [
        (int, True, "part.x = True: must be an integer"),
        (int, 1.0, "part.x = 1.0: must be an integer"),
        (float, True, "part.x = True: must be a finite number"),
        (float, math.nan, "part.x = nan: must be a finite number"),
        (float, 10**400, "must fit into 64 bits"),
        (int, 2**63, "part.x = 9223372036854775808: must fit into 64 bits"),
        (float | None, "a", "part.x = 'a': must be a finite number"),
        (bool, 1, "part.x = 1: must be True or False"),
        (str, 1, "part.x = 1: must be a text"),
        (Rate, "a", "must be a finite number"),
        (Literal["a", "b"], "c", "part.x = 'c': must be 'a' or 'b'"),
        (Literal["auto"] | float, "a", "must be 'auto' or a finite number"),
        (Sequence[float], [1.0] * 50 + [math.nan], "part.x[50] = nan: must be a finite number"),
        (Sequence[str], "abc", "part.x = 'abc': must be a list"),
        (tuple[int, int], [1], "part.x[1] = [1]: is missing"),
        (tuple[tuple[str, ...], ...], [["a"], [1]], "part.x[1][0] = 1: must be a text"),
        (dict[str, float], {"a": math.inf}, "part.x.a = inf: must be a finite number"),
        (dict[str, float], [1.0], "must be a group of keys"),
        (Positive, -1, "part.x = -1: must be greater than 0"),
        (Schedule, 3, "part.x = 3: must be a group of keys"),
        (Schedule, {"start": "a"}, "part.x.start = 'a': must be a finite number"),
        (float, b"x", "part.x = b'x': must be a number, a text, True, False, None, a list or a group of keys"),
    ],
)
def test_sentences(hint, value, sentence):
    with pytest.raises(dynamics.ConfigError, match=re.escape(sentence)):
        field(hint, value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "part.start = None: is missing"),
        (3, "part = 3: must be a group of keys"),
        ({"start": 1.0, 3: 1}, "part.3 = 1: the key 3 must be a text"),
    ],
)
def test_groups(values, sentence):
    with pytest.raises(dynamics.ConfigError, match=re.escape(sentence)):
        build(Schedule, values, "part.")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("laws.gd", 3, "laws.gd = 3: must be a group of keys, its name one of 'flow', "),
        ("laws.gd", {"name": "gd", 3: 1}, "laws.gd.3 = 1: the key 3 must be a text"),
        ("laws.gd", {"name": ["gd"]}, "laws.gd.name = ['gd']: must be one of 'flow', "),
        ("laws", {3: {"name": "flow"}}, "laws.3 = {'name': 'flow'}: the key 3 must be a text"),
        ("laws.gd", {"name": "gd", "learning_rate": 1e-300}, "times.stop = 10.0: must be less than 2^53 steps"),
        ("times.count", 2_000_000, "times.count = 2000000: must be 2 to 1000000"),
        ("laws", 3, "laws = 3: must be a group of keys"),
        ("task", "bag", "task = 'bag': must be a group of keys"),
        ("regulariser", [1], "regulariser = [1]: must be a group of keys"),
    ],
)
def test_parts_of_an_experiment(key, value, sentence):
    config = small_config()
    *groups, last = key.split(".")
    node = config[groups[0]] if groups else config
    node[last] = value
    with pytest.raises(dynamics.ConfigError, match=re.escape(sentence)):
        dynamics.Experiment.from_config(config)


def test_a_part_of_a_users_own_types():
    """A law with a schedule and a table, named in a config and looked at in a registry of the user."""

    @dataclasses.dataclass(frozen=True)
    class Scheduled:
        rates: Sequence[float]
        table: dict[str, float] = dataclasses.field(default_factory=dict)

    law = choose({"scheduled": Scheduled}, {"name": "scheduled", "rates": [1, 0.5], "table": {"a": 1}}, "laws.mine.")
    assert law == Scheduled((1.0, 0.5), {"a": 1.0})


def test_annotations_that_are_texts(tmp_path):
    """A config file may postpone the evaluation of its annotations."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from __future__ import annotations\nimport dataclasses\nfrom collections.abc import Sequence\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine:\n    rates: Sequence[float]\n"
    )
    assert build(module_of(file).Mine, {"rates": [1]}, "").rates == (1.0,)


ODD = (
    *(None, True, 0, -1, 3, 2**70, 10**400, 0.5, -0.5, 1e-300, 1e300, math.nan, math.inf, "", "nosuch", "gram", "gd"),
    *(
        [],
        [1],
        [[1.0]],
        ["loss", 1],
        ("loss", "loss"),
        [math.nan],
        {},
        {"name": "gd"},
        {3: 4},
        {"a": {"b": None}},
        b"x",
    ),
)


def mutated(config, generator):
    """A config with one to three of its keys changed, added, removed or replaced by those of another group."""
    config = copy.deepcopy(config)
    groups = [config, *(value for value in config.values() if isinstance(value, dict)), *config["laws"].values()]
    for _ in range(generator.choice((1, 1, 2, 3))):
        group = generator.choice(groups)
        key = generator.choice(sorted(group, key=str)) if group else "new"
        match generator.choice(("change", "change", "change", "add", "remove")):
            case "change":
                group[key] = copy.deepcopy(generator.choice(ODD))
            case "add":
                group[generator.choice(("new", "name", "parent", 3, None, ("a",), ""))] = generator.choice(ODD)
            case "remove":
                group.pop(key, None)
    return config


def refusal(config):
    """The message of the ConfigError that a config raises, or an empty text."""
    try:
        dynamics.Experiment.from_config(config)
    except dynamics.ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("file", ["cooccurrence/figure1.py", "qk_eigenspectrum/training.py"])
def test_three_hundred_mutations(file):
    """A config with odd values is an experiment, or a ConfigError of one line that names the key."""
    config = module_of(ROOT / "configs" / file).get_config("smoke").to_dict()
    messages = [refusal(mutated(config, random.Random(seed))) for seed in range(300)]
    assert not any("\n" in message for message in messages)
    assert messages.count("") > 10 and sum(" = " in message for message in messages) > 150
