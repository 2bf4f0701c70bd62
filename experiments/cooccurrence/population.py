"""The population loss and error of word co-occurrence as finite sums over words, not as means over a sample of samples.

Importing this module registers the probes `population_loss_exact` and `population_error_exact`.

Where attention is uniform, F(X) = Σ_l G(x_l): a number that the type of the sample gives, plus a sum of k independent
draws of G from the d − 3 random words. Expectations over them are computed without listing (d − 3)^k cases. Where
attention is not uniform, the probes add the mean difference between the model and Σ_l G(x_l) over fresh samples (a
control variate) and give its standard error; it is the whole error, and it vanishes with the scores over √m.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from dynamics.config import require
from dynamics.probes import View, probe
from dynamics.tasks import Batch
from dynamics.tasks.cooccurrence import COMMON, FIRST_TARGET, SECOND_TARGET, SIGNALS

PROBABILITIES = (1 / 2, 1 / 6, 1 / 6, 1 / 6)  # of the types I1, I2, I3, I4
TARGETS = ((FIRST_TARGET, SECOND_TARGET), (FIRST_TARGET,), (SECOND_TARGET,), ())  # in a sample of each type
SPACING, LAST = 1 / 16, 12.0  # of the u of population_loss
MOST_SUMS = 2**20  # sums of G that population_error sorts
LABELS = {"estimate": ("mean", "standard error")}


def population_loss(G_D: Float[Array, " d"], label_T: Int[Array, " type"], length: int) -> Float[Array, ""]:
    """The loss E log(1 + exp(−y Σ_l G(x_l))) of uniform attention on fresh samples, without sampling, to rounding.

    Let x = −y Σ_l G(x_l) = b + v_1 + ... + v_k, where the type gives b and v_1, ..., v_k are independent. The second
    derivative of log(1 + eˣ) has the Fourier transform πu / sinh πu. Hence, with ω = 1/2 + iu,

        log(1 + eˣ) = ½ ∫ e^{ωx} / (ω cosh πu) du        E log(1 + eˣ) = ½ ∫ e^{ωb} (E e^{ωv})^k / (ω cosh πu) du

    The integrand is analytic for |Im u| < 1/2, so that the trapezoidal rule converges exponentially: with this spacing
    and end its error is below 1e-14 E (1 + e^{x/2}) for |x| ≤ 30. Derived here.

    Args:
        G_D: G of every word, summed over heads; the random words come after the three signals.
        label_T: y of the samples of I1, I2, I3, I4.
        length: L.
    """
    G_D = G_D.astype(float)
    u_W = np.arange(0, LAST, SPACING)
    half_W = np.where(u_W == 0, SPACING / 2, SPACING)  # u and −u together are the real part, twice
    omega_W = jnp.asarray(0.5 + 1j * u_W)
    weight_W = jnp.asarray(half_W / ((0.5 + 1j * u_W) * np.cosh(math.pi * u_W)))
    expectations = []
    for targets, sign in zip(TARGETS, -label_T.astype(float), strict=True):
        known = sign * jnp.sum(G_D[jnp.array([COMMON, *targets])])
        mean_W = jnp.mean(jnp.exp(jnp.outer(omega_W, (sign * G_D[SIGNALS:]).astype(complex))), axis=1)
        integrand_W = weight_W * jnp.exp(omega_W * known.astype(complex)) * mean_W ** (length - 1 - len(targets))
        expectations.append(jnp.sum(integrand_W.real))
    return jnp.dot(jnp.array(PROBABILITIES), jnp.stack(expectations))


def population_error(G_D: Float[Array, " d"], label_T: Int[Array, " type"], length: int) -> Float[Array, ""]:
    """The probability of y Σ_l G(x_l) ≤ 0 over the distribution of Definition 2.1, by counting.

    The sums over one half of the random words are sorted; each sum over the other half finds its place among them.

    Args:
        G_D: G of every word, summed over heads; the random words come after the three signals.
        label_T: y of the samples of I1, I2, I3, I4.
        length: L.

    Raises:
        ConfigError: when one half of the random words has more than MOST_SUMS sums.
    """
    G_D = G_D.astype(float)
    half = length // 2  # of the L − 1 random words of a sample of I4, rounded up
    number = (len(G_D) - SIGNALS) ** half
    require(number <= MOST_SUMS, "(d - 3)^(L // 2)", number, f"must be at most {MOST_SUMS} to be counted")
    sums = [jnp.zeros(1)]
    for _ in range(half):
        sums.append(jnp.ravel(sums[-1][:, None] + G_D[None, SIGNALS:]))
    errors = []
    for targets, label in zip(TARGETS, label_T.astype(float), strict=True):
        known, words = jnp.sum(G_D[jnp.array([COMMON, *targets])]), length - 1 - len(targets)
        first, second = sums[words - words // 2], sums[words // 2]
        places = jnp.searchsorted(jnp.sort(label * first), -label * (known + second), side="right")
        errors.append(jnp.mean(places.astype(float)) / len(first))
    return jnp.dot(jnp.array(PROBABILITIES), jnp.stack(errors))


def _fresh(view: View) -> Batch:
    fresh = view.survey.evaluation
    assert fresh is not None  # the probes ask for fresh samples
    return fresh


def _counted(params: PyTree, view: View) -> tuple[Array, Array, Array]:
    """G of all words, y of the four types, and y Σ_l G(x_l) of the fresh samples."""
    fresh = _fresh(view)
    G_D = jnp.sum(view.gram(params).G, axis=0)
    label_T = jax.ops.segment_max(fresh.targets, jnp.asarray(fresh.type), len(PROBABILITIES))
    return G_D, label_T, fresh.targets.astype(G_D.dtype) * jnp.sum(G_D[fresh.inputs], axis=1)


def _corrected(exact: Array, difference_N: Array) -> Array:
    """The exact part plus the mean difference, and the standard error of that mean."""
    difference_N = difference_N.astype(float)
    error = jnp.std(difference_N, ddof=1) / math.sqrt(len(difference_N))
    return jnp.stack([exact + jnp.mean(difference_N), error])


@probe("estimate", needs=("gram", "canonical"), evaluation=True, labels=LABELS)
def population_loss_exact(params: PyTree, view: View) -> Array:
    """E ℓ(Σ_l G(x_l)) exactly, plus the mean of ℓ(F) − ℓ(Σ_l G(x_l)) over fresh samples, and its standard error."""
    kind = view.objective.loss_name
    require(kind == "logistic", "task.loss", kind, "must be logistic for the probe population_loss_exact")
    G_D, label_T, counted_N = _counted(params, view)
    fresh = _fresh(view)
    exact = population_loss(G_D, label_T, fresh.inputs.shape[1])
    return _corrected(exact, view.objective.losses(params, fresh) - jax.nn.softplus(-counted_N))


@probe("estimate", needs=("gram", "canonical"), evaluation=True, large=True, labels=LABELS)
def population_error_exact(params: PyTree, view: View) -> Array:
    """The share of samples with y Σ_l G(x_l) ≤ 0 exactly, plus the mean difference of the model over fresh samples."""
    G_D, label_T, counted_N = _counted(params, view)
    fresh = _fresh(view)
    exact = population_error(G_D, label_T, fresh.inputs.shape[1])
    output_N = view.objective.apply(params, fresh.inputs)[0]
    wrong_N = fresh.targets.astype(output_N.dtype) * output_N <= 0
    return _corrected(exact, wrong_N.astype(float) - (counted_N <= 0).astype(float))
