"""What gradient flow keeps constant: differences of terms that it moves alike."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array


class Balance(eqx.Module):
    """r_other · term − r_term · other is constant along θ̇ = −r_θ ∂L/∂θ with a rate r_θ ≥ 0 for every parameter θ.

    If the output depends on two parameters only through a product, then flow with rates 1 moves `term` and `other`
    alike, and rates multiply their velocities. For scores xᵀ W_Kᵀ W_Q x with M = −∂L/∂(W_Kᵀ W_Q):
        Ẇ_Q = r_Q W_K M,   d/dt (W_Q W_Qᵀ) = r_Q (W_K M W_Qᵀ + W_Q Mᵀ W_Kᵀ),
        Ẇ_K = r_K W_Q Mᵀ,  d/dt (W_K W_Kᵀ) = r_K (W_Q Mᵀ W_Kᵀ + W_K M W_Qᵀ).

    Where only the squared norm of such a difference T − O is known, `term` is ‖T‖², `other` is ‖O‖², and `cross` is
    2 ⟨T, O⟩; the constant is ‖r_other T − r_term O‖² = (r_other² ‖T‖² + r_term² ‖O‖²) − r_other r_term 2 ⟨T, O⟩.

    Attributes:
        name: the label of the dimension "conserved" of the probe `drift`.
        of: the names of the parameters of `term` and of `other`; one name if both are of one parameter.
        term: an array.
        other: an array of the same shape.
        cross: of a squared norm; None for a difference.
    """

    name: str = eqx.field(static=True)
    of: tuple[str, ...] = eqx.field(static=True)
    term: Array
    other: Array
    cross: Array | None = None

    def moves(self, rates: Mapping[str, Any]) -> Array:
        """Whether all its parameters move; if one of them does not, the difference is constant whatever the law is."""
        return jnp.all(jnp.stack([jnp.asarray(rates.get(name, 1.0)) > 0 for name in self.of]))

    def weighed(self, rates: Mapping[str, Any]) -> tuple[Array, Array]:
        """The two terms whose difference is constant.

        Args:
            rates: r_θ of the parameters by their names; 1 for a parameter that is not among them.
        """
        of_term, of_other = (jnp.asarray(rates.get(self.of[i], 1.0), self.term.dtype) for i in (0, -1))
        if self.cross is None:
            return of_other * self.term, of_term * self.other
        return of_other**2 * self.term + of_term**2 * self.other, of_other * of_term * self.cross
