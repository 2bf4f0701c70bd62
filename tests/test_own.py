"""A run with a user's own task and own probes, with dimensions of their own; what the protocols promise."""

import argparse
import re
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from conftest import ROOT, small_config

import dynamics
from dynamics.cli.sweeps import launched
from dynamics.models import MODELS, GramModel, Model
from dynamics.probes import PROBES, Probe, coordinates, probe
from dynamics.runs import tracking
from dynamics.sweeps.overrides import seeds
from dynamics.sweeps.paths import plan
from dynamics.sweeps.sweep import Sweep
from dynamics.tasks import TASKS, Batch, Task

TASK_SETTINGS = {
    "cooccurrence": {"samples": 12, "length": 4, "vocabulary": 9},
    "markov": {"samples": 4, "length": 3, "vocabulary": 5},
    "bag": {"samples": 4, "length": 3, "vocabulary": 5},
    "text": {
        "path": str(ROOT / "experiments/qk_eigenspectrum/genesis.txt"),
        "samples": 4,
        "length": 3,
        "vocabulary": 5,
    },
    "trigger_averaging": {"samples": 4, "length": 3, "dimension": 2},
}
MODEL_SETTINGS = {
    "one_layer": {"vocabulary": 9, "width": 4, "neurons": 6, "heads": 2},
    "transformer": {"vocabulary": 9, "length": 4, "width": 4, "heads": 2, "layers": 2, "neurons": 3},
}


@dataclass(frozen=True)
class Weighted(Task):
    """y = sign of the sum of word weights that are drawn with the training set."""

    length: int
    vocabulary: int

    loss: ClassVar[str] = "logistic"
    evaluation: ClassVar[int] = 8
    named_words: ClassVar[int] = 2
    capabilities: ClassVar[frozenset[str]] = frozenset({"signed_targets"})
    dims: ClassVar[dict] = {"inputs": ("position",), "word_weight": ("every_word",), "scale": ()}

    @property
    def sizes(self):
        return {"vocabulary": self.vocabulary, "length": self.length}

    @property
    def word_names(self):
        return tuple("abcdefghijklmnopqrstuvwxyz"[: self.vocabulary])

    @property
    def coordinates(self):
        return {"every_word": list(self.word_names)}

    def sample(self, key, n, source=None):
        tokens = jax.random.randint(key, (n, self.length), 0, self.vocabulary, jnp.int32)
        label = jnp.where(source["word_weight"][tokens].sum(axis=1) > 0, 1, -1)
        return Batch(tokens, label.astype(jnp.int32), source=source)

    def training_set(self, key):
        weight = jax.random.normal(jax.random.fold_in(key, 1), (self.vocabulary,))
        return self.sample(key, self.samples, {"word_weight": weight, "scale": jnp.array(2.0)})


@pytest.fixture
def own():
    """The registries, restored after the test."""
    before = [dict(registry) for registry in (TASKS, PROBES)]
    TASKS["weighted"] = Weighted
    yield
    for registry, content in zip((TASKS, PROBES), before, strict=True):
        registry.clear()
        registry.update(content)


TASK = {"name": "weighted", "samples": 12, "length": 4, "vocabulary": 9}


def config(**changes):
    values = small_config(**{"times.count": 3, "checkpoints": 1, "wandb.mode": "offline", "words": 4})
    values["task"] = TASK
    values["laws"] = {"gd": {"name": "gd", "learning_rate": 0.05}}
    return {**values, **changes}


def test_a_task_and_probes_of_ones_own(own, tmp_path):
    @probe("matrix", "percentile", labels={"percentile": (10, 90)})
    def weight_percentiles(params, view):
        del view
        return jnp.stack([jnp.percentile(params[name], jnp.array([10.0, 90.0])) for name in sorted(params)])

    @probe("neuron_pair", "word")
    def without_labels(params, view):
        return jnp.ones((5, view.words)) * params["W"].sum()

    probes = ("loss", "margin", "weight_percentiles", "without_labels", "population_loss")
    record = dynamics.execute(config(probes=probes), tmp_path, "run")
    assert record.state == "done"
    data, source = record["gd"].load(), record["data"].load()
    assert data.weight_percentiles.dims == ("t", "matrix", "percentile")
    end = record.params("gd", float(data.t[-1]))
    seen = data.weight_percentiles.isel(t=-1).sel(matrix="W_K", percentile=90)
    np.testing.assert_allclose(seen, np.percentile(end["W_K"], 90), rtol=1e-12)
    assert data.without_labels.dims == ("t", "neuron_pair", "word") and "neuron_pair" not in data.coords
    assert list(data.word.values) == list("abcd")
    assert source.word_weight.dims == ("every_word",) and source.scale.dims == ()
    signs = np.sign(source.word_weight.values[source.inputs.values].sum(axis=1))
    np.testing.assert_array_equal(source.targets, signs)
    assert record.status["laws"]["gd"]["classification_time"] is not None


