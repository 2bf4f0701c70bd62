"""The defaults of parts: the command line and sweeps set them though the config file does not repeat them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NewType

import ml_collections
import pytest
from conftest import ROOT, small_config

import dynamics
import dynamics.cli
from dynamics.cli.modules import config_of
from dynamics.config import build, choose, plain
from dynamics.laws import LAWS
from dynamics.models import MODELS
from dynamics.runs.parts import CLASSES, completed, named
from dynamics.sweeps.overrides import grid
from dynamics.sweeps.sweep import Sweep
from dynamics.tasks import TASKS

Rate = NewType("Rate", float)


@dataclasses.dataclass(frozen=True)
class Schedule:
    start: float = 2


@dataclasses.dataclass(frozen=True)
class Mine:
    needed: int
    rate: float = 1
    named: Rate = Rate(0.5)
    positive: Annotated[float, "positive"] = 1.5
    steps: Sequence[float] = (1, 2)
    pair: tuple[int, str] = (1, "a")
    counts: list[int] = dataclasses.field(default_factory=lambda: [3])
    none: float | None = None
    no_tuple: tuple[float, ...] | None = None
    word: Literal["a", "b"] = "a"
    either: Literal["auto"] | float = "auto"
    weights: dict[str, float] = dataclasses.field(default_factory=lambda: {"a": 1.0})
    schedule: Schedule = Schedule()
    flag: bool = False
    function: Callable = max
    made: int = dataclasses.field(default=7, init=False)


@pytest.fixture
def mine(monkeypatch):
    """A config with a law of this class."""
    monkeypatch.setitem(LAWS, "mine", Mine)
    config = dynamics.base()
    config.laws.law = {"name": "mine", "needed": 3, "rate": 4.0}
    return config


HELD = {
    "name": "mine",
    "needed": 3,
    "rate": 4.0,
    "named": 0.5,
    "positive": 1.5,
    "steps": (1.0, 2.0),
    "pair": (1, "a"),
    "counts": (3,),
    "none": None,
    "no_tuple": None,
    "word": "a",
    "either": "auto",
    "weights": {"a": 1.0},
    "schedule": {"start": 2.0},
    "flag": False,
}


def test_every_kind_of_default(mine):
    completed(mine, {})
    assert mine.laws.law.to_dict() == HELD
    before = build(Mine, {"needed": 3, "rate": 4.0}, "")
    assert build(Mine, {key: value for key, value in plain(mine.laws.law).items() if key != "name"}, "") == before


SET = {
    "rate": ("0.5", 0.5),
    "named": ("2", 2.0),
    "positive": ("2.5", 2.5),
    "steps": ("(3.0, 4.0)", (3.0, 4.0)),
    "counts": ("(1, 2)", (1, 2)),
    "none": ("0.25", 0.25),
    "no_tuple": ("(1.0,)", (1.0,)),
    "word": ("b", "b"),
    "either": ("0.5", 0.5),
    "weights.a": ("3.0", 3.0),
    "schedule.start": ("3.0", 3.0),
    "flag": ("True", True),
}


def written(tmp_path, text):
    file = tmp_path / "mine.py"
    file.write_text("import dynamics\n\n\ndef get_config(variant=None):\n    config = dynamics.base()\n" + text)
    return file


@pytest.mark.parametrize(("key", "text", "held"), [(key, *pair) for key, pair in SET.items()], ids=SET)
def test_a_default_is_set_on_the_command_line(tmp_path, monkeypatch, key, text, held):
    monkeypatch.setitem(LAWS, "mine", Mine)
    file = written(tmp_path, "    config.laws.law = {'name': 'mine', 'needed': 3}\n    return config\n")
    _, config = config_of(dynamics.cli.parsed(["run", f"--config={file}", f"--config.laws.law.{key}={text}"]))
    node = config.laws.law
    for part in key.split("."):
        node = node[part]
    assert node == held and type(node) is type(held)


def test_another_class_on_the_command_line_has_its_own_defaults(tmp_path):
    file = written(tmp_path, "    config.laws.law = {'name': 'adam', 'learning_rate': 0.1}\n    return config\n")
    words = [f"--config={file}", "--config.laws.law.momentum=0.5", "--config.laws.law.name=heavy_ball"]
    _, config = config_of(dynamics.cli.parsed(["run", *words]))
    law = config.laws.law.to_dict()
    assert {"name": "heavy_ball", "learning_rate": 0.1, "momentum": 0.5}.items() <= law.items() and "beta1" not in law
    # What the file says stays, and is refused by a class that has no such field.
    file = written(tmp_path, "    config.laws.law = {'name': 'adam', 'beta1': 0.5}\n    return config\n")
    _, config = config_of(dynamics.cli.parsed(["run", f"--config={file}", "--config.laws.law.name=gd"]))
    law = config.laws.law.to_dict()
    assert {"name": "gd", "beta1": 0.5}.items() <= law.items() and "beta2" not in law


def test_references_follow_and_wrong_groups_stay(mine):
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4}
    config.model = {"name": "one_layer", "width": config.task.get_ref("length"), "neurons": 6}
    config.laws.wrong = 3
    config.laws.unknown = {"name": "nosuch", "x": 1}
    config.laws.no_name = {"x": 1}
    config.laws.law = mine.laws.law
    completed(config, {})
    assert config.task.vocabulary is None and config.task.words == "uniform" and config.model.heads == 1
    config.task.length = 5
    config.task.vocabulary = 9
    assert config.model.width == 5
    with pytest.raises(TypeError):
        config.task.vocabulary = "nine"
    laws = config.laws.to_dict()
    assert laws["wrong"] == 3 and laws["unknown"] == {"name": "nosuch", "x": 1} and laws["no_name"] == {"x": 1}


def test_a_locked_config_is_completed_and_stays_locked(mine):
    mine.lock()
    completed(mine, {})
    assert mine.laws.law.flag is False and mine.is_locked and mine.laws.law.is_locked


def test_the_library_s_parts_are_the_same_with_and_without_their_defaults():
    """No field is filled that the experiment gives: it would be an unknown key."""
    config = ml_collections.ConfigDict(small_config())
    config.laws = {name: {"name": name, "learning_rate": 0.05, "batch_size": 4, "epsilon": 1e-3} for name in LAWS}
    for name, group in config.laws.items():
        fields = {field.name for field in dataclasses.fields(LAWS[name])}
        for key in set(group) - fields - {"name"}:
            del group[key]
    config.probes = ("loss",)
    config.init.std_of = {}
    before = dynamics.Experiment.from_config(config.to_dict())
    completed(config, {})
    assert dynamics.Experiment.from_config(config.to_dict()).laws == before.laws
    for name in ("one_layer", "transformer"):
        if name == "transformer":
            config.task = {"name": "bag", "samples": 12, "length": 4, "vocabulary": 9}
        config.model = {"name": name, "width": 8, "neurons": 6}
        config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}}
        before = dynamics.Experiment.from_config(config.to_dict())
        completed(config, {})
        assert dynamics.Experiment.from_config(config.to_dict()).model == before.model
        assert set(config.model) == {"name", *(f.name for f in dataclasses.fields(MODELS[name]))} - {
            *("vocabulary", "length", "distribution", "dtype", "parent")
        }


def test_a_sweep_over_a_default():
    config = ml_collections.ConfigDict(small_config())
    config.laws = {"flow": {"name": "flow"}}
    sweep = Sweep.of("own", config, grid({"laws.flow.rtol": (1e-6, 1e-8), "task.words": ("uniform", "distinct")}))
    assert [sweep.config_of(member)["laws"]["flow"]["rtol"] for member in sweep.members] == [1e-6] * 2 + [1e-8] * 2
    assert "rtol" not in config.laws.flow  # the config of the caller is as it was
    with pytest.raises(
        dynamics.ConfigError, match=r"unknown key; did you mean 'rtol'\? allowed: atol, max_steps, name"
    ):
        Sweep.of("own", config, grid({"laws.flow.rtl": (1e-6,)}))


def test_a_sweep_over_classes():
    config = ml_collections.ConfigDict(small_config())
    config.laws = {"law": {"name": "flow", "rtol": 1e-6}}
    sweep = Sweep.of("own", config, [{"laws.law.name": name} for name in ("flow", "gram_flow")])
    defaults = {"solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}
    for member, name in zip(sweep.members, ("flow", "gram_flow"), strict=True):
        assert sweep.config_of(member)["laws"]["law"] == {"name": name, **defaults}


def test_defaults_of_the_old_class_give_way(mine, monkeypatch):
    other = dataclasses.make_dataclass("Other", [("needed", int), ("rate", float), ("flag", bool, True)])
    other.__module__ = __name__
    monkeypatch.setitem(LAWS, "other", other)
    sweep = Sweep.of("own", mine, [{}, {"laws.law.name": "other"}])
    own, others = (Sweep.from_dict(sweep.as_dict()).config_of(member)["laws"]["law"] for member in sweep.members)
    assert set(own) == set(HELD)
    assert others == {"name": "other", "needed": 3, "rate": 4.0, "flag": True}
    assert sweep.axes.labels["laws.law.name"][1] == ["mine", "other"]


def test_a_member_that_sets_a_default_is_that_of_a_config_that_says_it():
    config = ml_collections.ConfigDict(small_config())
    del config.model["heads"]
    (implicit,) = Sweep.of("own", config, [{}]).members
    (explicit,) = Sweep.of("own", config, [{"model.heads": 1}]).members
    assert implicit.id == explicit.id
    with pytest.raises(dynamics.ConfigError, match="is the same member as"):
        Sweep.of("own", config, [{}, {"model.heads": 1}])


def test_a_run_shows_the_defaults():
    config = f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke"
    words = ["run", config, "--config.laws.flow.max_steps=77"]
    _, resolved = config_of(dynamics.cli.parsed(words))
    assert plain(resolved)["laws"]["flow"]["max_steps"] == 77 and "heads" in resolved.model


def test_the_parts_that_a_config_names():
    config = small_config()
    parts = named(config)
    assert {TASKS["cooccurrence"], MODELS["one_layer"], LAWS["flow"], LAWS["gd"]} <= set(parts)
    assert LAWS["adam"] not in parts and set(CLASSES) == {"task", "model", "regulariser", "laws"}


def test_a_default_that_the_task_gives_another_value():
    """A completed config has the default of the field; the value of the task counts, and no other one is allowed."""

    @dataclasses.dataclass(frozen=True)
    class Sized:
        dimension: int | None = None
        depth: int = 1

    registry = {"sized": Sized}
    assert choose(registry, {"name": "sized", "dimension": None, "depth": 2}, "model.", dimension=4) == Sized(4, 2)
    with pytest.raises(dynamics.ConfigError, match=r"model.dimension = 3: unknown key"):
        choose(registry, {"name": "sized", "dimension": 3}, "model.", dimension=4)
