"""A user's code is part of the identity of results: changed code is never taken for done work."""

import functools
import importlib
import json
import pathlib
import sys
import types

import numpy as np
import pytest
from conftest import small_config

import dynamics
import dynamics.cli
from dynamics.config import build
from dynamics.files import is_users, module_of
from dynamics.objectives.losses import Loss
from dynamics.probes import PROBES
from dynamics.runs.identity import changed, code, digest
from dynamics.runs.parts import CLASSES, named
from dynamics.studies.evidence import Measured, measure
from dynamics.sweeps import paths
from dynamics.sweeps.launch import Launch, Resources, prepare
from dynamics.sweeps.launchers import Job
from dynamics.sweeps.ledger import Ledger
from dynamics.sweeps.overrides import seeds
from dynamics.sweeps.sweep import Sweep


@pytest.fixture
def registries():
    """The registries, restored after the test."""
    every = [*CLASSES.values(), PROBES]
    before = [dict(registry) for registry in every]
    yield
    for registry, content in zip(every, before, strict=True):
        registry.clear()
        registry.update(content)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """package(files): writes {name: text} into the package `own`, and imports own.parts afresh."""
    monkeypatch.syspath_prepend(tmp_path)
    # Python takes old bytecode for that of a new file of the same size, written in the same second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**files):
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        for name, text in {"__init__": "", **files}.items():
            (folder / f"{name}.py").write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        return importlib.import_module("own.parts")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        del sys.modules[name]


PARTS = '''
"""A module."""
import dataclasses
import math
import numpy as np
import dynamics
{imports}


@dataclasses.dataclass(frozen=True)
class Part:
    """A class."""

    value: float = 1.0

    def __call__(self):
        """A function."""
        {inside}
        return math.pi * np.ones(2)
'''
IMPORTS = {
    "absolute": ("import own.helper", ""),
    "from the package": ("from own import helper", ""),
    "from the module": ("from own.helper import CONSTANT", ""),
    "relative": ("from . import helper", ""),
    "relative, of the module": ("from .helper import CONSTANT", ""),
    "in a function": ("", "from own import helper"),
}


def parts(package, imports="", inside="", **files):
    text = PARTS.format(imports=imports, inside=inside or "pass")
    return code((package(parts=text, **files).Part,))


@pytest.mark.parametrize(("imports", "inside"), IMPORTS.values(), ids=IMPORTS)
def test_what_a_part_imports_counts(package, imports, inside):
    one = parts(package, imports, inside, helper="CONSTANT = 1", other="X = 1")
    assert set(one) == {"own", "own.parts", "own.helper"}
    two = parts(package, imports, inside, helper="CONSTANT = 2", other="X = 1")
    assert changed(one, two) == ["own.helper"] and digest(one) != digest(two)
    assert parts(package, imports, inside, helper="CONSTANT = 1", other="X = 2") == one


def test_what_is_imported_by_what_is_imported_counts(package):
    one = parts(package, "import own.helper", helper="from own import deep", deep="X = 1")
    two = parts(package, "import own.helper", helper="from own import deep", deep="X = 2")
    assert changed(one, two) == ["own.deep"]
    round_trip = parts(package, "import own.helper", helper="import own.parts", deep="X = 1")
    assert set(round_trip) == {"own", "own.parts", "own.helper"}


def test_comments_docstrings_and_layout_do_not_count(package):
    one = parts(package)
    for old, new in (
        ("math.pi * ", "math.pi  *  "),
        ('"""A module."""', '"""Another text."""'),
        ('"""A class."""', "# a comment"),
        ('"""A function."""', ""),
    ):
        assert code((package(parts=PARTS.format(imports="", inside="pass").replace(old, new)).Part,)) == one, old
    for old, new in (("math.pi", "math.e"), ("1.0", "2.0"), ("ones(2)", "ones(3)"), ("value", "number")):
        changed_text = PARTS.format(imports="", inside="pass").replace(old, new)
        assert changed(one, code((package(parts=changed_text).Part,))) == ["own.parts"], old


def test_a_text_that_is_no_docstring_counts(package):
    text = "class Part:\n    def __call__(self):\n        x = 1\n        'one'\n        return 'one'\n"
    one, two = (code((package(parts=t).Part,)) for t in (text, text.replace("return 'one'", "return 'two'")))
    assert changed(one, two) == ["own.parts"]


