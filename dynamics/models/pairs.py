"""Matrices over pairs of words that are zero unless both words stand in one sample.

The loss looks at the scores of at most n L² pairs of words, and so −∂L/∂(W_Kᵀ W_Q) has no other entries. A product of
it with a d × d matrix costs n L² d multiplications instead of d³. Which way is taken is decided by count, from shapes
alone.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import sparse
from jaxtyping import Array, Bool, Float, Int


class Costs(NamedTuple):
    """What work on pairs costs, in multiplications of a dense product.

    Attributes:
        sparse: a multiplication of a sparse product.
        pair: a multiplication of the columns of two words.
        moved: to gather one number of a column, and to scatter that of its gradient.
        moved_by_width: how much more that is for every number of a column: long columns leave the cache sooner.
    """

    sparse: float
    pair: float
    moved: float
    moved_by_width: float


# On a CPU they were measured: experiments/speed/README.md. Elsewhere they are estimates, for about 30 multiplications
# in the time that a byte takes to be moved.
COSTS = {"cpu": Costs(8.0, 2.25, 30.0, 0.3)}
ELSEWHERE = Costs(500.0, 2.25, 600.0, 0.0)
BLOCK = 64  # rows and columns of a block that fits into the fastest cache
LARGE = 1024  # from here on a sum of a matrix and its own transpose is taken block by block


class Pairs(NamedTuple):
    """The pairs of words that share a sample, in the order of (row, column).

    Attributes:
        rows: the first word of each pair.
        columns: the second one.
        begins: where the pairs of each row begin; the last entry is their number.
        first: whether the pair is not the same as the one before.
    """

    rows: Int[Array, " p"]
    columns: Int[Array, " p"]
    begins: Int[Array, " d+1"]
    first: Bool[Array, " p"]

    @classmethod
    def of(cls, tokens: Int[Array, "n L"], vocabulary: int) -> "Pairs":
        """All pairs of every sample, n L² with repetitions; (a, b) is among them if (b, a) is."""
        shape = (*tokens.shape, tokens.shape[1])
        rows, columns = jnp.broadcast_to(tokens[:, :, None], shape), jnp.broadcast_to(tokens[:, None], shape)
        rows, columns = jax.lax.sort((jnp.ravel(rows), jnp.ravel(columns)), num_keys=2)
        first = (jnp.diff(rows, prepend=-1) != 0) | (jnp.diff(columns, prepend=-1) != 0)
        begins = jnp.searchsorted(rows, jnp.arange(vocabulary + 1, dtype=rows.dtype))
        return cls(rows, columns, begins.astype(rows.dtype), first)


class PairMatrix(eqx.Module):
    """M of every head, zero except at `pairs`; `@` multiplies by it from either side.

    Attributes:
        dense: M.
        pairs: where it is not zero.
    """

    dense: Float[Array, "H d d"]
    pairs: Pairs

    @property
    def mT(self) -> "PairMatrix":
        """Mᵀ; the pairs are those of M."""
        return PairMatrix(self.dense.mT, self.pairs)

    def __matmul__(self, matrix: Float[Array, "H d e"]) -> Float[Array, "H d e"]:
        """M times a matrix of every head."""
        rows, columns, begins, first = self.pairs
        d = self.dense.shape[-1]

        def of_head(M_DxD: Array, matrix_DxE: Array) -> Any:
            # Transposed, M is not written down: only these entries are read.
            entries = jnp.where(first, M_DxD[rows, columns], 0)
            return sparse.BCSR((entries, columns, begins), shape=(d, d)) @ matrix_DxE

        return jnp.stack([of_head(*head) for head in zip(self.dense, matrix, strict=True)])

    def __rmatmul__(self, matrix: Float[Array, "H e d"]) -> Float[Array, "H e d"]:
        """A matrix of every head times M, as (Mᵀ matrixᵀ)ᵀ."""
        return (self.mT @ matrix.mT).mT


def on_pairs(M_HxDxD: Float[Array, "H d d"], tokens: Int[Array, "n L"] | None) -> Float[Array, "H d d"] | PairMatrix:
    """M as it multiplies fastest.

    Args:
        M_HxDxD: a matrix over pairs of words for every head.
        tokens: of samples. If they are given, M is zero at pairs of words that share no sample.
    """
    if tokens is None:
        return M_HxDxD
    d, pairs = M_HxDxD.shape[-1], tokens.size * tokens.shape[1]
    return PairMatrix(M_HxDxD, Pairs.of(tokens, d)) if _costs().sparse * pairs < d**2 else M_HxDxD


def few_pairs(samples: tuple[int, ...], vocabulary: int, width: int) -> bool:
    """Whether the scores of all pairs of words in samples cost less than a table of all pairs of the vocabulary.

    The table takes d² m multiplications. The samples take n L² m, and their n L columns of m numbers are gathered, and
    their gradients scattered, which counts as well.

    Args:
        samples: n and L.
        vocabulary: d.
        width: m.
    """
    n, length = samples
    return n * length * column_cost(length, width) < vocabulary**2


def column_cost(length: int, width: int) -> float:
    """What one number of the columns of the samples' words costs, with its multiplications."""
    costs = _costs()
    return costs.moved + costs.moved_by_width * width + costs.pair * length


def _costs() -> Costs:
    return COSTS.get(jax.default_backend(), ELSEWHERE)


def symmetric_times(C_HxDxD: Float[Array, "H d d"], M_HxDxD: Float[Array, "H d d"] | PairMatrix) -> Any:
    """C M of every head for a symmetric C, which then is not transposed."""
    return (M_HxDxD.mT @ C_HxDxD).mT if isinstance(M_HxDxD, PairMatrix) else C_HxDxD @ M_HxDxD


def symmetric(matrix: Float[Array, "*H d d"]) -> Float[Array, "*H d d"]:
    """X + Xᵀ.

    Large ones block by block: XLA's loop over a row reads a whole column, and takes 58 ms instead of 6 at d = 1923.
    """
    d = matrix.shape[-1]
    if d < LARGE:
        return matrix + matrix.mT
    blocks = -(-d // BLOCK)
    widths = [(0, 0)] * (matrix.ndim - 2) + [(0, blocks * BLOCK - d)] * 2
    shape = (*matrix.shape[:-2], blocks, BLOCK, blocks, BLOCK)
    in_blocks = jnp.pad(matrix, widths).reshape(shape)
    sum_in_blocks = in_blocks + jnp.moveaxis(in_blocks, (-2, -1), (-4, -3))
    return sum_in_blocks.reshape(*matrix.shape[:-2], blocks * BLOCK, blocks * BLOCK)[..., :d, :d]
