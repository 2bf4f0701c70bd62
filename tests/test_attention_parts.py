"""Masks, normalisers, scores and values against their formulas, written by hand; gradients by central differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import dynamics
from dynamics.config import build
from dynamics.models.attention import (
    MASKS,
    NORMALISERS,
    SCORES,
    VALUES,
    Additive,
    Bilinear,
    Blocks,
    Causal,
    CausalWindow,
    Constant,
    Factored,
    Full,
    Given,
    GumbelSoftmax,
    Hard,
    Linear,
    LinearValue,
    Mask,
    MLPValue,
    ReLU,
    Softmax,
    Tied,
    Window,
)

N, H, L, M = 2, 2, 5, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, L, M))
SCORE_VALUES = RNG.normal(size=(N, H, L, L))
BACK = np.arange(L)[:, None] - np.arange(L)[None, :]  # q − k
KEY = jax.random.key(3)

MASK_FORMULAS = {
    Full(): np.ones((L, L), bool),
    Causal(): BACK >= 0,
    Window(1): np.abs(BACK) <= 1,
    CausalWindow(2): (BACK >= 0) & (BACK <= 2),
    Blocks(2): np.kron(np.eye(3), np.ones((2, 2)))[:L, :L].astype(bool) & (BACK >= 0),
    Given(((1, 0, 0, 0, 0, 0), *((0, 1, 1, 0, 0, 1),) * 5)): np.array([[1, 0, 0, 0, 0], *[[0, 1, 1, 0, 0]] * 4]) > 0,
}
NORMALISER_PARTS = (
    Softmax(),
    *(kind(divisor) for kind in (ReLU, Linear) for divisor in ("keys", "length", "sum", "none")),
    GumbelSoftmax(0.7),
)
SCORE_PARTS = (Factored(), Bilinear(), Tied(4), Additive(), Constant(), Factored(0.3), Tied(2, 0.3), Constant(2.0))
VALUE_PARTS = (LinearValue(), LinearValue(output=False), MLPValue(7), MLPValue(7, output=False))


def drawn(shapes):
    return {name: RNG.normal(size=shape) for name, shape in shapes.items()}


def slope_is_the_difference(f, *arrays):
    """The gradient of Σ f · (fixed weights) along a direction is its central difference, to 1e-6."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    weights = jnp.asarray(RNG.normal(size=jax.eval_shape(f, *arrays).shape))
    direction = jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape)), arrays)

    @jax.jit
    def both(arrays):
        def total(shift):
            return jnp.sum(weights * f(*jax.tree.map(lambda x, v: x + shift * v, arrays, direction)))

        slope = jax.grad(lambda of: jnp.sum(weights * f(*of)))(arrays)
        along = sum(jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (slope, direction)), strict=True))
        return along, (total(1e-5) - total(-1e-5)) / 2e-5

    along, difference = both(arrays)
    np.testing.assert_allclose(along, difference, rtol=1e-6, atol=1e-9)


def of_the_library(registry):
    return {part for part in registry.values() if part.__module__.startswith("dynamics.")}


def test_every_part_is_tested():
    assert set(map(type, MASK_FORMULAS)) == of_the_library(MASKS)
    assert {*map(type, NORMALISER_PARTS), Hard} == of_the_library(NORMALISERS)
    assert set(map(type, SCORE_PARTS)) == of_the_library(SCORES)
    assert set(map(type, VALUE_PARTS)) == of_the_library(VALUES)


@pytest.mark.parametrize("mask", MASK_FORMULAS, ids=str)
def test_masks(mask):
    seen = np.asarray(mask(L))
    assert seen.dtype == bool and seen.any(axis=1).all()
    np.testing.assert_array_equal(seen, MASK_FORMULAS[mask])


@pytest.mark.parametrize("part", NORMALISER_PARTS, ids=str)
def test_normalisers(part):
    mask = np.asarray(CausalWindow(2)(L))
    s = np.where(mask, SCORE_VALUES, 0)
    s[0, 0, 3] = -np.abs(s[0, 0, 3])  # a query none of whose scores is positive
    if isinstance(part, (Softmax, GumbelSoftmax)):
        temperature = part.temperature if isinstance(part, GumbelSoftmax) else 1
        expected = softmax(np.where(mask, s / temperature, -np.inf), axis=-1)
    else:
        kept = np.maximum(s, 0) if isinstance(part, ReLU) else s
        total = kept.sum(axis=-1, keepdims=True)
        sums = np.where(total == 0, 1, total)
        divisor = {"keys": mask.sum(axis=1)[:, None], "length": L, "sum": sums, "none": 1}[part.divisor]
        expected = kept / divisor
    p = np.asarray(part(jnp.asarray(s), jnp.asarray(mask)))
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    assert not p[:, :, ~mask].any()
    slope_is_the_difference(lambda scores: part(scores, jnp.asarray(mask)), s)


