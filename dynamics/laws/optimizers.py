"""Descents by the optimizers of optax."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from dynamics.config import require
from dynamics.laws.descent import Descent, Momentum


class Optimizer(Descent):
    """θ_{k+1} = θ_k + s_k (u_k − η λ θ_k) with the update u_k of an optimizer of optax, u_k ∝ η; abstract.

    Attributes:
        weight_decay: λ, of every parameter and decoupled from the gradient; None for none. Per unit of time the decay
            is λ, or (1 − β) λ with momentum, where the time of a step is η / (1 − β).
    """

    weight_decay: float | None = None

    def __check_init__(self):
        decay = self.weight_decay
        require(decay is None or decay >= 0, "weight_decay", decay, "must not be negative")

    @property
    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer with the fields of this law, at the learning rate η."""

    def memory(self, params0: PyTree) -> PyTree:
        """The optimizer's initial state."""
        return self.optimizer.init(params0)

    def update(self, objective, gradient, params, memory, scale):
        """The parameters and the optimizer's state after one step."""
        # Optax raises a float to the power of an integer count, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = self.optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, objective.trained.scaled(self._final(updates, params, scale))), memory

    def _final(self, updates: PyTree, params: PyTree, scale: Any) -> PyTree:
        """s_k (u_k − η λ θ_k), what is added to the parameters."""
        if self.weight_decay is not None:
            shrink = self.learning_rate * self.weight_decay
            updates = jax.tree.map(lambda update, leaf: update - shrink * leaf, updates, params)
        return updates if scale is None else jax.tree.map(lambda update: scale * update, updates)


class GradientDescent(Optimizer):
    """θ_{k+1} = θ_k - η ∇L(θ_k), t = η·k."""

    @property
    def optimizer(self):
        """SGD of optax, which descends any gradient."""
        return optax.sgd(self.learning_rate)


class StochasticGradientDescent(Optimizer):
    """θ_{k+1} = θ_k - η ∇L_{B_k}(θ_k), with the minibatch B_k; t = η·k. GradientDescent with a required batch size."""

    batch_size: int = eqx.field(static=True)

    optimizer = GradientDescent.optimizer


class NormalisedGradientDescent(Optimizer):
    """θ_{k+1} = θ_k - η ∇L(θ_k) / (‖∇L(θ_k)‖ + ε), ‖·‖ over all parameters: t = η·k is the length of the path.

    Its limit η → 0 is NormalisedFlow with the same ε.

    Attributes:
        epsilon: ε.
    """

    epsilon: float = 1e-6

    def __check_init__(self):
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")

    @property
    def optimizer(self):
        """SGD of optax on the gradient divided by its norm plus ε."""
        return optax.chain(optax.normalize_by_update_norm(eps=self.epsilon), optax.sgd(self.learning_rate))


class HeavyBall(Momentum, Optimizer):
    """θ_{k+1} = θ_k - η s_k v_{k+1}, v_{k+1} = β v_k + ∇L(θ_k), v_0 = 0; t = η·k / (1 − β); see Momentum.

    Up to O(η²) it follows ModifiedFlow with the same learning rate and momentum.
    """

    @property
    def optimizer(self):
        """SGD with momentum β."""
        return optax.sgd(self.learning_rate, momentum=self.momentum)


class Nesterov(Momentum, Optimizer):
    """θ_{k+1} = θ_k - η s_k (∇L(θ_k) + β v_{k+1}), v_{k+1} = β v_k + ∇L(θ_k), v_0 = 0; t = η·k / (1 − β).

    It is Nesterov's method with θ the point at which the gradient is taken: with x_{k+1} = θ_k - η ∇L(θ_k) and
    constant η, θ_{k+1} = x_{k+1} + β (x_{k+1} - x_k). The gradient of step j moves θ by 1 + β times η at that step and
    by β^(i + 1) times η at the i-th step after it, 1 + β + β² + ... = 1 / (1 − β) times η in total, as much as in
    heavy ball, and mostly in the next 1 / (1 − β) steps. This is a time of order η, in which ∇L changes by O(η): up to
    O(η), θ moves by -∇L(θ) per unit of time, as under gradient flow.
    """

    @property
    def optimizer(self):
        """SGD with Nesterov's momentum β."""
        return optax.sgd(self.learning_rate, momentum=self.momentum, nesterov=True)


