"""Random starts by name."""

from collections.abc import Iterable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import check_keys, require, under
from dynamics.models.model import by_name, name_of
from dynamics.models.one_layer import Gram

GAINS = {"kaiming_normal": 2.0, "kaiming_uniform": 2.0, "torch_linear": 1 / 3, "lecun_normal": 1.0}  # s² fan_in


class Initialisation(eqx.Module):
    """Entries with mean 0 and standard deviation s, fan_in the number of columns of each matrix.

    * normal: s = std, or that of the matrix in std_of, normal
    * kaiming_normal: s = √(2 / fan_in), normal
    * kaiming_uniform: s = √(2 / fan_in), uniform on ±√(6 / fan_in)
    * torch_linear: s = 1/√(3 fan_in), uniform on ±1/√fan_in, what PyTorch's Linear does
    * lecun_normal: s = 1/√fan_in, normal
    * model: as the model's own `init` draws them

    Attributes:
        name: one of the above.
        std: s of every matrix, with "normal" only; traced, so that another value does not compile again.
        std_of: s of single matrices by their names, where it is another one, with "normal" only; traced.
        draw: "weights", or "gram": their Gram matrices alone, from their exact law, at any width; normal entries only.
    """

    name: Literal["normal", "kaiming_normal", "kaiming_uniform", "torch_linear", "lecun_normal", "model"] = eqx.field(
        static=True
    )
    std: float | None = None
    std_of: dict[str, float] = eqx.field(default_factory=dict)
    draw: Literal["weights", "gram"] = eqx.field(static=True, default="weights")

    def __check_init__(self):
        deviations = {"std": self.std, **{f"std_of.{name}": value for name, value in self.std_of.items()}}
        for key, value in deviations.items():
            if self.name == "normal":
                require(value is not None and value > 0, key, value, "must be positive with name='normal'")
            else:
                require(value is None, key, value, f"is read by name='normal' only, here {self.name!r}")
        normal = self.distribution == "normal" and self.name != "model"
        allowed = f"must be 'weights' with {self.name!r}, whose entries are not known to be normal"
        require(normal or self.draw == "weights", "draw", self.draw, allowed)

    @property
    def distribution(self) -> str:
        """The shape of the entries' distribution, for the model that draws them."""
        return "uniform" if self.name in ("kaiming_uniform", "torch_linear") else "normal"

    def check(self, matrices: Iterable[str]) -> None:
        """Refuse a name in std_of that is not that of a matrix of the model.

        Raises:
            ConfigError: naming it, and the matrices.
        """
        with under("std_of."):
            check_keys(self.std_of, matrices, "")

    def __call__(self, model: Any, key: PRNGKeyArray, inputs: PyTree) -> tuple[dict[str, Any], dict[str, Any]]:
        """(parameters, constants) of `model`, whose own draw has variance 1 / fan_in unless the name is "model".

        Args:
            model: has a method `init`, as linen modules have it.
            key: of this draw.
            inputs: a sample, for its shape.
        """
        variables = model.init(key, inputs)
        self.check(by_name(variables["params"]))
        if self.name == "model":
            return variables["params"], variables.get("constants", {})

        def rescaled(path: Any, matrix: jax.Array) -> jax.Array:
            std = self.std_of.get(name_of(path), self.std)
            if std is not None:
                return matrix * (std * jnp.sqrt(jnp.array(matrix.shape[-1], matrix.dtype)))
            return matrix * jnp.sqrt(jnp.array(GAINS[self.name], matrix.dtype))

        return jax.tree_util.tree_map_with_path(rescaled, variables["params"]), variables.get("constants", {})

    def gram(self, model: Any, width: Any, key: PRNGKeyArray) -> tuple[dict[str, Array], dict[str, Array]]:
        """(Gram matrices, constants) at this start, without forming the weights: O(d²) memory at any m.

        With s the standard deviation of the entries of W and given a, u = Wᵀa is N(0, s² m1 I), so [W_V, u] and
        [W_K, W_Q] are Gaussian matrices with m independent rows, and their Gram matrices are Wishart.

        Args:
            model: what has the other shapes: vocabulary, neurons, heads, dtype.
            width: m; traced, so that another one does not compile again.
            key: of this draw; one key at several widths gives starts that are not independent.
        """
        d, heads, dtype = model.vocabulary, model.heads, jnp.dtype(model.dtype)
        m = jnp.asarray(width, dtype)
        gain = GAINS.get(self.name, 1.0)
        fan_in = {"W": m, "W_V": d, "W_K": d, "W_Q": d}
        self.check(fan_in)
        deviations = {name: self.std_of.get(name, self.std) for name in fan_in}
        std = {name: jnp.sqrt(gain / fan_in[name]) if s is None else s for name, s in deviations.items()}
        sign_key, value_key, *head_keys = jax.random.split(key, 2 + heads)
        value = _wishart(value_key, m, heads * d + 1)
        std_u = std["W"] * jnp.sqrt(jnp.array(model.neurons, dtype))
        pairs = jnp.stack([_wishart(k, m, 2 * d) for k in head_keys])
        gram = Gram(
            A=std["W_K"] * std["W_Q"] * pairs[:, :d, d:],
            G=(std["W_V"] * std_u * value[:-1, -1]).reshape(heads, d),
            S=std_u**2 * value[-1, -1],
            C_V=(std["W_V"] ** 2 * value[:-1, :-1]).reshape(heads, d, heads, d),
            C_K=std["W_K"] ** 2 * pairs[:, :d, :d],
            C_Q=std["W_Q"] ** 2 * pairs[:, d:, d:],
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
