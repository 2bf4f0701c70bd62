"""Flow, GD, SGD and heavy ball in Gram variables: exact, of the same cost at every width m; see dynamics.models.gram.

Adam and RMSProp are not closed in these variables, since they divide entry by entry.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from dynamics.config import require
from dynamics.laws.descent import Descent, Momentum
from dynamics.laws.flow import Flow
from dynamics.laws.law import Law
from dynamics.models import GramModel, HeavyBallStep, at_rest
from dynamics.models.moving_gram import MovingGramModel, few_move, moving_entries
from dynamics.objectives.objective import Objective


class GramLaw(Law):
    """A law that moves the Gram matrices of the one-layer model; abstract."""

    needs: ClassVar[tuple[str, ...]] = ("gram",)

    @staticmethod
    def variables(params, objective):
        """The Gram matrices of the weights, and the objective as a function of them; unchanged if they are given.

        Raises:
            ConfigError: for a model that is not the one-layer transformer, and for weights of other shapes.
        """
        model = objective.model
        known = "gram" in model.capabilities
        require(known, "model", type(model).__name__, "must be one_layer for a law in Gram variables")
        if "weights" not in model.capabilities:
            return params, objective
        rows, d = model.heads * model.width, model.vocabulary
        expected = {"W": (model.neurons, model.width), "W_K": (rows, d), "W_Q": (rows, d), "W_V": (rows, d)}
        shapes = {name: jnp.shape(matrix) for name, matrix in sorted(params.items())}
        require(shapes == expected, "params", shapes, f"must have the shapes of the model, {expected}")
        constants = {**objective.constants, "width": jnp.asarray(model.width, model.dtype)}
        gram = objective.apply(params, method="gram")._asdict()
        return gram, dataclasses.replace(objective, model=GramModel.of(model), constants=constants)


class GramFlow(GramLaw, Flow):
    """Gradient flow on the weights, in Gram variables; see Flow for the solver's fields."""

    @staticmethod
    def variables(params, objective):
        """The Gram matrices, or, where most words are in no sample, those of their entries that move."""
        gram, objective = GramLaw.variables(params, objective)
        tokens, model = objective.looked_at, objective.model
        if isinstance(model, MovingGramModel) or tokens is None or not few_move(tokens.shape, model.vocabulary):
            return gram, objective
        entries, constants, model = moving_entries(gram, objective.constants, model, tokens)
        return entries, dataclasses.replace(objective, model=model, constants=constants)

    def velocity(self, objective, params):
        """dA/dt, dG/dt and so on; see GramModel.velocity."""
        return objective.velocity(params)


class GramGradientDescent(GramLaw, Descent):
    """Gradient descent on the weights, exactly, in Gram variables; t = η·k. Its minibatches are those of Optimizer."""

    def update(self, objective, gradient, params, memory, scale):
        """The Gram matrices of the next weights; see GramModel.step."""
        slope, rates = jax.tree.map(jnp.negative, gradient), objective.rates(params)
        return objective.model.step(params, slope, self.rate(scale), rates, looked_at(self, objective)), memory


class GramStochasticGradientDescent(GramLaw, Descent):
    """SGD on the weights, exactly, in Gram variables: GramGradientDescent with a required batch size."""

    batch_size: int = eqx.field(static=True)

    update = GramGradientDescent.update


class GramHeavyBall(GramLaw, Momentum):
    """Heavy ball on the weights, exactly, in Gram variables; t = η·k / (1 − β).

    v' = β v − η ∇L, θ' = θ + s_k v' is closed in the Gram matrices of [W_V, P_V, u, p_u] and of [W_K, W_Q, P_K, P_Q] of
    every head, where P are the momenta, u = Wᵀa and p_u = P_Wᵀa. The law moves the Gram matrices of the weights; its
    memory holds the other blocks, those with momenta. For the equations see GramModel.heavy_ball_step.
    """

    def memory(self, params0: PyTree) -> PyTree:
        """The blocks with momenta, which are zero at the start."""
        return at_rest(params0)

    def update(self, objective, gradient, params, memory, scale):
        """The Gram matrices of the next weights, and the blocks with their momenta."""
        slope = jax.tree.map(jnp.negative, gradient)
        step = HeavyBallStep(self.learning_rate, self.momentum, scale)
        rates, tokens = objective.rates(params), looked_at(self, objective)
        return objective.model.heavy_ball_step(params, memory, slope, step, rates, tokens)


def looked_at(law: Law, objective: Objective) -> Int[Array, "n L"] | None:
    """The tokens that the gradient of a law depends on, if they are those of the training set; else None."""
    return None if law.draws_samples and objective.fresh else objective.looked_at