class AdamMoments(Optimizer):
    """The bias-corrected exponential means m̂ of the gradient and v̂ of its square, entry by entry; abstract.

    Attributes:
        beta1: the decay of m.
        beta2: the decay of v.
        epsilon: ε, added to √v̂.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __check_init__(self):
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "must be at least 0 and below 1")
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")


class Adam(AdamMoments):
    """θ_{k+1} = θ_k - η m̂ / (√v̂ + ε), t = η·k (arXiv:1412.6980); see AdamMoments for m̂ and v̂.

    With a weight decay it is AdamW (arXiv:1711.05101).
    """

    @property
    def optimizer(self):
        """Adam."""
        return optax.adam(self.learning_rate, self.beta1, self.beta2, self.epsilon)


class MeanSquare(Optimizer):
    """The bias-corrected exponential mean v̂ of the square of the gradient, entry by entry; abstract.

    Attributes:
        decay: the decay of v.
        epsilon: ε, added to √v̂.
    """

    decay: float = 0.9
    epsilon: float = 1e-8

    def __check_init__(self):
        require(0 <= self.decay < 1, "decay", self.decay, "must be at least 0 and below 1")
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")


class RMSProp(MeanSquare):
    """θ_{k+1} = θ_k - η ∇L / (√v̂ + ε), t = η·k; see MeanSquare for v̂."""

    @property
    def optimizer(self):
        """RMSProp with Adam's bias correction; otherwise the first steps are too long by a factor 1/√(1 − decay)."""
        return optax.rmsprop(self.learning_rate, self.decay, self.epsilon, eps_in_sqrt=False, bias_correction=True)


class Muon(Optimizer):
    """θ_{k+1} = θ_k - η √max(1, r/c) O(n) for every matrix [r, c] in θ, with the Nesterov mean n of ∇L; t = η·k.

    With m_{k+1} = β m_k + (1 − β) ∇L(θ_k), m_0 = 0 and K = k + 1 steps made, n = β m_K / (1 − β^(K+1)) +
    (1 − β) ∇L / (1 − β^K). O(n) = U p(σ/(‖n‖ + ε)) Vᵀ for n = U σ Vᵀ, with the Frobenius norm ‖n‖ and ε = 1e-8: five
    steps of Newton-Schulz, p = q∘q∘q∘q∘q, q(x) = 3.4445 x − 4.7750 x³ + 2.0315 x⁵, bring every singular value above
    0.003 ‖n‖ to between 0.68 and 1.21, so that O(n) is near U Vᵀ (arXiv:2409.20325). In a time t a matrix moves by at
    most 1.21 t √max(1, r/c) in the spectral norm.

    In an array of more than two axes each matrix of the last two is one: [layer, r, c] is a stack. Rows are outputs.
    The heads of a matrix that has them side by side are not separated. Vectors and numbers go by Adam with Nesterov's
    momentum (β1 = 0.9, β2 = 0.999, the same ε) and the same η.

    Attributes:
        beta: β.
    """

    beta: float = 0.95

    def __check_init__(self):
        require(0 <= self.beta < 1, "beta", self.beta, "must be at least 0 and below 1")

    @property
    def optimizer(self):
        """Muon."""
        numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=-1, output_axis=-2)

        def matrices(params: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: numbers if jnp.ndim(leaf) > 1 else None, params)

        return optax.contrib.muon(self.learning_rate, beta=self.beta, muon_weight_dimension_numbers=matrices)
