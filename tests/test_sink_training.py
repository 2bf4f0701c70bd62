"""The head that learns a pattern, and what the claims on costs, training and smoothing measure."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT

import dynamics
from dynamics.files import load_config
from experiments.sink_vs_diagonal import head, measures_costs, measures_smoothing, measures_training
from experiments.sink_vs_diagonal import theory_geometry as theory

CONFIG = ROOT / "configs" / "sink_vs_diagonal" / "training.py"


def test_loss_by_hand():
    output = jnp.array([[[1.0, 0.0, 3.0], [2.0, 2.5, -jnp.inf]]])
    target = jnp.array([[0, 1]], dtype=jnp.int32)
    softplus = lambda x: np.log1p(np.exp(x))  # noqa: E731
    np.testing.assert_allclose(head.pairwise_logistic(output, target), [softplus(-1) + softplus(2) + softplus(-0.5)])
    gradient = jax.grad(lambda F: head.pairwise_logistic(F, target)[0])(output)
    assert np.isfinite(gradient).all() and float(gradient[0, 1, 2]) == 0


def test_loss_gradient():
    """Against central differences."""
    rng = np.random.default_rng(0)
    output, along = rng.normal(size=(2, 1, 4, 4))
    target = jnp.array([[0, 1, 1, 3]], dtype=jnp.int32)
    loss = lambda s: head.pairwise_logistic(jnp.asarray(output[None] + s * along[None])[0], target)[0]  # noqa: E731
    assert float(jax.grad(loss)(0.0)) == pytest.approx(float(loss(1e-5) - loss(-1e-5)) / 2e-5, rel=1e-8)


@functools.cache
def trained(variant):
    """Three tokens under normalised GD."""
    config = load_config(CONFIG, variant)
    config.task.tokens = 3
    config.laws = {"law": config.laws.normalised_gd}
    config.times.update(spacing="linear", start=1.0, stop=12.0, count=3)
    config.probes = (*config.probes, "attention_entropy")
    return dynamics.solve(dynamics.Experiment.from_config(config.to_dict()), "law")


def test_probes_of_a_trained_head():
    end = trained("sink")
    W_K, W_Q = (np.asarray(end.params[name][0]) for name in ("W_K", "W_Q"))
    W, last = W_K.T @ W_Q, {name: np.asarray(values[-1]) for name, values in end.probes.items()}
    np.testing.assert_allclose(last["qk_singular_values"], np.linalg.svd(W, compute_uv=False), atol=1e-10)
    assert last["target_margin"] == pytest.approx(min((W[0] - W[key]).min() for key in (1, 2)))
    assert last["half_square"] == pytest.approx((np.sum(W_K**2) + np.sum(W_Q**2)) / 2)
    assert last["qk_singular_values"].sum() / last["target_margin"] == pytest.approx(2**0.5, rel=0.01)
    assert last["attention_smoothing"] < 1e-6 and last["attention_entropy"] < 1e-6


def test_the_two_parametrisations_of_a_causal_sink():
    """The factors tend to the smallest nuclear norm of W, a single matrix to the smallest Frobenius norm."""
    stated = theory.causal_sink(3)
    for variant, norm in (("causal", "nuclear"), ("causal_bilinear", "frobenius")):
        end = trained(variant).probes
        s, margin = np.asarray(end["qk_singular_values"][-1]), float(end["target_margin"][-1])
        size = {"nuclear": s.sum(), "frobenius": np.linalg.norm(s)}
        assert size[norm] / margin == pytest.approx(stated[norm], rel=0.1 if norm == "frobenius" else 0.03)


def test_pattern_task():
    task = head.PatternTask(1, 4, "diagonal")
    batch = task.training_set(jax.random.key(0))
    assert batch.targets.tolist() == [[0, 1, 2, 3]] and (np.asarray(batch.inputs[0]) == np.eye(4)).all()
    assert head.PatternTask(1, 4, "sink").training_set(jax.random.key(0)).targets.tolist() == [[0, 0, 0, 0]]
    with pytest.raises(dynamics.ConfigError, match="samples = 2: must be 1"):
        head.PatternTask(2, 4)


def run(singular, margin=2.0, rank=1.0):
    """Five seeds at one time with these singular values."""
    modes = np.tile(np.asarray(singular, float), (5, 1, 1)) * (1 + 1e-6 * np.arange(5))[:, None, None]
    arrays = {
        "qk_singular_values": (("seed", "t", "mode"), modes),
        "target_margin": (("seed", "t"), np.full((5, 1), margin)),
        "qk_rank": (("seed", "t"), np.full((5, 1), rank)),
        "half_square": (("seed", "t"), modes.sum(-1)),
    }
    return xr.Dataset(arrays)


def test_norms_over_margin():
    data = {"one": run([3.0, 4.0]), "other": run([3.0, 0.0])}
    for norm, size in (("nuclear", 3.5), ("frobenius", 2.5), ("weights", 3.5)):
        np.testing.assert_allclose(measures_training.per_margin(data["one"], norm), size, rtol=1e-5)
    found = measures_training.ends_at("nuclear", 3.4, 3.6, (2.0, 3.0))(data, "one")
    assert found.holds is False and found.parts == {"norm": True, "rank": False}
    assert measures_training.two_norms(2.5, 3.5, 0.01)(data, "one").holds is True
    assert measures_training.two_norms(2.5, 2.5, 0.01)(data, "one").parts == {"frobenius": True, "nuclear": False}
    assert measures_training.dearer_than("other", 2.0)(data, "one").holds is True
    assert measures_training.dearer_than("other", 2.0, "frobenius")(data, "one").holds is False


@pytest.fixture(scope="module")
def aligned():
    arrays, labels, attributes = measures_costs.aligned((3,), (0.0, 0.5), ("frobenius", "nuclear"))
    return xr.Dataset(arrays, labels, attributes)


def test_closed_forms_are_compared_one_by_one(aligned):
    assert measures_costs.closed_forms()({"a": aligned}, "a").holds is True
    wrong = aligned.copy(deep=True)
    wrong.solved.loc[{"alignment": 0.5, "pattern": "sink", "norm": "nuclear"}] *= 1 + 1e-5
    found = measures_costs.closed_forms()({"a": wrong}, "a")
    assert [name for name, held in found.parts.items() if not held] == ["sink, nuclear"]
    assert not any(measures_costs.closed_forms(aligned=False)({"a": aligned}, "a").parts.values())


def test_ratio_in_the_family(aligned):
    assert measures_costs.ratio_grows_from("nuclear", 0.5)({"a": aligned}, "a").holds is True
    assert measures_costs.ratio_grows_from("frobenius", 0.0)({"a": aligned}, "a").holds is True
    assert measures_costs.ratio_grows_from("frobenius", 0.5)({"a": aligned}, "a").holds is False
    falling = aligned.assign(solved=aligned.solved[:, ::-1].assign_coords(alignment=[0.0, 0.5]))
    assert measures_costs.ratio_grows_from("nuclear", 0.5)({"a": falling}, "a").parts["larger"] is False


def test_random_tokens_and_their_bounds():
    arrays, labels, attributes = measures_costs.embeddings(6, (2, 7), (0.0, 0.8), (1, 2))
    data = {"r": xr.Dataset(arrays, labels, attributes)}
    assert measures_costs.one_price("sink")(data, "r").holds is True
    assert measures_costs.one_price("diagonal")(data, "r").holds is False
    assert measures_costs.bounded("diagonal")(data, "r").holds is True
    assert measures_costs.bounded("sink")(data, "r").holds is False
    assert measures_costs.sink_is_cheaper(0.8, (7,))(data, "r").holds is True
    assert measures_costs.sink_is_cheaper(0.8, (7,), centred=True)(data, "r").holds is False
    assert not np.isfinite(data["r"].distances_centred).any()
    # No sink, no price, and a ratio of 0.
    none = ~np.isfinite(data["r"].distances)
    assert none.any() and (measures_costs.diagonal_over_sink(data, "r", "nuclear").where(none, 0) == 0).all()


def test_hulls_say_which_sinks_exist():
    arrays, labels, attributes = measures_costs.hulls(4, 2, 8, (5,))
    data = {"h": xr.Dataset(arrays, labels, attributes)}
    both = ("query_distance", "key_distance")
    assert measures_costs.representable(*both)(data, "h").holds is True
    assert measures_costs.largest_margin_is(*both)(data, "h").holds is True
    assert measures_costs.representable("key_distance")(data, "h").holds is False
    assert measures_costs.largest_margin_is("key_distance")(data, "h").holds is False


@pytest.mark.parametrize("pattern", measures_smoothing.PATTERNS)
def test_rows_of_attention(pattern):
    A = measures_smoothing.attention(pattern, 20, np.random.default_rng(0))
    np.testing.assert_allclose(A.sum(axis=1), 1)
    if "own" in pattern or "shared" in pattern:
        assert (np.count_nonzero(A, axis=1) == int(pattern.split()[0])).all()
        assert (len(np.unique(A, axis=0)) == 1) == ("shared" in pattern)
    if pattern == "neighbours":
        assert np.flatnonzero(A[18]).tolist() == [0, 1, 18, 19]
    if pattern == "sink":
        assert (A[:, 0] == 1).all()


def test_orthogonal_matrices_prefer_no_direction():
    """The trace has mean 0 and variance 1. Q of a QR decomposition alone has a mean trace of −1 or so."""
    rng = np.random.default_rng(0)
    matrices = [measures_smoothing.orthogonal(rng, 3) for _ in range(2000)]
    np.testing.assert_allclose(matrices[0] @ matrices[0].T, np.eye(3), atol=1e-12)
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert abs(traces.mean()) < 0.1 and abs(traces.var() - 1) < 0.15


def test_one_layer_smooths_as_the_theory_says():
    def evidence(correlation):
        arrays, labels, attributes = measures_smoothing.one_layer(24, 16, 40, (1, 2, 3, 4), correlation)
        return xr.Dataset(arrays, labels, attributes)

    data = {"independent": evidence(0.0), "correlated": evidence(0.95)}
    assert measures_smoothing.on_the_line("smoothing", 0.03, 0.99)(data, "independent").holds is True
    assert measures_smoothing.on_the_line("smoothing", 0.03, 0.99)(data, "correlated").parts["R²"] is False
    without = measures_smoothing.on_the_line("without_the_mean", 0.03, 0.99)(data, "independent")
    assert not any(without.parts.values())
    assert measures_smoothing.smooths_less("dense", "4 shared", 0.01)(data, "independent").holds is True
    assert measures_smoothing.smooths_less("dense", "4 own", 0.01)(data, "independent").holds is False
    assert measures_smoothing.sparse_law(0.05)(data, "independent").holds is not False
    assert measures_smoothing.sparse_law(0.05, shared=True)(data, "independent").holds is False


def test_layers_and_value_norms():
    arrays, labels, attributes = measures_smoothing.layers(32, 32, 2, 10, (1, 2, 3))
    data = {"l": xr.Dataset(arrays, labels, attributes)}
    assert measures_smoothing.as_predicted(0.1)(data, "l").holds is True
    assert measures_smoothing.as_predicted(0.1, shift=1)(data, "l").holds is False
    assert measures_smoothing.alike("sink", "replaced", 1 - 1e-9, 1 + 1e-9)(data, "l").holds is True
    assert measures_smoothing.alike("diagonal", "replaced", 1 - 1e-9, 1 + 1e-9)(data, "l").holds is False
    assert measures_smoothing.more_alike("sink", "uniform", 0.3)(data, "l").holds is True
    assert measures_smoothing.more_alike("switch", "uniform", 0.3)(data, "l").holds is False
    # A value of 0 leaves the tokens as they are.
    switch = data["l"].similarity.sel(pattern="switch", path="residual")
    np.testing.assert_allclose(switch, np.tile(switch.isel(layer=[0]), 3), atol=1e-12)
    # A vector of norm ρ added to all tokens of variance 1 makes cosines ρ²/(1 + ρ²).
    norms, labels, _ = measures_smoothing.value_norms(16, 64, [0.0, 0.5, 1.0], 40, (1, 2))
    cosines = xr.Dataset(norms, labels).mean("seed")
    np.testing.assert_allclose(cosines.sink, [0, 0.2, 0.5], atol=0.02)
    assert float(cosines.even) == pytest.approx(1 / 17, abs=0.015)
    line = xr.Dataset(
        {"sink": (("seed", "value_norm"), [[0.0, 0.1, 0.3], [0.0, 0.2, 0.4]]), "even": (("seed",), [0.2, 0.1])},
        {"seed": [0, 1], "value_norm": [0.0, 0.2, 0.4]},
    )
    np.testing.assert_allclose(measures_smoothing.crossings(line), [0.3, 0.1])
