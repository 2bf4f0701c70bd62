"""The one-layer model in Gram variables: closed under gradient flow and under descent, at one cost for every width.

F depends on the weights through A^h = W_K^hᵀ W_Q^h and G^h = W_V^hᵀ u only, with u = Wᵀa. Let z^h = −∂L/∂G^h and
M^h = −∂L/∂A^h (arXiv:2410.09605, Appendix B, in compact form). The weights move as Ẇ = a (Σ_g W_V^g z^g)ᵀ,
Ẇ_V^h = u z^hᵀ, Ẇ_K^h = W_Q^h M^hᵀ, Ẇ_Q^h = W_K^h M^h, and by the product rule A, G, S = uᵀu and the Gram matrices C
move as functions of themselves. For one head these are the equations of its Appendix C. For H heads, whose
outputs add before W and so share u, they were derived here: C_V couples the heads, C_K and C_Q do not.

Steps of gradient descent are closed as well. Those of heavy ball are closed together with the inner products of weights
and momenta, see GramModel.heavy_ball_step. Adam, which divides entry by entry, is not closed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from dynamics.models.attention import look_up_scores
from dynamics.models.balance import Balance
from dynamics.models.model import at_rate
from dynamics.models.one_layer import Gram, OneLayerTransformer, read_samples
from dynamics.models.pairs import on_pairs, symmetric, symmetric_times

Rates = Mapping[str, Any]  # {weight: r}; None for 1, the number 0 for a frozen weight

GRAM_INVARIANTS = ("value_trace", "value_square", "score_trace", "score_square")


class Momenta(NamedTuple):
    """The inner products of the columns of weights X with those of their momenta P.

    Attributes:
        cross: XᵀP.
        square: PᵀP.
    """

    cross: Float[Array, "*H n n"]
    square: Float[Array, "*H n n"]


class HeavyBallStep(NamedTuple):
    """The numbers of one step of heavy ball.

    Attributes:
        eta: η.
        beta: β.
        scale: s, by which the schedule of the learning rate multiplies the step; None is 1.
    """

    eta: Any
    beta: Any
    scale: Any = None


@dataclass(frozen=True)
class GramModel:
    """The one-layer model as a function of its Gram matrices, with the same `apply` as a Flax module.

    The width m is a constant of the objective, {"a": a, "width": m}. It enters through 1/√m only, so that another
    width does not recompile.

    Attributes:
        vocabulary: d.
        neurons: m1.
        heads: H.
        dtype: of the Gram matrices.
    """

    vocabulary: int
    neurons: int
    heads: int
    dtype: str

    capabilities: ClassVar[frozenset[str]] = frozenset({"gram", "conserved", "attention"})
    layers: ClassVar[int] = 1
    weights: ClassVar[tuple[str, ...]] = ("W", "W_K", "W_Q", "W_V")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"a": ("neuron",), "width": ()}

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The numbers of its layer, its heads and its eigenvalues, and the names of what `conserved` gives."""
        return {
            "layer": [0],
            "head": list(range(self.heads)),
            "value_mode": list(range(self.heads * self.vocabulary + 1)),
            "score_mode": list(range(2 * self.vocabulary)),
            "conserved": ["value_square", "score_square"],
        }

    @classmethod
    def of(cls, model: OneLayerTransformer) -> "GramModel":
        """The same model in Gram variables."""
        return cls(model.vocabulary, model.neurons, model.heads, model.dtype)

    def apply(self, variables: PyTree, *args: Any, method: str = "__call__") -> Any:
        """F and the intermediates of OneLayerTransformer at variables["params"], or the result of another method."""
        gram = Gram(**variables["params"])
        if method == "__call__":
            (tokens,) = args
            products = [look_up_scores(A_KxQ, tokens) for A_KxQ in gram.A]
            return read_samples(products, list(gram.G), tokens, variables["constants"]["width"])
        return getattr(self, method)(gram, *args)

    def gram(self, gram: Gram) -> Gram:
        """The Gram matrices."""
        return gram

    def conserved(self, gram: Gram) -> tuple[Balance, Balance]:
        """The terms of the two squares of gram_invariants, ‖uuᵀ/m1 − W_V W_Vᵀ‖² and ‖W_Q W_Qᵀ − W_K W_Kᵀ‖².

        The traces are linear in the Gram matrices: every Runge-Kutta method keeps them, and they certify nothing here.
        """
        A_HxDxD, G_HxD, S, C_V_HxDxHxD, C_K_HxDxD, C_Q_HxDxD = gram
        m1 = self.neurons
        values = (S**2 / m1**2, jnp.sum(C_V_HxDxHxD**2), 2 / m1 * jnp.sum(G_HxD**2))
        scores = (jnp.sum(C_Q_HxDxD**2), jnp.sum(C_K_HxDxD**2), 2 * jnp.sum(A_HxDxD**2))
        return (
            Balance("value_square", ("W", "W_V"), *values),
            Balance("score_square", ("W_Q", "W_K"), *scores),
        )

    def velocity(
        self, variables: PyTree, slope: PyTree, rates: Rates, tokens: Int[Array, "n L"] | None
    ) -> dict[str, Array]:
        """The velocity of the Gram matrices under gradient flow on the weights, with z = slope["G"], M = slope["A"].

        Ġ = r_V S z + r_W m1 C_V z          Ṡ = 2 r_W m1 Gᵀz              Ċ_V = r_V (z Gᵀ + G zᵀ)
        Ȧ = r_Q C_K M + r_K M C_Q           Ċ_K = r_K (A Mᵀ + M Aᵀ)       Ċ_Q = r_Q (Aᵀ M + Mᵀ A)

        Args:
            variables: {"params": the Gram matrices, with the shapes of Gram}; its constants are not used.
            slope: −∂L/∂ of each of them; only those of A and G are used, L depends on no other.
            rates: r of W, W_V, W_K and W_Q, whose velocities are −r ∂L/∂W, ...
            tokens: of the samples, if L depends on nothing else: M is zero at pairs of words that share no sample.
        """
        A_HxDxD, G_HxD, S, C_V_HxDxHxD, C_K, C_Q = Gram(**variables["params"])
        z_HxD, M_HxDxD, m1 = slope["G"], on_pairs(slope["A"], tokens), self.neurons
        M_T = M_HxDxD.mT
        r_W, r_K, r_Q, r_V = (rates[name] for name in self.weights)
        return {
            "A": at_rate(r_Q, symmetric_times(C_K, M_HxDxD)) + at_rate(r_K, M_HxDxD @ C_Q),
            "G": at_rate(r_V, S * z_HxD) + at_rate(r_W, m1 * jnp.einsum("higj,gj->hi", C_V_HxDxHxD, z_HxD)),
            "S": at_rate(r_W, 2 * m1 * jnp.sum(G_HxD * z_HxD)),
            "C_V": at_rate(r_V, _symmetric_product(z_HxD, G_HxD)),
            "C_K": at_rate(r_K, symmetric(M_HxDxD @ A_HxDxD.mT)),
            "C_Q": at_rate(r_Q, symmetric(M_T @ A_HxDxD)),
        }

    def step(
        self, params: PyTree, slope: PyTree, eta: Any, rates: Rates, tokens: Int[Array, "n L"] | None
    ) -> dict[str, Array]:
        """The Gram matrices after one step η of gradient descent on the weights, exactly; see `velocity`.

        With the velocity v of each Gram matrix, the next one is itself + η v + η² times

        G: r_W r_V m1 (Gᵀz) z       S: r_W² m1² zᵀC_V z         C_V: r_V² S zzᵀ
        A: r_K r_Q M Aᵀ M           C_K: r_K² M C_Q Mᵀ          C_Q: r_Q² Mᵀ C_K M
        """
        A_HxDxD, G_HxD, S, C_V_HxDxHxD, C_K, C_Q = Gram(**params)
        z_HxD, M_HxDxD, m1 = slope["G"], on_pairs(slope["A"], tokens), self.neurons
        M_T = M_HxDxD.mT
        r_W, r_K, r_Q, r_V = (rates[name] for name in self.weights)
        second_order = {
            "A": at_rate(r_K, at_rate(r_Q, M_HxDxD @ A_HxDxD.mT @ M_HxDxD)),
            "G": at_rate(r_W, at_rate(r_V, m1 * jnp.sum(G_HxD * z_HxD) * z_HxD)),
            "S": at_rate(r_W, at_rate(r_W, m1**2 * jnp.einsum("hi,higj,gj->", z_HxD, C_V_HxDxHxD, z_HxD))),
            "C_V": at_rate(r_V, at_rate(r_V, S * jnp.einsum("hi,gj->higj", z_HxD, z_HxD))),
            "C_K": at_rate(r_K, at_rate(r_K, M_HxDxD @ C_Q @ M_T)),
            "C_Q": at_rate(r_Q, at_rate(r_Q, M_T @ (C_K @ M_HxDxD))),
        }
        velocity = self.velocity({"params": params}, slope, rates, tokens)
        return {name: params[name] + eta * velocity[name] + eta**2 * second_order[name] for name in params}

    def heavy_ball_step(
        self,
        params: PyTree,
        momenta: dict[str, Momenta],
        slope: PyTree,
        step: HeavyBallStep,
        rates: Rates,
        tokens: Int[Array, "n L"] | None,
    ) -> tuple[dict[str, Array], dict[str, Momenta]]:
        """The Gram matrices and momenta after one step of heavy ball on the weights, exactly.

        Gradient flow moves the columns of X = [W_V^1, ..., W_V^H, u] and, in every head, of X = [W_K, W_Q] by Ẋ = X B,

            B = [0, r_W m1 z; r_V zᵀ, 0] for the values,      B = [0, r_Q M; r_K Mᵀ, 0] for the scores of a head.

        Heavy ball is P' = β P + η X B, X' = X + s P', so that R = XᵀX, D = XᵀP and E = PᵀP are closed:

            D1 = Xᵀ P' = β D + η R B             E' = β² E + β η (DᵀB + BᵀD) + η² BᵀR B
            R' = R + s (D1 + D1ᵀ) + s² E'        D' = D1 + s E'

        Args:
            params: the Gram matrices, with the shapes of Gram.
            momenta: D and E of the values and of the scores.
            slope: −∂L/∂ of each of the Gram matrices; z and M are those of G and A.
            step: η, β and s.
            rates: r of every weight; those that are frozen have no momenta.
            tokens: see `velocity`.
        """
        A_HxDxD, G_HxD, S, C_V_HxDxHxD, C_K, C_Q = Gram(**params)
        z_HxD, M_HxDxD, m1 = slope["G"], on_pairs(slope["A"], tokens), self.neurons
        z_V, M_T, columns = jnp.ravel(z_HxD), M_HxDxD.mT, z_HxD.size
        G_V = jnp.ravel(G_HxD)[:, None]
        r_W, r_K, r_Q, r_V = (rates[name] for name in self.weights)

        def by_values(matrix):
            """X ↦ X B."""
            of_V, of_u = jnp.outer(matrix[:, -1], z_V), m1 * (matrix[:, :-1] @ z_V)[:, None]
            return jnp.concatenate([at_rate(r_V, of_V), at_rate(r_W, of_u)], axis=-1)

        def by_scores(matrix):
            """X ↦ X B of every head."""
            keys, queries = jnp.split(matrix, 2, axis=-1)
            return jnp.concatenate([at_rate(r_K, queries @ M_T), at_rate(r_Q, keys @ M_HxDxD)], axis=-1)

        values = jnp.block([[C_V_HxDxHxD.reshape(columns, columns), G_V], [G_V.T, S[None, None]]])
        scores = jnp.block([[C_K, A_HxDxD], [jnp.swapaxes(A_HxDxD, -1, -2), C_Q]])
        values, of_values = _heavy_ball(values, momenta["values"], by_values, step)
        scores, of_scores = _heavy_ball(scores, momenta["scores"], by_scores, step)
        d = self.vocabulary
        moved = Gram(
            A=scores[:, :d, d:],
            G=values[:-1, -1].reshape(G_HxD.shape),
            S=values[-1, -1],
            C_V=values[:-1, :-1].reshape(C_V_HxDxHxD.shape),
            C_K=scores[:, :d, :d],
            C_Q=scores[:, d:, d:],
        )
        return moved._asdict(), {"values": of_values, "scores": of_scores}


