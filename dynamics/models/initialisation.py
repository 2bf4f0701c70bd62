"""Random starts by name."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dynamics.config import require
from dynamics.models.one_layer import Gram

__all__ = ["Initialisation"]


# s² fan_in
GAINS = {"kaiming_normal": 2.0, "kaiming_uniform": 2.0, "torch_linear": 1 / 3, "lecun_normal": 1.0}


class Initialisation(eqx.Module):
    """Entries with mean 0 and standard deviation s, fan_in the number of columns of each matrix.

    * theory: s = σ0 for W_Q, W_K, W_V and σ1 for W, normal (arXiv:2410.09605, Section 2)
    * kaiming_normal: s = √(2 / fan_in), normal
    * kaiming_uniform: s = √(2 / fan_in), uniform on ±√(6 / fan_in)
    * torch_linear: s = 1/√(3 fan_in), uniform on ±1/√fan_in, what PyTorch's Linear does
    * lecun_normal: s = 1/√fan_in, normal

    Attributes:
        name: one of the above.
        sigma0: σ0, for theory only; traced, so that another value does not compile again.
        sigma1: σ1, for theory only; traced.
        draw: "weights", or "gram": their Gram matrices alone, from their exact law, at any width; normal entries only.
    """

    name: Literal["theory", "kaiming_normal", "kaiming_uniform", "torch_linear", "lecun_normal"] = eqx.field(
        static=True
    )
    sigma0: float | None = None
    sigma1: float | None = None
    draw: Literal["weights", "gram"] = eqx.field(static=True, default="weights")

    def __check_init__(self):
        for key in ("sigma0", "sigma1"):
            value = getattr(self, key)
            if self.name == "theory":
                require(value is not None and value > 0, key, value, "must be positive with name='theory'")
            else:
                require(value is None, key, value, f"is read by name='theory' only, here {self.name!r}")
        normal = self.distribution == "normal"
        require(
            normal or self.draw == "weights", "draw", self.draw, f"must be 'weights' with the uniform {self.name!r}"
        )

    @property
    def distribution(self) -> str:
        """The shape of the entries' distribution, for the model that draws them."""
        return "uniform" if self.name in ("kaiming_uniform", "torch_linear") else "normal"

    def __call__(self, model: Any, key: PRNGKeyArray) -> tuple[dict[str, Any], dict[str, Any]]:
        """(parameters, constants) of `model`, whose own draw has variance 1 / fan_in, rescaled."""
        variables = model.init(key, jnp.zeros((1, 1), jnp.int32))

        def rescaled(path: Any, matrix: jax.Array) -> jax.Array:
            sigma = self.sigma1 if path[-1].key == "W" else self.sigma0
            if sigma is not None:  # theory
                return matrix * (sigma * jnp.sqrt(jnp.array(matrix.shape[-1], matrix.dtype)))
            return matrix * jnp.sqrt(jnp.array(GAINS[self.name], matrix.dtype))

        return jax.tree_util.tree_map_with_path(rescaled, variables["params"]), variables.get("constants", {})

    def gram(self, model: Any, width: Any, key: PRNGKeyArray) -> tuple[dict[str, Array], dict[str, Array]]:
        """(Gram matrices, constants) at this start, without forming the weights: O(d²) memory at any m.

        Given a, u = Wᵀa is N(0, σ1² m1 I), so [W_V, u] and [W_K, W_Q] are Gaussian matrices with m independent rows,
        and their Gram matrices are Wishart.

        Args:
            model: what has the other shapes: vocabulary, neurons, heads, dtype.
            width: m; traced, so that another one does not compile again.
            key: of this draw; one key at several widths gives starts that are not independent.
        """
        d, heads, dtype = model.vocabulary, model.heads, jnp.dtype(model.dtype)
        m = jnp.asarray(width, dtype)
        gain = GAINS.get(self.name, 1.0)
        sigma0 = jnp.sqrt(gain / d) if self.sigma0 is None else self.sigma0
        sigma1 = jnp.sqrt(gain / m) if self.sigma1 is None else self.sigma1
        sign_key, value_key, *head_keys = jax.random.split(key, 2 + heads)
        value = _wishart(value_key, m, heads * d + 1)
        C_V = (sigma0**2 * value[:-1, :-1]).reshape(heads, d, heads, d)
        sigma_u = sigma1 * jnp.sqrt(jnp.array(model.neurons, dtype))
        pairs = sigma0**2 * jnp.stack([_wishart(k, m, 2 * d) for k in head_keys])
        gram = Gram(
            A=pairs[:, :d, d:],
            G=(sigma0 * sigma_u * value[:-1, -1]).reshape(heads, d),
            S=sigma_u**2 * value[-1, -1],
            C_V=C_V,
            C_K=pairs[:, :d, :d],
            C_Q=pairs[:, d:, d:],
        )
        return gram._asdict(), {"a": jax.random.rademacher(sign_key, (model.neurons,), dtype), "width": m}


def _wishart(key: PRNGKeyArray, m: Float[Array, ""], p: int) -> Float[Array, "p p"]:
    """XᵀX of an m × p matrix of independent N(0, 1), by Bartlett's decomposition L Lᵀ.

    L is lower triangular with independent entries in its first min(m, p) columns: N(0, 1) below the diagonal, and the
    square root of a chi-square with m − i degrees of freedom at (i, i), i = 0, 1, ... Its other columns are zero.
    """
    below_key, diagonal_key = jax.random.split(key)
    degrees = m - jnp.arange(p, dtype=m.dtype)
    below = jnp.tril(jax.random.normal(below_key, (p, p), m.dtype), -1)
    chi_square = 2 * jax.random.gamma(diagonal_key, jnp.maximum(degrees, 1) / 2, dtype=m.dtype)
    L = jnp.where(degrees > 0, below + jnp.diag(jnp.sqrt(chi_square)), 0)
    return L @ L.T