def test_bases_and_what_functions_hold_count(package):
    base = (
        "class Base:\n    x = {}\n\n\ndef held(y):\n    return lambda params, view: y\n\n\ndef fn(x):\n    return x\n"
    )
    text = "from own import helper\n\n\nclass Part(helper.Base):\n    pass\n"
    one = parts(package, helper=base.format(1))
    of = {}
    for x in (1, 2):
        module = package(parts=text, helper=base.format(x))
        of[x] = code((module.Part,))
    assert changed(of[1], of[2]) == ["own.helper"] and set(one) == {"own", "own.parts"}
    helper = module.helper
    assert "own.helper" in code((type("Made", (helper.Base,), {}),))  # a class of this module, which imports no helper
    assert digest(code((helper.held(1),))) != digest(code((helper.held(2),)))
    assert digest(code((helper.held(1),))) == digest(code((helper.held(1),)))
    assert digest(code((functools.partial(helper.fn, 1),))) != digest(code((functools.partial(helper.fn, 2),)))
    assert digest(code((helper.held(np.ones(2)),))) != digest(code((helper.held(np.zeros(2)),)))
    part = code((module.Part,))
    assert set(code((helper.held(module.Part),))) == set(part)


def test_the_library_and_what_is_installed_are_no_user_s():
    assert code(named(small_config())) == {}
    assert not is_users(np.__file__) and not is_users(json.__file__) and not is_users(paths.__file__)
    assert is_users(__file__) and not is_users("/no/such.py")
    seen = code((test_the_library_and_what_is_installed_are_no_user_s,))
    assert set(seen) == {"conftest", __name__}


CONFIG = '''
import dynamics


@dynamics.probe()
def level(params, view):
    """A number."""
    return FACTOR * params["W"].sum()


FACTOR = 1.0


def get_config(variant=None):
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6}
    config.init.update(name="normal", std=0.3)
    config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}}
    config.times.update(start=0.05, stop=1.0, count=4)
    config.update(words=6, checkpoints=1, probes=("loss", "level"))
    config.wandb.mode = "disabled"
    return config


def get_sweep(variant=None):
    return dynamics.seeds(2)
'''


def test_a_copy_of_a_config_file_is_the_same_code(tmp_path, registries):
    file, copy = tmp_path / "a" / "mine.py", tmp_path / "config.py"
    file.parent.mkdir()
    for path in (file, copy):
        path.write_text(CONFIG)
    one, two = code((module_of(file).level,)), code((module_of(copy, copy_of=file).level,))
    assert list(one) == list(two) == [str(file)] and digest(one) == digest(two)
    other = tmp_path / "mine.py"
    other.write_text(CONFIG.replace("1.0", "2.0"))
    assert digest(code((module_of(other).level,))) != digest(one)
    assert digest(code((module_of(file).level,))) == digest(one)  # two files of one name are two modules


def test_what_get_config_and_get_sweep_say_is_no_code(tmp_path, registries):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    one = digest(code((module_of(file).level,)))
    file.write_text(CONFIG.replace("std=0.3", "std=0.2").replace("seeds(2)", "seeds(3)"))
    assert digest(code((module_of(file).level,))) == one


def test_a_file_that_a_module_executes_counts(tmp_path, package):
    (tmp_path / "beside.py").write_text("def fn(x):\n    return x\n")
    text = "import pathlib\nfrom dynamics.files import module_of\n\n"
    text += f"TINY = module_of(pathlib.Path({str(tmp_path)!r}) / 'beside.py')\n\n\n"
    text += "class Part:\n    def __call__(self):\n        return TINY.fn(1)\n"
    assert str(tmp_path / "beside.py") in code((package(parts=text).Part,))


LAW = """
import dynamics


class Slow(dynamics.GradientDescent):
    factor = {factor}

    def update(self, objective, gradient, params, memory):
        return super().update(objective, gradient, params, memory)


@dynamics.probe()
def level(params, view):
    return params["W"].sum()


dynamics.LAWS["slow"] = Slow
"""


def planned(**changes):
    config = dynamics.base()
    config.update(small_config(checkpoints=1, **{"times.count": 3}))
    config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}, "slow": {"name": "slow", "learning_rate": 0.05}}
    config.probes = ("loss",)
    config.update(changes)
    return paths.plan({"": Sweep.of("own", config, seeds(2))})


def test_a_path_s_id_says_of_which_code_it_is(package, registries):
    package(parts=LAW.format(factor=1))
    one = planned()
    package(parts=LAW.format(factor=2))
    two = planned()
    assert set(one.code) == {"own", "own.parts"} and changed(one.code, two.code) == ["own.parts"]
    assert one.members.keys().isdisjoint(two.members)
    for before, after in zip(one.members.values(), two.members.values(), strict=True):
        assert before["gd"] == after["gd"] and before["slow"] != after["slow"]
    package(parts=LAW.format(factor=1))
    assert planned().members == one.members
    # A probe that is recorded of all laws makes their paths depend on its module.
    with_probe = planned(probes=("loss", "level"))
    package(parts=LAW.format(factor=2))
    for before, after in zip(
        with_probe.members.values(), planned(probes=("loss", "level")).members.values(), strict=True
    ):
        assert before["gd"] != after["gd"]


