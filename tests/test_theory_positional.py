"""The head of rank one, its probes, and the state evolution, by exact equalities, identities and brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

import dynamics
from dynamics.files import load_config
from dynamics.probes.probe import View, evaluator
from experiments.positional_semantic import parts, theory

D, N = 20, 30


@functools.cache
def drawn(**changes):
    """Parameters, objective and survey of the smoke config, with a random start."""
    config = load_config(ROOT / "configs" / "positional_semantic" / "training.py", "smoke")
    config.model.start = "random"
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config[group][name] = value
    return dynamics.Experiment.from_config(config.to_dict()).drawn


def probes(names, params, **changes):
    _, objective, survey = drawn(**changes)
    return jax.jit(evaluator(names, View(objective, survey, params, 1)))(params)


def softmax(scores):
    weights = np.exp(scores)
    return weights / weights.sum(axis=-1, keepdims=True)


def by_hand(z, q, k=None, omega=0.3):
    """F and y in d dimensions."""
    d = z.shape[-1]
    p, u = np.full(d, d**-0.5), np.where(np.arange(d) % 2 == 0, 1, -1) * d**-0.5
    x = z + np.array([1, -1])[:, None] * p
    star = z @ u
    T = (1 - omega) * softmax(star[:, :, None] * star[:, None]) + omega * np.array([[0.6, 0.4], [0.4, 0.6]])
    S = softmax((x @ q)[:, :, None] * (x @ (q if k is None else k))[:, None])
    return S @ x, T @ z


def tokens(objective):
    """z of the training set."""
    x = np.asarray(objective.batch.inputs["tokens"])
    return x - np.array([1, -1])[:, None] * D**-0.5


def test_loss_is_that_of_whole_vectors():
    """The coordinates keep all distances: the loss is the training loss per dimension, to rounding."""
    params, objective, _ = drawn()
    q = np.asarray(params["q"])
    F, y = by_hand(tokens(objective), q)
    per_dimension = (np.sum((F - y) ** 2) / (2 * D) + 0.01 * D * q @ q / 2) / D
    assert float(objective.loss(params)) == pytest.approx(per_dimension, rel=1e-12)


def test_gradient_is_that_of_whole_vectors():
    params, objective, _ = drawn()
    q, along = np.asarray(params["q"]), np.random.default_rng(0).normal(size=D)
    z = tokens(objective)

    def loss(q):
        F, y = by_hand(z, q)
        return (np.sum((F - y) ** 2) / (2 * D) + 0.01 * D * q @ q / 2) / D

    slope = (loss(q + 1e-5 * along) - loss(q - 1e-5 * along)) / 2e-5
    assert float(-objective.slope(params)["q"] @ along) == pytest.approx(slope, rel=1e-7)


def test_untied_head():
    """At t = 0 it is the tied head; afterwards its keys have a vector of their own."""
    params, objective, _ = drawn(model__tied=False)
    np.testing.assert_array_equal(params["q"], params["k"])
    F, y = by_hand(tokens(objective), *map(np.asarray, (params["q"], -params["q"])))
    data_loss = np.mean(np.asarray(objective.losses({**params, "k": -params["k"]})))
    assert data_loss == pytest.approx(np.sum((F - y) ** 2) / (2 * D * D), rel=1e-12)


@pytest.mark.parametrize("start", ["positional", "semantic", "between"])
def test_informed_starts(start):
    params, _, _ = drawn(model__start=start)
    found = probes(("m", "theta"), params, model__start=start)
    assert float(jnp.sum(params["q"] ** 2)) == pytest.approx(1)
    assert float(found["m"] ** 2 + found["theta"] ** 2) == pytest.approx(1)
    expected = {"positional": (1, 0), "semantic": (0, 1)}
    if start in expected:
        np.testing.assert_allclose((found["m"], found["theta"]), expected[start], atol=1e-12)
    else:
        assert 0 < float(found["m"]) < 1


def test_shuffled_targets_belong_to_another_sample():
    _, objective, _ = drawn()
    _, shuffled, _ = drawn(task__shuffled=True)
    z = tokens(objective)
    star = z @ (np.where(np.arange(D) % 2 == 0, 1, -1) * D**-0.5)
    T = 0.7 * softmax(star[:, :, None] * star[:, None]) + 0.3 * np.array([[0.6, 0.4], [0.4, 0.6]])
    for batch, of_teacher in ((objective.batch, T), (shuffled.batch, np.roll(T, 1, axis=0))):
        size = np.sum(np.asarray(batch.targets) ** 2, axis=(1, 2)) * D**2 / N
        np.testing.assert_allclose(size, np.sum((of_teacher @ z) ** 2, axis=(1, 2)), rtol=1e-10)


def test_errors_are_those_on_new_samples():
    """ε_g of the head and of the best linear map, against 400 000 samples: within four standard errors."""
    params, objective, _ = drawn()
    found = probes(("generalisation_error", "linear_error"), params)
    z = tokens(objective)
    _, y = by_hand(z, np.zeros(D))
    as_rows = lambda vectors: np.swapaxes(vectors, 1, 2).reshape(-1, 2)  # noqa: E731
    B = np.linalg.lstsq(as_rows(z), as_rows(y), rcond=None)[0].T
    new = 0.5 * np.random.default_rng(1).normal(size=(400_000, 2, D))
    F, y = by_hand(new, np.asarray(params["q"]))
    for name, prediction in (("generalisation_error", F), ("linear_error", B @ new)):
        errors = np.sum((prediction - y) ** 2, axis=(1, 2)) / (2 * D)
        assert abs(float(found[name]) - errors.mean()) < 4 * errors.std() / len(errors) ** 0.5, name


def test_dimension_must_be_even():
    with pytest.raises(dynamics.ConfigError, match="dimension = 5: must be an even number, at least 4"):
        parts.MixedTeacher(samples=3, dimension=5)


@pytest.mark.parametrize("V", [0.5, 4.0, 16.0])
@pytest.mark.parametrize("m", [0.0, 0.25])
def test_proximal_points_are_global(V, m):
    """No point of a grid is lower."""
    rng = np.random.default_rng(0)
    w = 0.3 * rng.normal(size=(2, 100)) + m * np.array([[1], [-1]])
    T = np.asarray(theory.mixed(*(0.5 * rng.normal(size=(2, 100))), 0.3))
    *_, value = jax.jit(theory.proximal)(tuple(w), tuple(T), V)
    axis = np.linspace(-4, 4, 321)
    x1, x2 = axis[:, None, None], axis[None, :, None]
    s1, s2 = (1 / (1 + np.exp(-a)) for a in (x1 * (x1 - x2), x2 * (x2 - x1)))
    on_grid = ((x1 - w[0]) ** 2 + (x2 - w[1]) ** 2) / (2 * V) + 0.25 * ((s1 - T[0]) ** 2 + (s2 - T[1]) ** 2)
    assert np.all(np.asarray(value) <= on_grid.min(axis=(0, 1)) + 1e-12)
    # And near the best of the grid, whose spacing is h: within a curvature of order one times h².
    np.testing.assert_allclose(value, on_grid.min(axis=(0, 1)), atol=2 * (axis[1] - axis[0]) ** 2)


def test_coarse_rule_has_degree_seven():
    """All moments of two normal variables up to degree 7, and not all of degree 8."""
    rule = theory.coarse()
    (x, y, *_), weights = rule.nodes[0], rule.weights[0]
    normal = lambda k: 0 if k % 2 else np.prod(np.arange(k - 1, 0, -2.0))  # noqa: E731
    off = {(i, j): np.sum(weights * x**i * y**j) - normal(i) * normal(j) for i in range(9) for j in range(9 - i)}
    assert max(abs(error) for (i, j), error in off.items() if i + j <= 7) < 1e-12
    assert abs(off[8, 0]) > 1


@functools.cache
def fixed(branch, ridge=0.01, alpha=1.5):
    start = None if (ridge, alpha) == (0.01, 1.5) else fixed(branch)
    return theory.fixed_point(branch, theory.Setting(0.3, alpha, ridge), theory.sobol(12), start)


def test_no_fixed_point_is_no_number():
    """At ω = 0.1 positions teach too little for a positional minimum at α = 1.5: the solver stops at none."""
    with pytest.raises(ArithmeticError, match=r"no positional fixed point found at Setting\(omega=0.1,"):
        theory.fixed_point("positional", theory.Setting(omega=0.1), theory.sobol(12), fixed("positional"))


@pytest.mark.parametrize("branch", ["positional", "semantic"])
def test_the_loss_is_stationary_in_the_order_parameters(branch):
    """So its derivatives are partial: by λ it is ‖q‖²/2 = Q/(2σ²), and by α the mean of the proximal minimum.

    Quadrature breaks this by about 1 % at 2^12 points; a wrong factor in any equation by much more.
    """
    here = fixed(branch)
    by_ridge = (fixed(branch, ridge=0.0102).loss - fixed(branch, ridge=0.0098).loss) / 4e-4
    assert by_ridge == pytest.approx(here.size / 0.5, rel=0.03)
    by_alpha = (fixed(branch, alpha=1.53).loss - fixed(branch, alpha=1.47).loss) / 0.06
    Q, V, D = here.size, here.V, 0.25 / here.V
    # σ²Q̂ = D² Q/σ² − m̂² − σ²ρθ̂², with m̂ = D m and θ̂ = D θ/(σ²ρ); α E|g|² = Q̂.
    pulled = D**2 * (Q / 0.25 - here.m**2 - here.theta**2) / 0.25
    fitted = here.loss - 0.01 * Q / 0.5
    assert by_alpha == pytest.approx((fitted + V * pulled / 2) / 1.5, rel=0.03)


def test_damping():
    """The positional iteration comes back to its fixed point below the critical weight, and leaves it above."""
    here, setting, rule = fixed("positional"), theory.Setting(0.3, 1.5), theory.sobol(12)
    kappa = theory.eigenvalues("positional", setting, rule, here).real.min()
    after = theory.undamped("positional", setting, rule)
    there = np.log([here.m, here.size, here.V])
    for factor, comes_back in ((0.9, True), (1.1, False)):
        weight, logs = factor * 2 / (1 - kappa), there + 1e-4 * np.array([1.0, -1.0, 1.0])
        for _ in range(40):
            logs = (1 - weight) * logs + weight * after(logs)
        assert (np.abs(logs - there).max() < 1e-4) == comes_back


def test_tabulated_overlaps_come_from_the_coarse_rule():
    found = {
        branch: theory.fixed_point(branch, theory.Setting(0.3, 1.5), theory.coarse())
        for branch in ("positional", "semantic")
    }
    assert found["positional"].m == pytest.approx(0.2559, rel=0.005)
    assert found["semantic"].theta == pytest.approx(0.548, rel=0.005)


def test_linear_error():
    """Against a sample of the teacher's fields."""
    field = 0.5 * np.random.default_rng(0).normal(size=(2, 1_000_000))
    T = np.asarray(theory.mixed(*field, 0.3)[0])
    assert theory.linear_error(0.3) == pytest.approx(0.5 * T.var(), rel=0.01)


def test_large_ridge_leaves_nothing():
    """As λ → ∞ the head attends evenly: the loss is α E ℓ at S = 1/2."""
    rule, setting = theory.sobol(12), theory.Setting(0.3, 1.5, ridge=1e4)
    (overlap, Q, _), loss, _ = theory.iterate("positional", jnp.array([1e-6, 1e-12, 0.25e-4]), setting, rule)
    T = np.asarray(theory.mixed(*(0.5 * rule.nodes[:, 2:].swapaxes(0, 1)), 0.3))
    assert float(loss) == pytest.approx(1.5 * 0.25 * np.sum(np.mean((T - 0.5) ** 2, axis=(1, 2))), rel=1e-3)
    assert abs(float(overlap)) < 1e-3 and float(Q) < 1e-6
