"""Costs of sinks and diagonals, and what attention smooths: closed forms against solvers, enumeration and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import dynamics
from dynamics.analysis import attention as measures
from dynamics.analysis import margins
from experiments.sink_vs_diagonal import theory_geometry as theory

CASES = [(4, 0.0), (4, 0.7), (9, 0.3), (9, 0.95)]


def feasible(W, X, target, shown=None):
    """The smallest gap is 1, reached by some pair, and no pair is below."""
    assert margins.margins((X @ W @ X.T).T, target, shown).min() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(("n", "alignment"), CASES)
def test_distances_of_aligned_tokens(n, alignment):
    of = theory.Aligned(n, alignment)
    np.testing.assert_allclose(np.linalg.norm(of.X, axis=1), 1)
    assert (of.X @ of.X.T)[0, 1] == pytest.approx(alignment**2)
    query = margins.nearest_in_hull(of.X, np.zeros(n + 1))
    assert query.distance == pytest.approx(of.query_distance, rel=1e-7)
    np.testing.assert_allclose(query.weights, 1 / n, atol=1e-5)
    assert margins.nearest_in_hull(of.X[1:], of.X[0]).distance == pytest.approx(of.key_distance, rel=1e-7)


@pytest.mark.parametrize(("n", "alignment"), CASES)
def test_the_diagonal_of_least_norm(n, alignment):
    """W = Rᵀ(I − J)R/(1 − α²) has gap 1 and the stated norms, and any diagonal's lower bounds are equal to them."""
    of = theory.Aligned(n, alignment)
    own = np.eye(n + 1)[1:]
    W = own.T @ (np.eye(n) - 1 / n) @ own / (1 - alignment**2)
    feasible(W, of.X, np.arange(n))
    stated = of.diagonal_frobenius, of.diagonal_nuclear
    np.testing.assert_allclose([margins.norm_of(W, norm) for norm in ("frobenius", "nuclear")], stated)
    np.testing.assert_allclose(theory.diagonal_bounds(of.X), stated)


def test_a_sink_of_rank_one():
    """(s − v) uᵀ/(γ_q γ_k)² of the two nearest points has gap 1, and the norm 1/(γ_q γ_k), which the solver finds."""
    X = np.random.default_rng(3).normal(size=(5, 7))
    query, key = margins.nearest_in_hull(X, np.zeros(7)), margins.nearest_in_hull(X[1:], X[0])
    u, away = X.T @ query.weights, X[0] - X[1:].T @ key.weights
    W = np.outer(away, u) / (query.distance * key.distance) ** 2
    target = np.zeros(5, int)
    # The nearest points are known to the root of the tolerance to which their distance is.
    assert margins.margins((X @ W @ X.T).T, target).min() == pytest.approx(1, abs=1e-4)
    cost = 1 / (query.distance * key.distance)
    for norm in ("operator", "frobenius", "nuclear"):
        assert margins.norm_of(W, norm) == pytest.approx(cost, rel=1e-6)
        assert margins.hard_margin(X, target, norm).cost == pytest.approx(cost, rel=1e-6)
    assert margins.largest_margin(X, target) == pytest.approx(1 / cost, rel=1e-6)


def test_the_cheapest_alignment():
    for n in (4, 16):
        costs = {a: theory.Aligned(n, a).sink for a in np.linspace(0, 0.99, 991).tolist()}
        best = theory.Aligned(n, theory.Aligned(n).cheapest_alignment)
        assert min(costs, key=costs.get) == pytest.approx(best.alignment, abs=1e-3)
        assert best.sink == pytest.approx(2 * (n - 1) / n)


def test_a_causal_sink_has_two_optima():
    n = 5
    stated, shown, target = theory.causal_sink(n), np.tril(np.ones((n, n), bool)), np.zeros(n, int)
    found = {norm: margins.hard_margin(np.eye(n), target, norm, shown) for norm in ("frobenius", "nuclear")}
    for norm, of_norm in found.items():
        assert of_norm.cost == pytest.approx(stated[norm], rel=1e-7)
        feasible(of_norm.W, np.eye(n), target, shown)
    other = margins.norm_of(found["frobenius"].W, "nuclear")
    assert (
        other == pytest.approx(stated["nuclear of the smallest frobenius"], rel=1e-5)
        and other > 1.2 * stated["nuclear"]
    )
    assert found["nuclear"].cost == pytest.approx(margins.norm_of(found["nuclear"].W, "operator"), rel=1e-6)


def test_no_sink_where_a_condition_fails():
    """The origin in the hull of the tokens; the sink in the hull of the others. Each alone is enough."""
    around = np.array([[1.0, 0], [-1, 1], [-1, -1]])
    inside = np.array([[0.0, 2], [1, 1.5], [-1, 1.5], [0, 3]])
    for X in (around, inside):
        assert margins.largest_margin(X, np.zeros(len(X), int)) == pytest.approx(0, abs=1e-7)
        with pytest.raises(dynamics.ConfigError, match="target = 'infeasible"):
            margins.hard_margin(X, np.zeros(len(X), int), "frobenius")
    assert margins.nearest_in_hull(around, np.zeros(2)).distance < 1e-7
    assert margins.nearest_in_hull(inside, np.zeros(2)).distance == pytest.approx(1.5)
    assert margins.nearest_in_hull(inside[1:], inside[0]).distance < 1e-7


