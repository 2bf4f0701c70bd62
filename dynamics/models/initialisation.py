"""Random starts by name."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from dynamics.config import require

__all__ = ["Initialisation"]


class Initialisation(eqx.Module):
    """Entries with mean 0 and standard deviation s, fan_in the number of columns of each matrix.

    * theory: s = σ0 for W_Q, W_K, W_V and σ1 for W, normal (arXiv:2410.09605, Section 2)
    * kaiming_normal: s = √(2 / fan_in), normal
    * kaiming_uniform: s = √(2 / fan_in), uniform on ±√(6 / fan_in)
    * torch_linear: s = 1/√(3 fan_in), uniform on ±1/√fan_in, what PyTorch's Linear does

    Attributes:
        name: one of the above.
        sigma0: σ0, for theory only; traced, so that another value does not compile again.
        sigma1: σ1, for theory only; traced.
    """

    name: Literal["theory", "kaiming_normal", "kaiming_uniform", "torch_linear"] = eqx.field(static=True)
    sigma0: float | None = None
    sigma1: float | None = None

    def __check_init__(self):
        for key in ("sigma0", "sigma1"):
            value = getattr(self, key)
            if self.name == "theory":
                require(value is not None and value > 0, key, value, "must be positive with name='theory'")
            else:
                require(value is None, key, value, f"is read by name='theory' only, here {self.name!r}")

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
            gain = 1 / 3 if self.name == "torch_linear" else 2.0
            return matrix * jnp.sqrt(jnp.array(gain, matrix.dtype))

        return jax.tree_util.tree_map_with_path(rescaled, variables["params"]), variables["constants"]
