"""Matrices that gradient flow conserves exactly in the one-layer model, and the drift of a trajectory from them.

Along the flow Ẇ = a (Σ_h W_V^h z^h)ᵀ, Ẇ_V = u zᵀ, Ẇ_K = W_Q Mᵀ, Ẇ_Q = W_K M (per head; u = Wᵀa), so that
    d/dt (WᵀW) = Σ_h u (W_V^h z^h)ᵀ + transpose = d/dt (Σ_h W_V^h W_V^hᵀ)    and
    d/dt (W_Q W_Qᵀ) = W_K M W_Qᵀ + transpose = d/dt (W_K W_Kᵀ)   in every head.
Gradient descent with step η changes them at order η over a fixed time. A model's `conserved` gives the terms of such
differences (dynamics.models.Balance); dynamics.models.gram.gram_invariants gives their traces and norms from the Gram
matrices.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dynamics.models import Balance, Gram

# The largest drift that is trusted, calibrated by comparing drifts with errors of the loss: ALLOWED rtol; with steps of
# the stabilised method, whose errors add up as rtol^(2/3), also ALLOWED_STABILISED rtol^(2/3).
ALLOWED, ALLOWED_STABILISED = 6, 0.06


def allowed_drift(rtol: float, stabilised: bool) -> tuple[float, str]:
    """The largest drift with which a flow is trusted, and its rule in words.

    Args:
        rtol: the relative tolerance of the flow.
        stabilised: whether steps of the stabilised method were taken.
    """
    allowed, of_stabilised = ALLOWED * rtol, ALLOWED_STABILISED * rtol ** (2 / 3)
    if stabilised and of_stabilised > allowed:
        return of_stabilised, f"{ALLOWED_STABILISED} rtol^(2/3)"
    return allowed, f"{ALLOWED} rtol"


def relative_drift(
    now: tuple[Balance, ...], start: tuple[Balance, ...], rates: Mapping[str, Any] = MappingProxyType({})
) -> Float[Array, " conserved"]:
    """|Q(t) − Q(0)| / (the largest entry of the two terms whose difference is Q, at 0 and at t), for every balance.

    |·| is the largest absolute entry. Relative to the terms that cancel, and not to Q(0), since Q(0) is zero at a
    balanced start and small at a small one. It is 0 where all terms are zero, and infinite where one is not finite.

    Args:
        now: the balances at t.
        start: the balances at 0.
        rates: r_θ of gradient flow θ̇ = −r_θ ∂L/∂θ, by the names of parameters; 1 for those that are not among them.

    Returns:
        One number for each balance; nan for one that holds trivially because the rate of a parameter is 0.
    """
    return jnp.stack([_drift(one, before, rates) for one, before in zip(now, start, strict=True)])


def _drift(now: Balance, start: Balance, rates: Mapping[str, Any]) -> Float[Array, ""]:
    (term, other), (term0, other0) = now.weighed(rates), start.weighed(rates)
    size = jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in (term, other, term0, other0)]))
    moved = jnp.max(jnp.abs((term - other) - (term0 - other0)))
    drift = jnp.where(size == 0, 0, moved / jnp.where(size == 0, 1, size))
    drift = jnp.where(jnp.isnan(drift), jnp.inf, drift)
    return jnp.where(now.moves(rates), drift, jnp.nan)


def largest_drift(drift: Any) -> float | None:
    """The largest of the recorded drifts; None if all of them are nan, since nothing that moves is conserved."""
    return None if np.isnan(drift).all() else float(np.nanmax(drift))


def spectra(gram: Gram, neurons: int) -> tuple[Float[Array, " value_mode"], Float[Array, "H score_mode"]]:
    """Eigenvalues that gradient flow keeps constant, in ascending order, from the Gram matrices.

    These are the H d + 1 of diag(−I, 1/m1) · Gram([W_V, u]), and 2 d of diag(I, −I) · Gram([W_Q, W_K]) in every head:
    the non-zero eigenvalues of u uᵀ/m1 − Σ_h W_V^h W_V^hᵀ and of W_Q W_Qᵀ − W_K W_Kᵀ, and zeros.
    """
    A, G, S, C_V, C_K, C_Q = gram
    heads, d = G.shape
    values = jnp.block([[C_V.reshape(heads * d, heads * d), G.reshape(-1, 1)], [G.reshape(1, -1), S.reshape(1, 1)]])
    signs = jnp.append(-jnp.ones(heads * d, G.dtype), jnp.array(1 / neurons, G.dtype))
    pairs = jnp.concatenate(
        [jnp.concatenate([C_Q, jnp.swapaxes(A, 1, 2)], axis=2), jnp.concatenate([A, C_K], axis=2)], axis=1
    )
    opposite = jnp.append(jnp.ones(d, G.dtype), -jnp.ones(d, G.dtype))
    # One after another, since batched decompositions may deadlock: see _of_each in dynamics.analysis.attention.
    return _spectrum(values, signs), jax.lax.map(lambda pair: _spectrum(pair, opposite), pairs)


def _spectrum(gram: Float[Array, "p p"], signs: Float[Array, " p"]) -> Float[Array, " p"]:
    """The eigenvalues of diag(signs) · gram, which are those of the symmetric gram^½ diag(signs) gram^½."""
    squares, basis = jnp.linalg.eigh(gram)
    root = basis * jnp.sqrt(jnp.maximum(squares, 0))[None, :]
    return jnp.linalg.eigvalsh(root.T @ (signs[:, None] * root))