def test_a_source_without_dimension_names_is_refused(own, tmp_path, monkeypatch):
    monkeypatch.setattr(Weighted, "dims", {"scale": ()})
    with pytest.raises(
        dynamics.ConfigError,
        match=r"must name the dimensions of 'inputs' after the sample axis; .*'word_weight'",
    ):
        dynamics.execute(config(probes=("loss",)), tmp_path, "run")
    assert not list(tmp_path.iterdir())


def test_a_task_that_lacks_attributes_is_refused(own, monkeypatch):
    monkeypatch.delattr(Weighted, "loss")
    monkeypatch.delattr(Weighted, "dims")
    with pytest.raises(dynamics.ConfigError, match=r"task.name = 'weighted': its class Weighted lacks dims, loss; "):
        dynamics.Experiment.from_config(config())


def test_a_task_of_another_class_is_refused(own):
    @dataclass(frozen=True)
    class Plain:
        samples: int
        length: int
        vocabulary: int

    TASKS["weighted"] = Plain
    with pytest.raises(dynamics.ConfigError, match=r"its class Plain must be a subclass of dynamics.Task"):
        dynamics.Experiment.from_config(config())


def test_a_task_with_an_unknown_loss_is_refused(own, monkeypatch):
    monkeypatch.setattr(Weighted, "loss", "nosuch")
    with pytest.raises(dynamics.ConfigError, match=r"task.loss = 'nosuch': must be among logistic, exponential"):
        dynamics.Experiment.from_config(config())


def test_a_probe_that_needs_what_is_not_there(own):
    with pytest.raises(dynamics.ConfigError, match="probes = 'loss_by_type': needs 'types', which this task,"):
        dynamics.Experiment.from_config(config(probes=("loss_by_type",)))


def test_all_that_does_not_fit_is_said_at_once(own, tmp_path):
    @probe("word", "word")
    def flat(params, view):
        del view
        return params["W_Q"].sum()

    @probe("word")
    def short(params, view):
        del view
        return params["W_Q"][0, :3]

    with pytest.raises(dynamics.ConfigError) as error:
        dynamics.execute(config(probes=("loss", "flat", "short")), tmp_path, "run")
    assert str(error.value) == (
        "probes = 'flat': names the dimensions ('word', 'word'), but gives an array of the shape (); "
        "probes = 'short': its dimension 'word' has 3 entries, but 4 labels"
    )
    assert not list(tmp_path.iterdir())


def test_a_training_set_of_another_size_is_refused(own, tmp_path, monkeypatch):
    source = {"word_weight": jnp.ones(9)}
    monkeypatch.setattr(Weighted, "training_set", lambda self, key: self.sample(key, 5, source))
    monkeypatch.setattr(Weighted, "dims", {**Weighted.dims, "word_weight": ()})
    with pytest.raises(dynamics.ConfigError) as error:
        dynamics.execute(config(probes=("loss",), task={**TASK, "samples": 7}), tmp_path, "run")
    assert str(error.value) == (
        "'inputs': must have 7 rows, the samples of the task, but has the shape (5, 4); "
        "'targets': must have 7 rows, the samples of the task, but has the shape (5,); "
        "Weighted.dims['word_weight'] = (): but its shape is (9,)"
    )
    assert not list(tmp_path.iterdir())