def test_other_dimensions_do_not_matter():
    """Tokens in a plane of ten dimensions cost what they cost in the plane."""
    rng = np.random.default_rng(0)
    X, (basis, _) = rng.normal(size=(4, 3)) + 2, np.linalg.qr(rng.normal(size=(10, 3)))
    for norm in ("frobenius", "nuclear"):
        one, other = (margins.hard_margin(tokens, np.zeros(4, int), norm) for tokens in (X, X @ basis.T))
        assert one.cost == pytest.approx(other.cost, rel=1e-6)
        np.testing.assert_allclose(basis @ one.W @ basis.T, other.W, atol=1e-3)


def test_margins_by_hand():
    scores = np.array([[3.0, 1, 0], [5, 4, 9], [2, 2, 7]])
    target = np.array([0, 1, 2])
    np.testing.assert_array_equal(margins.margins(scores, target), [2, 3, -1, -5, 5, 5])
    causal = np.tril(np.ones((3, 3), bool))
    np.testing.assert_array_equal(margins.margins(scores, target, causal), [-1, 5, 5])


def test_gaps_and_attention():
    """With all gaps equal the bound is reached; a single small gap already costs more than ε."""
    n, miss = 6, 0.1
    logits = np.zeros(n)
    logits[0] = theory.gap_enough(n, miss)
    assert special.softmax(logits)[0] == pytest.approx(1 - miss)
    logits = np.full(n, -np.inf)
    logits[:2] = theory.gap_needed(miss), 0
    assert special.softmax(logits)[0] == pytest.approx(1 - miss)


def test_smoothing_by_hand():
    A = np.array([[0.75, 0.25], [0.25, 0.75]])
    assert theory.smoothing(A) == pytest.approx(0.25)
    sink, own = np.tile(np.eye(5)[2], (5, 1)), np.eye(5)
    assert (theory.smoothing(sink), theory.smoothing(own)) == (0, pytest.approx(1))
    # The library's attention is [key, query, n].
    for one in (sink, own, np.random.default_rng(0).dirichlet(np.ones(5), 5)):
        assert float(measures.smoothing(jnp.asarray(one.T[..., None]))) == pytest.approx(theory.smoothing(one))


def test_smoothing_is_the_expectation():
    """E‖(I − J)AX‖² over X ∈ {±1}^n, all signs alike probable, by enumeration."""
    A = np.random.default_rng(1).dirichlet(np.ones(4), 4)
    X = np.array(list(itertools.product((-1.0, 1), repeat=4))).T
    left = np.sum((A @ X - (A @ X).mean(axis=0)) ** 2) / np.sum((X - X.mean(axis=0)) ** 2)
    assert left == pytest.approx(theory.smoothing(A))


@pytest.mark.parametrize("keys", [1, 2])
def test_sparse_smoothing_by_enumeration(keys):
    rows = [np.isin(np.arange(3), chosen) / keys for chosen in itertools.combinations(range(3), keys)]
    values = [theory.smoothing(np.stack(A)) for A in itertools.product(rows, repeat=3)]
    assert np.mean(values) == pytest.approx(theory.sparse_smoothing(3, keys))


def test_similarity_over_layers():
    sink, even = np.tile(np.eye(8)[0], (8, 1)), np.full((8, 8), 1 / 8)
    assert (theory.overlap(sink), theory.overlap(even), theory.overlap(np.eye(8))) == (1, pytest.approx(1 / 8), 0)
    of = {name: (theory.smoothing(A), theory.overlap(A)) for name, A in (("sink", sink), ("even", even))}
    layers = np.arange(4)
    np.testing.assert_allclose(theory.similarity_over_layers(3, *of["sink"], True), 1 - 0.5**layers, atol=1e-12)
    P = (2.0**layers - 1) / 8
    np.testing.assert_allclose(theory.similarity_over_layers(3, *of["even"], True), P / (P + 1), atol=1e-12)
    np.testing.assert_allclose(theory.similarity_over_layers(2, *of["sink"], False), [0, 1, 1])
    np.testing.assert_allclose(theory.similarity_over_layers(3, 1.0, 0.0, True), 0)
    # P = 0, 1/4, 7/8 and Z = 1, 3/2, 9/4; without residual path P = 0, 1/4, 3/8 and Z = 1, 1/2, 1/4.
    np.testing.assert_allclose(theory.similarity_over_layers(2, 0.5, 0.25, True), [0, 1 / 7, 7 / 25])
    np.testing.assert_allclose(theory.similarity_over_layers(2, 0.5, 0.25, False), [0, 1 / 3, 3 / 5])


def test_singular_values_of_a_known_matrix():
    X = jnp.asarray(np.stack([np.diag([3.0, -4.0]), np.array([[0.0, 2], [0, 0]])]))
    np.testing.assert_allclose(measures.singular_values(X), [[4, 3], [2, 0]], atol=1e-12)
    jax.jit(measures.singular_values)(X)
