"""Matrices that gradient flow conserves exactly in the one-layer model, and the drift of a trajectory from them.

Along the flow Ẇ = a (Σ_h W_V^h z^h)ᵀ, Ẇ_V = u zᵀ, Ẇ_K = W_Q Mᵀ, Ẇ_Q = W_K M (per head; u = Wᵀa), so that
    d/dt (WᵀW) = Σ_h u (W_V^h z^h)ᵀ + transpose = d/dt (Σ_h W_V^h W_V^hᵀ)    and
    d/dt (W_Q W_Qᵀ) = W_K M W_Qᵀ + transpose = d/dt (W_K W_Kᵀ)   in every head.
Gradient descent with step η changes them at order η over a fixed time. A model's `conserved` gives the matrices;
dynamics.models.gram.gram_invariants gives their traces and norms from the Gram matrices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.models import Gram

# The largest drift that is trusted, calibrated by comparing drifts with errors of the loss: ALLOWED rtol; with steps of
# the stabilised method, whose errors add up as rtol^(2/3), also ALLOWED_STABILISED rtol^(2/3).
ALLOWED, ALLOWED_STABILISED = 10, 0.1


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


def relative_drift(now: tuple[Array, ...], start: tuple[Array, ...]) -> Float[Array, " conserved"]:
    """Max |Q(t) − Q(0)| / max |Q(0)| of every conserved matrix Q."""
    return jnp.stack([jnp.max(jnp.abs(q - q0)) / jnp.max(jnp.abs(q0)) for q, q0 in zip(now, start, strict=True)])


def spectra(gram: Gram, neurons: int) -> tuple[Float[Array, " value_mode"], Float[Array, "H score_mode"]]:
    """The eigenvalues that the flow conserves, ascending: it is isospectral in the Gram variables.

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