def test_losses_of_another_shape_are_refused(own, monkeypatch):
    monkeypatch.setattr(Weighted, "loss", "squared")
    monkeypatch.setattr(Weighted, "dims", {**Weighted.dims, "targets": ("position",)})
    monkeypatch.setattr(
        Weighted, "sample", lambda self, key, n, source: Batch(jnp.zeros((n, 4), int), jnp.zeros((n, 4)), source=source)
    )
    with pytest.raises(
        dynamics.ConfigError, match=r"loss = 'squared': needs outputs of the shape .*\(12, 4\).*\(12,\)"
    ):
        dynamics.Experiment.from_config(config(probes=("loss",)))


def test_a_probe_with_other_dimensions_than_it_names(own, tmp_path):
    @probe("word")
    def flat(params, view):
        del view
        return params["W_Q"]

    with pytest.raises(
        dynamics.ConfigError, match=r"probes = 'flat': names the dimensions \('word',\), but gives .* \(8, 9\)"
    ):
        dynamics.execute(config(probes=("flat",)), tmp_path, "run")
    assert not list(tmp_path.iterdir())


def test_the_library_s_tasks_and_models_are_all_looked_at():
    tasks = {name for name, task in TASKS.items() if task.__module__.startswith("dynamics.")}
    models = {name for name, model in MODELS.items() if model.__module__.startswith("dynamics.")}
    assert tasks == {*TASK_SETTINGS} and models == {*MODEL_SETTINGS}


@pytest.mark.parametrize("name", TASK_SETTINGS)
def test_tasks_have_what_they_promise(name):
    task = TASKS[name](**TASK_SETTINGS[name])
    assert isinstance(task, Task) and hash(task) == hash(TASKS[name](**TASK_SETTINGS[name]))
    batch = jax.jit(task.training_set)(jax.random.key(0))
    assert {"inputs", *(batch.source or {})} <= set(task.dims) <= {"inputs", "targets", *(batch.source or {})}
    assert batch.inputs.ndim == 1 + len(task.dims["inputs"])
    assert batch.targets.ndim == 1 + len(task.dims.get("targets", ()))
    for array, values in (batch.source or {}).items():
        assert values.ndim == len(task.dims[array])
    assert (batch.type is None) == (not task.types)
    assert ("types" in task.capabilities) == (len(task.types) > 1)
    assert ("canonical" in task.capabilities) == ("canonical" in dir(task))
    assert ("signed_targets" in task.capabilities) == (set(np.unique(batch.targets)) == {-1, 1})


@pytest.mark.parametrize("name", MODEL_SETTINGS)
def test_models_have_what_they_promise(name):
    model = MODELS[name](**MODEL_SETTINGS[name])
    assert isinstance(model, Model)
    tokens = jnp.zeros((3, 4), jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    constants = variables.get("constants", {})
    assert set(model.dims) == set(constants)
    for array, dims in model.dims.items():
        assert constants[array].ndim == len(dims)
    assert model.coordinates["matrix"] == sorted(variables["params"])
    assert "weights" in model.capabilities
    _, intermediates = jax.jit(model.apply)(variables, tokens)
    for capability in ("states", "attention", "value_vectors"):
        assert (capability in model.capabilities) == (capability in intermediates)
    for capability in ("gram", "score_matrices", "conserved"):
        assert (capability in model.capabilities) == (capability in dir(model))
    conserved = jax.jit(lambda variables: model.apply(variables, method="conserved"))(variables)
    assert len(conserved) == len(model.coordinates["conserved"])


def test_the_model_of_gram_matrices_is_a_model():
    model = GramModel(vocabulary=9, neurons=6, heads=2, dtype="float64")
    assert {"capabilities", "dims", "layers", "heads", "dtype", "coordinates", "velocity", "weights"} <= set(dir(model))
    assert "weights" not in model.capabilities
    assert set(model.dims) == {"a", "width"}


def test_who_names_a_dimension():
    task = TASKS["cooccurrence"](**TASK_SETTINGS["cooccurrence"])
    labels = coordinates(task, MODELS["one_layer"](**MODEL_SETTINGS["one_layer"]), 5)
    assert labels["key"] == labels["word"] == ["μ1", "μ2", "μ3", "μ4", "μ5"] and len(labels["any_key"]) == 9
    assert labels["type"] == ["I1", "I2", "I3", "I4"] and labels["head"] == [0, 1]
    assert labels["window"] == [1, 2, 4, 8] and labels["estimate"] == ["mean", "standard error"]


def swept(tmp_path, values):
    """The record of a sweep of these values over two seeds."""
    planned = plan({"": Sweep.of("own", ml_collections.ConfigDict(values), seeds(2))})
    arguments = argparse.Namespace(launcher="here", retry_failed=False, max_failures=None)
    launched(tmp_path / "sweep", "claims", tmp_path / "own.py", planned, arguments)
    return dynamics.load(tmp_path / "sweep")


class Logged:
    """A wandb run that keeps what it is given."""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)