def test_hard_retrieval_has_the_gradient_of_softmax_attention():
    """Forward one key; dA = g Vᵀ for every key, and dV = Pᵀ g: the retrieved keys alone."""
    mask, values = np.asarray(Causal()(L)), RNG.normal(size=(N, H, L, 3))
    g = RNG.normal(size=(N, H, L, 3))

    def read(scores, values):
        return jnp.einsum("nhqk,nhke->nhqe", Hard()(scores, jnp.asarray(mask)), values)

    @jax.jit
    def both(scores, values):
        return jax.vjp(read, scores, values)[1](jnp.asarray(g)), Hard()(scores, jnp.asarray(mask))

    (d_scores, d_values), p = both(jnp.asarray(SCORE_VALUES), jnp.asarray(values))
    shown = np.where(mask, SCORE_VALUES, -np.inf)
    retrieved = shown.argmax(axis=-1)
    one_hot = np.eye(L)[retrieved]
    np.testing.assert_array_equal(p, one_hot)
    pi, d_p = softmax(shown, axis=-1), np.einsum("nhqe,nhke->nhqk", g, values)
    stated = pi * (d_p - (pi * d_p).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(d_scores, stated, rtol=1e-12, atol=1e-14)
    scattered = np.zeros_like(values)
    for n, h, q in np.ndindex(N, H, L):
        scattered[n, h, retrieved[n, h, q]] += g[n, h, q]
    np.testing.assert_allclose(d_values, scattered, rtol=1e-12)
    assert (d_values[one_hot.sum(axis=2) == 0] == 0).all() and (one_hot.sum(axis=2) == 0).any()


def test_hard_retrieval_with_noise_draws_from_the_softmax():
    draws = 40_000
    s, mask = jnp.array([[0.3, -1.0, 1.2, 5.0]]), jnp.array([[True, True, True, False]])

    @jax.jit
    def share(keys):
        return jax.vmap(lambda key: Hard()(s, mask, key))(keys)[:, 0]

    p = np.asarray(share(jax.random.split(KEY, draws)))
    assert set(np.unique(p)) == {0, 1} and (p.sum(axis=1) == 1).all() and not p[:, 3].any()
    pi = softmax(np.asarray(s[0, :3]))
    assert (np.abs(p.mean(axis=0)[:3] - pi) < 4 * np.sqrt(pi * (1 - pi) / draws)).all()
    one = np.asarray(jax.jit(lambda key: jax.jacobian(lambda s: Hard()(s, mask, key))(s))(KEY))[0, :3, 0, :3]
    np.testing.assert_allclose(one, np.diag(pi) - np.outer(pi, pi), rtol=1e-12, atol=1e-15)


def test_gumbel_softmax_is_the_sample_when_cold():
    mask = Causal()(L)
    s = jnp.asarray(SCORE_VALUES)
    np.testing.assert_allclose(GumbelSoftmax(1e-3)(s, mask, KEY), Hard()(s, mask, KEY), atol=1e-6)
    warm = np.asarray(GumbelSoftmax(0.5)(s, mask, KEY))
    noise = np.asarray(jax.random.gumbel(KEY, s.shape, s.dtype))
    by_hand = softmax(np.where(np.asarray(mask), (SCORE_VALUES + noise) / 0.5, -np.inf), axis=-1)
    np.testing.assert_allclose(warm, by_hand, rtol=1e-12)
    slope_is_the_difference(lambda s: GumbelSoftmax(0.5)(s, mask, KEY), SCORE_VALUES)


def score_by_hand(part, p, n, h, k, q):
    """The score of one pair of positions."""
    e = M // H
    rows, scale = slice(h * e, (h + 1) * e), part.scale
    if isinstance(part, Factored):
        return (scale or e**-0.5) * (p["W_K"][rows] @ X[n, k]) @ (p["W_Q"][rows] @ X[n, q])
    if isinstance(part, Bilinear):
        return (scale or M**-0.5) * X[n, k] @ p["W_QK"][h] @ X[n, q]
    if isinstance(part, Tied):
        W = p["W"][h * part.rank : (h + 1) * part.rank]
        return (scale or part.rank**-0.5) * (W @ X[n, k]) @ (W @ X[n, q])
    if isinstance(part, Additive):
        return (scale or 1) * p["v"][h] @ np.tanh(p["W_K"][rows] @ X[n, k] + p["W_Q"][rows] @ X[n, q])
    return (scale or e**-0.5) * (p["W_K"][rows] @ X[n, k]) @ p["c"][h]


@pytest.mark.parametrize("part", SCORE_PARTS, ids=str)
def test_scores(part):
    p = drawn(part.shapes(M, H))
    s = np.asarray(jax.jit(lambda p, x: part(p, x, H))(p, X))
    by_hand = [score_by_hand(part, p, n, h, k, q) for n, h, q, k in np.ndindex(N, H, L, L)]
    np.testing.assert_allclose(s, np.reshape(by_hand, (N, H, L, L)), rtol=1e-11, atol=1e-13)
    if part.bilinear:
        W = np.asarray(jax.jit(lambda p: part.matrices(p, H))(p))
        np.testing.assert_allclose(s, np.einsum("nkm,hmp,nqp->nhqk", X, W, X), rtol=1e-10, atol=1e-12)
        stacked = jax.tree.map(lambda array: np.stack([array, 2 * array]), p)
        both = jax.jit(lambda p: part.matrices(p, H))(stacked)
        np.testing.assert_allclose(both, [W, 2 ** len(p) * W] if not isinstance(part, Tied) else [W, 4 * W], rtol=1e-12)
    slope_is_the_difference(lambda p, x: part(p, x, H), p, X)


@pytest.mark.parametrize("part", VALUE_PARTS, ids=str)
def test_values(part):
    p, read = drawn(part.shapes(M)), RNG.normal(size=(N, L, H, M // H))
    read_by = jax.jit(lambda p, x, read: (part.values(p, x, H), part.joined(p, read)))
    values, out = read_by(p, X, read)
    inner = X if isinstance(part, LinearValue) else np.asarray(jax.nn.gelu(X @ p["W_H"].T))
    np.testing.assert_allclose(values, (inner @ p["W_V"].T).reshape(N, L, H, -1), rtol=1e-11, atol=1e-13)
    joined = read.reshape(N, L, M)
    np.testing.assert_allclose(out, joined @ p["W_O"].T if part.output else joined, rtol=1e-11, atol=1e-13)
    slope_is_the_difference(lambda p, x: part.joined(p, part.values(p, x, H)), p, X)


@dataclasses.dataclass(frozen=True)
class Holder:
    mask: Mask = Causal()  # noqa: RUF009  (frozen)


@dataclasses.dataclass(frozen=True)
class Even(Mask):
    """Keys at even positions."""

    def __call__(self, length):
        return jnp.broadcast_to(jnp.arange(length)[None] % 2 == 0, (length, length))


def test_parts_are_picked_by_name(monkeypatch):
    for value, part in (
        ("full", Full()),
        ({"name": "window", "back": 4}, Window(4)),
        ({"name": "given", "rows": [[1, 0], [1, 1]]}, Given(((1, 0), (1, 1)))),
    ):
        assert build(Holder, {"mask": value}, "model.").mask == part
    assert build(Holder, {}, "model.").mask == Causal()
    monkeypatch.setitem(dynamics.MASKS, "even", Even)
    assert build(Holder, {"mask": "even"}, "model.").mask == Even()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nosuch", "model.mask = 'nosuch': must be one of 'full', 'causal', 'window', "),
        (3, "model.mask = 3: must be a group of keys, its name one of 'full', "),
        ({"name": "nosuch"}, "model.mask.name = 'nosuch': must be one of 'full', "),
        ("given", "model.mask.rows = None: is missing"),
        ({"name": "window", "back": -1}, "model.mask.back = -1: must not be negative"),
        ({"name": "window", "back": 1, "bak": 1}, "model.mask.bak = 1: unknown key; did you mean 'back'?"),
        ({"name": "blocks", "size": 0}, "model.mask.size = 0: must be at least 1"),
        ({"name": "given", "rows": [[1, 0], [1]]}, r"model.mask.rows\[1\] = \(1,\): must have 2 entries"),
        ({"name": "given", "rows": [[1, 0], [1, 2]]}, r"model.mask.rows\[1\] = \(1, 2\): must be a list of 0 and 1"),
        ({"name": "given", "rows": [[1, 0], [0, 0]]}, r"model.mask.rows\[1\] = \(0, 0\): must have a 1"),
    ],
)
def test_bad_input(value, message):
    with pytest.raises(dynamics.ConfigError, match=message):
        build(Holder, {"mask": value}, "model.")


def test_a_mask_for_shorter_inputs():
    with pytest.raises(dynamics.ConfigError, match="number of rows = 2: must be at least 3"):
        Given(((1, 0), (1, 1)))(3)