def gram_invariants(gram: Gram, neurons: int) -> Float[Array, " invariant"]:
    """The quantities that gradient flow conserves, from the Gram matrices, in the order of GRAM_INVARIANTS.

    value_trace = S − m1 tr C_V        value_square = S²/m1² + ‖C_V‖² − (2/m1)‖G‖²
    score_trace = tr C_Q − tr C_K      score_square = ‖C_Q‖² + ‖C_K‖² − 2‖A‖²

    They are trace and squared norm of WᵀW − W_V W_Vᵀ (its part along a; the trace times m1) and of
    W_Q W_Qᵀ − W_K W_Kᵀ, summed over heads.
    """
    A_HxDxD, G_HxD, S, C_V_HxDxHxD, C_K_HxDxD, C_Q_HxDxD = gram
    return jnp.stack(
        [
            S - neurons * jnp.einsum("hihi->", C_V_HxDxHxD),
            S**2 / neurons**2 + jnp.sum(C_V_HxDxHxD**2) - 2 / neurons * jnp.sum(G_HxD**2),
            jnp.einsum("hii->", C_Q_HxDxD) - jnp.einsum("hii->", C_K_HxDxD),
            jnp.sum(C_Q_HxDxD**2) + jnp.sum(C_K_HxDxD**2) - 2 * jnp.sum(A_HxDxD**2),
        ]
    )