def test_a_dimension_that_nobody_labels_works_everywhere(own, tmp_path):
    """In sweeps, in the evidence for claims and in the mirror; those of a run are in the first test."""

    @probe("neuron_pair", "word")
    def pairs(params, view):
        return jnp.arange(10.0).reshape(5, 2)[:, : view.words] + params["W"].sum()

    (tmp_path / "own.py").touch()
    evidence = swept(tmp_path, config(probes=("loss", "pairs"), words=2))
    data = evidence["own" if "own" in evidence.cases else ""]
    assert data.pairs.dims == ("seed", "t", "neuron_pair", "word") and "neuron_pair" not in data.coords
    assert data.pairs.sizes["neuron_pair"] == 5 and list(data.word.values) == ["a", "b"]
    record = evidence.case("")
    run = Logged()
    _, laws, _ = record.mirrored(record.sweep.members[0])
    tracking._log(run, "gd", laws["gd"], set())
    assert len(run.rows) == len(data.t)
    for number in range(5):
        np.testing.assert_array_equal(
            [row[f"gd/pairs/{number}/b"] for row in run.rows], data.pairs.isel(seed=0).sel(neuron_pair=number, word="b")
        )


NAMES = {
    "a probe": ("scores", ("of_nothing",)),
    "a dimension of its own": ("row", ("row",)),
    "one of its dimensions": ("row", ("row", "column")),
    "a dimension of a probe": ("key", ("of_nothing",)),
    "a coordinate": ("word", ("word",)),
}


@pytest.mark.parametrize(("name", "dims"), NAMES.values(), ids=NAMES)
def test_a_source_array_may_be_called_like_a_probe_or_a_dimension(own, tmp_path, name, dims):
    TASKS["weighted"] = with_source(name, dims)
    record = dynamics.execute(
        config(probes=("loss", "scores"), wandb={**config()["wandb"], "mode": "disabled"}), tmp_path, "run"
    )
    array = record["data"][name].load()
    assert array.dims == dims and bool((array == 1).all()) and record["gd"].scores.dims == ("t", "key", "query")


@pytest.mark.parametrize("name", ["targets", "sample", "a"])
def test_a_source_array_called_like_an_array_of_the_record_is_refused(own, tmp_path, name):
    """It would take the place of the other one; `a` is an array that the model holds fixed."""
    TASKS["weighted"] = with_source(name, ("of_nothing",))
    with pytest.raises(
        dynamics.ConfigError, match=f"WithSource.dims: '{name}' is the name of two arrays of the record; rename one"
    ):
        dynamics.execute(config(probes=("loss",)), tmp_path, "run")
    assert not list(tmp_path.iterdir())


def with_source(name, dims):
    """The task with one more array in its source."""

    @dataclass(frozen=True)
    class WithSource(Weighted):
        def training_set(self, key):
            batch = super().training_set(key)
            return batch._replace(source={**batch.source, name: jnp.ones((3,) * len(dims))})

    WithSource.dims = {**Weighted.dims, name: dims}
    return WithSource


@pytest.mark.parametrize(
    ("name", "dims", "message"),
    [
        ("status", (), "probe = 'status': must not be one of t, "),
        ("evaluations", (), "probe = 'evaluations': must not be one of t, "),
        ("mine", ("seed",), "dimensions of the probe 'mine' = 'seed': must not be t, "),
    ],
)
def test_names_that_records_have_themselves_are_no_names_of_probes(name, dims, message):
    with pytest.raises(dynamics.ConfigError, match=re.escape(message)):
        Probe(name, dims, lambda params, view: params)