@pytest.fixture
def swept(tmp_path, registries):
    """swept(text): `dynamics sweep` of a config file with this text; the record."""
    file = tmp_path / "mine.py"

    def run(text):
        file.write_text(text)
        place = [f"--config={file}", f"--workdir={tmp_path}/runs", "--no-report"]
        assert dynamics.cli.main(["dynamics", "sweep", *place]) == 0
        return dynamics.load(tmp_path / "runs" / "mine")

    return run


@pytest.mark.slow
def test_a_sweep_whose_code_has_changed_is_integrated_again(swept, capsys):
    first = swept(CONFIG)["gd"].level.load()
    capsys.readouterr()
    record = swept(CONFIG.replace("A number.", "Another text.") + "# a comment\n")
    assert "has changed" not in capsys.readouterr().out and len(Ledger(record.path).lines()) == 2
    record = swept(CONFIG.replace("FACTOR = 1.0", "FACTOR = 2.0"))
    line = f"the code of {record.path.parents[1] / 'mine.py'} has changed since: 2 of 2 paths are integrated again\n"
    assert line in capsys.readouterr().out and len(Ledger(record.path).lines()) == 4
    np.testing.assert_array_equal(record["gd"].level, 2 * first)
    # Back again: nothing is lost.
    record = swept(CONFIG)
    assert len(Ledger(record.path).lines()) == 4
    np.testing.assert_array_equal(record["gd"].level, first)


def test_a_job_refuses_code_that_has_changed_since_it_was_started(tmp_path, package, registries, monkeypatch):
    monkeypatch.setattr("dynamics.sweeps.launchers.signal.signal", lambda *_: None)
    monkeypatch.setattr("dynamics.sweeps.launchers.work", lambda launch, stays: done.append(launch))
    done: list[Launch] = []
    package(parts=LAW.format(factor=1))
    file = tmp_path / "config.py"
    file.write_text("import own.parts\n")
    plan = planned()
    prepare(tmp_path / "sweep", "sweep", file, plan)
    attempts = {path: 1 for group in plan.groups for path in group.paths}
    job = Job(tmp_path / "sweep", attempts, build(Resources, dynamics.base().launch, "launch."), max_failures=None)
    job()
    assert done[0].attempts == attempts
    package(parts=LAW.format(factor=2))
    with pytest.raises(dynamics.ConfigError, match=r"the code of own\.parts has changed since this job was started"):
        job()
    assert len(done) == 1


def test_what_a_function_measured_is_measured_again_with_other_code(tmp_path, package):
    reports = []

    def measured(value):
        text = f"def measure():\n    return {{'x': ((), {value})}}, {{}}, {{}}\n"
        module = types.ModuleType("claims")
        module.CASES = {"case": Measured({}, package(parts=text).measure)}
        measure(module, tmp_path, reports.append)
        import xarray

        return float(xarray.open_zarr(tmp_path / "measured.zarr" / "case", consolidated=False).x)

    assert [measured(value) for value in (1.0, 1.0, 2.0)] == [1.0, 1.0, 2.0]
    assert reports == ["case: measured", "case: measured again, since the code of own.parts has changed"]


def test_records_name_the_code(tmp_path, swept, registries):
    record = swept(CONFIG)
    file = pathlib.Path(record.path.parents[1] / "mine.py")
    assert list(record.provenance["code"]) == [str(file)]
    run = ["dynamics", "run", f"--config={file}", f"--workdir={tmp_path}/runs", "--name=run"]
    assert dynamics.cli.main(run) == 0
    assert dynamics.load(tmp_path / "runs" / "run").provenance["code"] == record.provenance["code"]


def test_the_code_that_judges_is_named_and_changes_no_path(tmp_path, package, registries):
    package(parts=LAW.format(factor=1))
    judge = package(parts=LAW.format(factor=1), judge="X = 1")
    plan = planned()
    with_judge = plan._replace(judges=code((importlib.import_module("own.judge"),)))
    prepare(tmp_path / "sweep", "claims", pathlib.Path(judge.__file__), with_judge)
    origin = json.loads((tmp_path / "sweep" / "provenance.json").read_text())
    assert set(origin["judges"]) == {"own", "own.judge"} and set(origin["code"]) == {"own", "own.parts"}
    assert with_judge.members == plan.members


def test_only_the_losses_that_a_config_or_its_task_names_count(monkeypatch):
    """A loss that another paper has registered changes no identity; one that is used does."""

    def unused(output, target):
        return (output - target) ** 4

    before = named(small_config())
    monkeypatch.setitem(dynamics.LOSSES, "unused", Loss(unused))
    assert named(small_config()) == before and unused not in before
    assert unused in named(small_config(loss="unused"))
    assert dynamics.LOSSES["logistic"].of_samples in before  # the task's own, which no key of the config names
