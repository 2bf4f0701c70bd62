"""The one-layer model in those entries of its Gram matrices that move, for samples that hold few of the words.

The columns of W_K, W_Q and W_V of a word that is in no sample do not move. Number the words such that the o that may be
in a sample, those of O, come first, and the others, those of R, last. Then the block RR of every Gram matrix is
constant, M and z of dynamics.models.gram are zero outside O, and their equations become, with the o × o matrix M,

    Ȧ_OO = r_Q C_K,OO M + r_K M C_Q,OO     Ċ_K,OO = r_K (A_OO Mᵀ + M A_OOᵀ)     Ċ_Q,OO = r_Q (A_OOᵀ M + Mᵀ A_OO)
    Ȧ_OR = r_K M C_Q,OR                    Ċ_K,OR = r_K M A_ROᵀ                 Ċ_Q,OR = r_Q Mᵀ A_OR
    Ȧ_RO = r_Q C_K,RO M

and so for C_V; G and S move as before. These are fewer than 5 o d entries instead of 4 d².
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from dynamics.models.gram import GramModel, Rates
from dynamics.models.model import at_rate
from dynamics.models.one_layer import Gram, read_samples
from dynamics.models.pairs import on_pairs, symmetric_times


class MovingGram(NamedTuple):
    """The entries of the Gram matrices that move; the words of O come first.

    Attributes:
        A: [A_OO, A_OR] of every head, key × query.
        A_T: A_ROᵀ of every head, query × key.
        G: aᵀ W W_V of every head.
        S: ‖Wᵀa‖².
        C_V: [C_V,OO, C_V,OR], between heads too.
        C_K: [C_K,OO, C_K,OR] of every head.
        C_Q: [C_Q,OO, C_Q,OR] of every head.
    """

    A: Float[Array, "H o d"]
    A_T: Float[Array, "H o d-o"]
    G: Float[Array, "H d"]
    S: Float[Array, ""]
    C_V: Float[Array, "H o H d"]
    C_K: Float[Array, "H o d"]
    C_Q: Float[Array, "H o d"]


@dataclass(frozen=True)
class MovingGramModel(GramModel):
    """GramModel as a function of the entries that move.

    Its constants have two more names: "place", the number of every word in the order of MovingGram [d], and "resting",
    the blocks RR of A, C_V, C_K and C_Q.

    Attributes:
        moving: o.
    """

    moving: int

    def apply(self, variables: PyTree, *args: Any, method: str = "__call__") -> Any:
        """See GramModel.apply."""
        if method != "__call__":
            return super().apply({**variables, "params": self._whole(variables)._asdict()}, *args, method=method)
        (tokens,), constants, moving = args, variables["constants"], MovingGram(**variables["params"])
        numbered = constants["place"][tokens]
        heads = zip(moving.A, moving.A_T, constants["resting"]["A"], strict=True)
        products = [self._look_up(*head, numbered) for head in heads]
        return read_samples(products, list(moving.G), numbered, constants["width"])

    def _look_up(self, A_OxD: Array, A_T_OxR: Array, A_RxR: Array, tokens: Int[Array, "n L"]) -> Float[Array, "K Q n"]:
        """The products of look_up_scores with the whole A."""
        o, last, keys, queries = self.moving, self.moving - 1, tokens.T[:, None], tokens.T[None, :]
        resting_key, resting_query = jnp.maximum(keys - o, 0), jnp.maximum(queries - o, 0)
        of_resting = jnp.where(
            queries < o, A_T_OxR[jnp.minimum(queries, last), resting_key], A_RxR[resting_key, resting_query]
        )
        return jnp.where(keys < o, A_OxD[jnp.minimum(keys, last), queries], of_resting)

    def _whole(self, variables: PyTree) -> Gram:
        """All entries, with the words in their own order."""
        constants, o = variables["constants"], self.moving
        A, A_T, G, S, C_V, C_K, C_Q = MovingGram(**variables["params"])
        place, rest = constants["place"], constants["resting"]

        def in_order(rows: Array, below: Array, resting: Array) -> Array:
            whole = jnp.concatenate([rows, jnp.concatenate([below, resting], axis=-1)], axis=-2)
            return whole[..., place[:, None], place[None]]

        C_V = jnp.swapaxes(C_V, 1, 2)
        below = jnp.transpose(C_V[..., o:], (1, 0, 3, 2))
        return Gram(
            A=in_order(A, A_T.mT, rest["A"]),
            G=G[:, place],
            S=S,
            C_V=jnp.swapaxes(in_order(C_V, below, jnp.swapaxes(rest["C_V"], 1, 2)), 1, 2),
            C_K=in_order(C_K, C_K[..., o:].mT, rest["C_K"]),
            C_Q=in_order(C_Q, C_Q[..., o:].mT, rest["C_Q"]),
        )

    def velocity(
        self, variables: PyTree, slope: PyTree, rates: Rates, tokens: Int[Array, "n L"] | None
    ) -> dict[str, Array]:
        """The velocity of the entries that move, by the equations above; arguments as in GramModel.velocity."""
        o, m1 = self.moving, self.neurons
        A, A_T, G, S, C_V, C_K, C_Q = MovingGram(**variables["params"])
        z_HxD = slope["G"]
        M_HxOxO = on_pairs(slope["A"][..., :o], variables["constants"]["place"][tokens])
        r_W, r_K, r_Q, r_V = (rates[name] for name in self.weights)

        def with_mirrored(rows: Array) -> Array:
            """[X_OO + X_OOᵀ, X_OR] from [X_OO, X_OR]."""
            return rows.at[..., :o].add(rows[..., :o].mT)

        by_queries = at_rate(r_Q, symmetric_times(C_K[..., :o], M_HxOxO))
        A_transposed_HxOxD = jnp.concatenate([A[..., :o].mT, A_T], axis=-1)
        return {
            "A": at_rate(r_K, M_HxOxO @ C_Q).at[..., :o].add(by_queries),
            "A_T": at_rate(r_Q, M_HxOxO.mT @ C_K[..., o:]),
            "G": at_rate(r_V, S * z_HxD) + at_rate(r_W, m1 * jnp.einsum("hi,higj->gj", z_HxD[:, :o], C_V)),
            "S": at_rate(r_W, 2 * m1 * jnp.sum(G * z_HxD)),
            "C_V": at_rate(r_V, _outer(z_HxD[:, :o], G) + _outer(G[:, :o], z_HxD)),
            "C_K": at_rate(r_K, with_mirrored(M_HxOxO @ A_transposed_HxOxD)),
            "C_Q": at_rate(r_Q, with_mirrored(M_HxOxO.mT @ A)),
        }


def few_move(samples: tuple[int, ...], vocabulary: int) -> bool:
    """Whether the entries that move are fewer than all, from shapes alone: at most o = n L words are in samples.

    Args:
        samples: n and L.
        vocabulary: d.
    """
    n, length = samples
    return 5 * n * length < 4 * vocabulary


def moving_entries(
    gram: Mapping[str, Array], constants: Mapping[str, Any], model: GramModel, tokens: Int[Array, "n L"]
) -> tuple[dict[str, Array], dict[str, Any], MovingGramModel]:
    """The entries that move, the constants of the model, and the model as a function of both.

    Args:
        gram: the Gram matrices, with the shapes of Gram.
        constants: of GramModel.
        model: of the Gram matrices.
        tokens: of the samples. o = n L, even where fewer words are in samples: shapes do not depend on the seed.
    """
    o, d = tokens.size, model.vocabulary
    occurs = jnp.zeros(d, bool).at[tokens].set(True)
    order = jnp.argsort(~occurs)
    place = jnp.zeros(d, tokens.dtype).at[order].set(jnp.arange(d, dtype=tokens.dtype))
    A, C_K, C_Q = (gram[name][:, order[:, None], order[None]] for name in ("A", "C_K", "C_Q"))
    C_V = gram["C_V"][:, order][..., order]
    moving = MovingGram(
        A=A[:, :o],
        A_T=A[:, o:, :o].mT,
        G=gram["G"][:, order],
        S=gram["S"],
        C_V=C_V[:, :o],
        C_K=C_K[:, :o],
        C_Q=C_Q[:, :o],
    )
    resting = {"A": A[:, o:, o:], "C_V": C_V[:, o:, :, o:], "C_K": C_K[:, o:, o:], "C_Q": C_Q[:, o:, o:]}
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return moving._asdict(), {**constants, "place": place, "resting": resting}, MovingGramModel(**fields, moving=o)


def _outer(one: Float[Array, "H o"], other: Float[Array, "H d"]) -> Float[Array, "H o H d"]:
    return one[:, :, None, None] * other[None, None]
