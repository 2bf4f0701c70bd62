"""The gradient against the paper's closed forms (arXiv:2410.09605, Appendix B), and F against equation (1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def equation_one(params, a, tokens, heads):
    """F(X) of equation (1), summed word by word and neuron by neuron; X is one-hot."""
    W = params["W"]
    m, d = W.shape[1], params["W_Q"].shape[1]
    total = 0.0
    X = np.eye(d)[:, tokens]
    for h in range(heads):
        rows = slice(h * m, (h + 1) * m)
        W_Q, W_K, W_V = (params[name][rows] for name in ("W_Q", "W_K", "W_V"))
        for x in X.T:
            p = softmax(X.T @ W_K.T @ W_Q @ x / np.sqrt(m))
            total += sum(a[j] * W[j] @ W_V @ X @ p for j in range(len(a)))
    return total


@pytest.mark.parametrize("heads", [1, 3])
def test_output_is_equation_one(heads):
    experiment = dynamics.Experiment.from_config(small_config(**{"model.heads": heads}))
    params, objective = experiment.start
    host, data = jax.tree.map(np.asarray, experiment.start)
    expected = [equation_one(host, data.constants["a"], tokens, heads) for tokens in data.batch.inputs]
    np.testing.assert_allclose(objective.output(params), expected, rtol=1e-12, atol=1e-14)


def closed_form(params, a, batch):
    """-∇L by the compact form of Appendix B: W' = a (W_V z)ᵀ, W_V' = u zᵀ, W_K' = W_Q Mᵀ, W_Q' = W_K M."""
    W, W_Q, W_K, W_V = (params[name] for name in ("W", "W_Q", "W_K", "W_V"))
    m, d = W_Q.shape
    u = W.T @ a
    G = W_V.T @ u
    n = len(batch.targets)
    z, M = np.zeros(d), np.zeros((d, d))
    for tokens, y in zip(batch.inputs, batch.targets, strict=True):
        X = np.eye(d)[:, tokens]
        P = np.stack([softmax(X.T @ W_K.T @ W_Q @ x / np.sqrt(m)) for x in X.T], axis=1)
        F = (G @ X @ P).sum()
        c = y / (1 + np.exp(y * F)) / n
        z += c * (X @ P).sum(axis=1)
        for query in range(len(tokens)):
            mean = G @ X @ P[:, query]
            for key in range(len(tokens)):
                weight = c * P[key, query] * (G[tokens[key]] - mean) / np.sqrt(m)
                M += weight * np.outer(X[:, key], X[:, query])
    return {"W": np.outer(a, W_V @ z), "W_V": np.outer(u, z), "W_K": W_Q @ M.T, "W_Q": W_K @ M}


def test_gradient_is_the_closed_form(small):
    params, objective = small.start
    host, data = jax.tree.map(np.asarray, small.start)
    expected = closed_form(host, data.constants["a"], data.batch)
    gradient = jax.grad(objective.loss)(params)
    for name, velocity in expected.items():
        np.testing.assert_allclose(-gradient[name], velocity, rtol=1e-11, atol=1e-15)


def test_gradient_against_finite_differences(small):
    params, objective = small.start
    gradient = jax.grad(objective.loss)(params)
    direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)
    slope = sum(jnp.vdot(g, v) for g, v in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))

    def along(h):
        return objective.loss(jax.tree.map(lambda x, v: x + h * v, params, direction))

    h = 1e-4
    fourth_order = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    np.testing.assert_allclose(slope, fourth_order, rtol=1e-8)


def test_positions_do_not_matter(small):
    params, objective = small.start
    shuffled = objective.batch.inputs[:, jnp.array([2, 0, 3, 1])]
    np.testing.assert_allclose(objective.apply(params, shuffled)[0], objective.output(params), rtol=1e-12)


def test_heads_add_before_w():
    """Two heads are the sum of two models of one head that share W and a."""
    two = dynamics.Experiment.from_config(small_config(**{"model.heads": 2}))
    params, objective = two.start
    m = two.model.width
    one = dynamics.Experiment.from_config(small_config()).model
    total = 0.0
    for h in range(2):
        head = {name: x if name == "W" else x[h * m : (h + 1) * m] for name, x in params.items()}
        total = total + dynamics.Objective(one, objective.constants, objective.batch, "logistic").output(head)
    np.testing.assert_allclose(objective.output(params), total, rtol=1e-12)


def test_gram_matrices(small):
    params, data = jax.tree.map(np.asarray, small.start)
    gram = small.start[1].apply(small.start[0], method="gram")
    u = params["W"].T @ data.constants["a"]
    np.testing.assert_allclose(gram.A[0], params["W_K"].T @ params["W_Q"], rtol=1e-12)
    np.testing.assert_allclose(gram.G[0], params["W_V"].T @ u, rtol=1e-12)
    np.testing.assert_allclose(gram.S, u @ u, rtol=1e-12)
    np.testing.assert_allclose(gram.C_V[0, :, 0], params["W_V"].T @ params["W_V"], rtol=1e-12)
    np.testing.assert_allclose(gram.C_K[0], params["W_K"].T @ params["W_K"], rtol=1e-12)
    np.testing.assert_allclose(gram.C_Q[0], params["W_Q"].T @ params["W_Q"], rtol=1e-12)


def test_loss_keeps_its_tail():
    """log(1 + exp(-x)) ≈ exp(-x) also where 1 + exp(-x) rounds to 1."""
    loss = dynamics.objectives.losses.logistic(jnp.array([50.0, 700.0]), jnp.array([1, 1]))
    np.testing.assert_allclose(loss, np.exp([-50.0, -700.0]), rtol=1e-12)