def at_rest(params: PyTree) -> dict[str, Momenta]:
    """The momenta of weights at rest: all zero.

    Args:
        params: the Gram matrices, with the shapes of Gram.
    """
    heads, d = params["G"].shape
    values = jnp.zeros((heads * d + 1, heads * d + 1), params["G"].dtype)
    scores = jnp.zeros((heads, 2 * d, 2 * d), params["A"].dtype)
    return {"values": Momenta(values, values), "scores": Momenta(scores, scores)}


def _heavy_ball(
    R: Float[Array, "*H n n"], momenta: Momenta, times_B: Callable[[Array], Array], step: HeavyBallStep
) -> tuple[Float[Array, "*H n n"], Momenta]:
    """R' and the momenta of GramModel.heavy_ball_step; times_B multiplies by B from the right."""
    D, E = momenta
    eta, beta, scale = step
    R_B = times_B(R)
    D1 = beta * D + eta * R_B
    # R is symmetric: (R B)ᵀ B = Bᵀ R B.
    square = beta**2 * E + beta * eta * symmetric(times_B(D.mT)) + eta**2 * times_B(R_B.mT)
    if scale is None:
        return R + symmetric(D1) + square, Momenta(D1 + square, square)
    return R + scale * symmetric(D1) + scale**2 * square, Momenta(D1 + scale * square, square)


def _symmetric_product(z_HxD: Float[Array, "H d"], G_HxD: Float[Array, "H d"]) -> Float[Array, "H d H d"]:
    """Z Gᵀ + G zᵀ, between heads too."""
    rows, columns = (slice(None), slice(None), None, None), (None, None)
    return z_HxD[rows] * G_HxD[columns] + G_HxD[rows] * z_HxD[columns]
