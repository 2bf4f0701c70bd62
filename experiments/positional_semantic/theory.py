"""The state evolution of arXiv:2402.03902: order parameters, training loss and error of both minima as d grows, n = αd.

Fields of the two tokens: h*_l = z_l·u of the teacher, with the variance ρ = σ² (‖u‖ = 1), and h_l = z_l·q of the
student, with the variance Q = σ²‖q‖² and the covariance θ = σ² q·u; m = q·p shifts them by μ_l m. Here Q is what the
paper calls q. A sample pulls the field ω that the other samples would give it to the proximal point

    h = argmin |h − ω|²/(2V) + ℓ(h),   ℓ = (σ²/2) ‖S − T‖_F²,   g = (h − ω)/V,   ω = √Q ξ,
    h* = (θ/√Q) ξ + √(ρ − θ²/Q) η,   ξ, η normal,

and these pulls, of αd samples, determine the student that they act on, with D = λ + V̂σ²:

    m̂ = α E[g_1 − g_2],   θ̂ = α E[η·g]/√(ρ − θ²/Q),   Q̂ = α E|g|²,   V̂ = −α E[ξ·g]/√Q + θθ̂/Q,
    m = m̂/D,   θ = σ²ρθ̂/D,   Q = σ² (σ²Q̂ + m̂² + σ²ρθ̂²)/D²,   V = σ²/D.

V̂ = −α E[∂g/∂ω] by Stein's identity, which holds where the proximal point jumps. At the fixed point the training loss
per dimension is α E ℓ(h) + (λ/2) Q/σ², and the error is E ℓ at fields that are drawn afresh. The positional minimum has
θ = 0 and the semantic one m = 0; the expectations that vanish by symmetry are set to zero.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize, stats

from dynamics.studies.evidence import Evidence

Numbers = Float[np.ndarray, "..."]
Branch = Literal["positional", "semantic"]
BRANCHES: tuple[Branch, Branch] = ("positional", "semantic")
START = {"positional": (0.2, 0.0207, 14.6), "semantic": (0.347, 0.907, 3.0)}  # m or θ, Q, V
RHO = 0.25  # σ² and ρ
MIXED = 0.6  # A_11 = A_22
NEWTON = 10  # steps to a proximal point
BLOCK = 2**12  # points at a time
DAMPING, DAMPED = 0.8, 30  # the weight of the old value in an iteration; iterations before a solver takes over
TABULATED = (0.2559, 0.548)  # m and θ/σ² at (0.3, 1.5), from the notebook of the authors
INEXACT = 0.01  # largest relative residual of a fixed point; not zero, since proximal points jump between the nodes
OTHERS = {"twice the ridge": {"ridge": 0.02}, "ω = 0.2": {"omega": 0.2}}  # theory that must not fit


class Rule(NamedTuple):
    """Points ξ_1, ξ_2, η_1, η_2 [block, 4, points] and their weights [block, points], which sum to one."""

    nodes: Float[np.ndarray, "block 4 points"]
    weights: Float[np.ndarray, "block points"]


class Setting(NamedTuple):
    """The parameters ω, α = n/d and λ of the model; the defaults are those of most claims."""

    omega: float = 0.3
    alpha: float = 1.5
    ridge: float = 0.01


class Fixed(NamedTuple):
    """A fixed point: m and θ/σ²; Q and V; the training loss per dimension and ε_g."""

    m: float
    theta: float
    size: float
    V: float
    loss: float
    generalisation_error: float


@functools.cache
def normal_points(dimensions: int, log2_points: int, seed: int = 0) -> Float[np.ndarray, "points k"]:
    """Independent normal variables at 2^k points of Sobol's sequence, scrambled."""
    return stats.norm.ppf(stats.qmc.Sobol(dimensions, seed=seed).random_base2(log2_points))


def sobol(log2_points: int, seed: int = 0) -> Rule:
    """The rule of these points, with equal weights."""
    blocks = normal_points(4, log2_points, seed).reshape(-1, min(2**log2_points, BLOCK), 4).swapaxes(1, 2)
    return Rule(blocks, np.full((len(blocks), blocks.shape[2]), 2.0**-log2_points))


def coarse() -> Rule:
    """The rule of degree 7 with 12 points in the plane for ξ, and in it the same for η: 144 points.

    The rule is E2r2 7-1 in Stroud, Approximate Calculation of Multiple Integrals.
    """
    r, near, far = (float(np.sqrt(square)) for square in (3, (9 - 3 * np.sqrt(5)) / 8, (9 + 3 * np.sqrt(5)) / 8))
    plane = [(r, 0), (-r, 0), (0, r), (0, -r)] + [(i * s, j * s) for s in (near, far) for i in (1, -1) for j in (1, -1)]
    weights = np.repeat([1 / 36, (5 + 2 * np.sqrt(5)) / 45, (5 - 2 * np.sqrt(5)) / 45], 4)
    both = np.sqrt(2) * np.array([(*one, *other) for one in plane for other in plane])
    return Rule(both.T[None], np.outer(weights, weights).reshape(1, -1))


def kept(h1: Any, h2: Any) -> tuple[Array, Array]:
    """S_11 and S_22 of softmax(h hᵀ); S_12 and S_21 are one minus these, so that ‖S − T‖² = 2 Σ (S_ll − T_ll)²."""
    return jax.nn.sigmoid(h1 * (h1 - h2)), jax.nn.sigmoid(h2 * (h2 - h1))


def mixed(h1: Any, h2: Any, omega: Any) -> list[Array]:
    """T_11 and T_22."""
    return [(1 - omega) * s + omega * MIXED for s in kept(h1, h2)]


def misfit(x1: Any, x2: Any, T: Any) -> Array:
    """ℓ = σ² Σ (S_ll − T_ll)²."""
    return RHO * sum((s - t) ** 2 for s, t in zip(kept(x1, x2), T, strict=True))


def proximal(w: Any, T: Any, V: Any) -> tuple[Array, ...]:
    """The minimum of |x − w|²/(2V) + ℓ(x), where x = h + μ m and w = ω + μ m; and its value.

    Newton's method from the two places ±x at which S = T, or near to it where there is none; the lower minimum counts.
    """

    def value(x1: Array, x2: Array) -> Array:
        return ((x1 - w[0]) ** 2 + (x2 - w[1]) ** 2) / (2 * V) + misfit(x1, x2, T)

    gradient = jax.grad(lambda x1, x2: jnp.sum(value(x1, x2)), (0, 1))

    def newton(_: int, carry: Any) -> Any:
        (x1, x2), added = carry
        one, none = jnp.ones_like(x1), jnp.zeros_like(x1)
        (g1, g2), (a, b) = jax.jvp(gradient, (x1, x2), (one, none))
        _, (_, c) = jax.jvp(gradient, (x1, x2), (none, one))
        lowest = (a + c) / 2 - jnp.sqrt(((a - c) / 2) ** 2 + b**2)  # the smaller eigenvalue of the Hessian
        more = jnp.maximum(0.1 / V - lowest, 0) + added
        a, c = a + more, c + more
        det = a * c - b * b
        moved = x1 - (c * g1 - b * g2) / det, x2 - (a * g2 - b * g1) / det
        lower = value(*moved) <= value(x1, x2)
        x = tuple(jnp.where(lower, new, old) for new, old in zip(moved, (x1, x2), strict=True))
        return x, jnp.where(lower, added / 10, jnp.maximum(8 * added, 0.02 / V))

    logit1, logit2 = (jnp.log(t) - jnp.log1p(-t) for t in T)
    gap = jnp.sqrt(jnp.maximum(logit1 + logit2, 1e-3))
    places = (logit1 / gap, -logit2 / gap), (-logit1 / gap, logit2 / gap)
    ends = [jax.lax.fori_loop(0, NEWTON, newton, (place, jnp.zeros_like(gap)))[0] for place in places]
    first, second = ((*x, value(*x)) for x in ends)
    return tuple(jnp.where(first[2] < second[2], one, other) for one, other in zip(first, second, strict=True))


@functools.partial(jax.jit, static_argnames="branch")
def iterate(branch: Branch, state: Any, setting: Any, rule: Rule) -> tuple[Array, Array, Array]:
    """An undamped iteration of (m or θ, Q, V): the next ones, the training loss per dimension, and the error."""
    omega, alpha, ridge = setting
    overlap, Q, V = state
    of_places = branch == "positional"
    m, theta = (overlap, 0.0) if of_places else (0.0, overlap)
    own = jnp.sqrt(RHO - theta**2 / Q)

    def of_points(points: Rule) -> Array:
        """The sums over points of g_1 − g_2, η·g, |g|², ξ·g, ℓ(h), and ℓ at w."""
        xi, eta = points.nodes[:2], points.nodes[2:]
        star = theta / jnp.sqrt(Q) * xi + own * eta
        T = mixed(star[0], star[1], omega)
        w = jnp.sqrt(Q) * xi[0] + m, jnp.sqrt(Q) * xi[1] - m
        *x, value = proximal(w, T, V)
        g = jnp.stack([x[0] - w[0], x[1] - w[1]]) / V
        pull, afresh = jnp.sum(g**2, axis=0), misfit(*w, T)
        rows = g[0] - g[1], jnp.sum(eta * g, axis=0), pull, jnp.sum(xi * g, axis=0), value - V * pull / 2, afresh
        return jnp.stack(rows) @ points.weights

    # Block by block, so that what Newton's method repeats stays in the cache.
    apart, along_star, pull, along_own, fitted, error = jnp.sum(jax.lax.map(of_points, rule), axis=0)
    m_hat, theta_hat = (alpha * apart, 0.0) if of_places else (0.0, alpha * along_star / own)
    D = ridge + RHO * (theta * theta_hat / Q - alpha * along_own / jnp.sqrt(Q))
    nearer = m_hat / D if of_places else RHO**2 * theta_hat / D
    Q_new = RHO * (RHO * alpha * pull + m_hat**2 + (RHO * theta_hat) ** 2) / D**2
    return jnp.stack([nearer, Q_new, RHO / D]), alpha * fitted + ridge * Q / (2 * RHO), error


def undamped(branch: Branch, setting: Setting, rule: Rule) -> Callable[[Numbers], Numbers]:
    """The iteration as a function of the logarithms of m or θ, Q and V."""
    return lambda logs: np.log(np.abs(np.asarray(iterate(branch, np.exp(logs), setting, rule)[0])))


def _logs(at: Fixed) -> Numbers:
    return np.log([max(at.m, at.theta * RHO), at.size, at.V])


def fixed_point(branch: Branch, setting: Setting, rule: Rule, start: Fixed | None = None) -> Fixed:
    """The fixed point of a branch: damped iterations from START or, if one nearby is known, from there none.

    Powell's hybrid method on the same map does the rest.

    Raises:
        ArithmeticError: where it finds none whose relative residual is at most INEXACT.
    """
    after = undamped(branch, setting, rule)
    logs = _logs(start) if start else np.log(START[branch])
    for _ in range(0 if start else DAMPED):
        logs = np.log(DAMPING * np.exp(logs) + (1 - DAMPING) * np.exp(after(logs)))
    logs = optimize.root(lambda logs: after(logs) - logs, logs, tol=1e-10).x
    residual = np.max(np.abs(after(logs) - logs))
    if residual > INEXACT:
        raise ArithmeticError(f"no {branch} fixed point found at {setting}: relative residual {residual:.1g}")
    overlap, Q, V = np.exp(logs)
    both = (overlap, 0.0) if branch == "positional" else (0.0, overlap / RHO)
    seen = iterate(branch, np.exp(logs), setting, rule)[1:]
    return Fixed(*map(float, (*both, Q, V, *seen)))


def eigenvalues(branch: Branch, setting: Setting, rule: Rule, at: Fixed) -> Numbers:
    """Those, κ, of the derivative of the undamped iteration at a fixed point.

    An iteration in which the new value has the weight w is stable there while all |1 − w + w κ| < 1.
    """
    after, logs = undamped(branch, setting, rule), _logs(at)
    steps = 1e-3 * np.eye(3)
    return np.linalg.eigvals(np.stack([(after(logs + one) - after(logs - one)) / 2e-3 for one in steps], axis=1))


def linear_error(omega: float) -> float:
    """The least (σ²/2) E ‖B − T‖² of all B: σ²/2 times the sum of the variances of the entries of T."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    T = np.asarray(mixed(RHO**0.5 * nodes[:, None], RHO**0.5 * nodes[None], omega)[0])
    weights = np.outer(weights, weights) / weights.sum() ** 2
    return float(2 * RHO * (np.sum(weights * T**2) - np.sum(weights * T) ** 2))


def transitions(omega: float, rule: Rule) -> tuple[float, float]:
    """α_c, where both minima have the same training loss, and α_l, where the semantic one is as good as ŷ = B z."""
    known: dict[Branch, Fixed] = {}

    def at(branch: Branch, alpha: float) -> Fixed:
        known[branch] = fixed_point(branch, Setting(omega, alpha), rule, known.get(branch))
        return known[branch]

    def crossing(difference: Callable[[float], float], guess: float) -> float:
        return float(optimize.newton(difference, guess, x1=1.02 * guess, tol=1e-5))

    # The guesses are rough fits; both lines are found from them for ω from 0 to 0.4.
    of_losses = crossing(lambda a: at("positional", a).loss - at("semantic", a).loss, 0.6 + omega + 4 * omega**2)
    least, guess = linear_error(omega), 0.75 + omega + 5 * omega**2
    return of_losses, crossing(lambda a: at("semantic", a).generalisation_error / least - 1, guess)


def evidence(ends: list[list[float]], log2_points: list[int]) -> Evidence:
    """All that is compared with theory or drawn beside it.

    Args:
        ends: the first and last α of the curves at ω = 0.3, and the first and last ω of the transitions.
        log2_points: of the quadratures: the first for curves and transitions, the others to be compared.
    """
    alphas, omegas = (np.linspace(a, b, n).round(2).tolist() for (a, b), n in zip(ends, (15, 9), strict=True))
    quick, here = sobol(log2_points[0]), Setting()
    rules = {"coarse": coarse(), **{f"2^{k}": sobol(k, seed=k) for k in log2_points[1:]}}
    first = {branch: fixed_point(branch, here, quick) for branch in BRANCHES}

    def at(setting: Setting, rule: Rule = quick) -> list[Fixed]:
        return [fixed_point(branch, setting, rule, first[branch]) for branch in BRANCHES]

    def curve(branch: Branch) -> list[Fixed]:
        points = [first[branch]]
        for alpha in reversed(alphas):
            points.append(fixed_point(branch, here._replace(alpha=alpha), quick, points[-1]))
        return points[:0:-1]

    def spread(points: Numbers) -> float:
        """The largest relative difference between rules, of what does not vanish but Q and V."""
        compared = np.delete(points, (2, 3), axis=2)
        compared = compared[:, compared[0] > 0]
        return float(np.max(1 - compared.min(axis=0) / compared.max(axis=0)))

    fixed = np.array([at(here, rule) for rule in rules.values()])
    critical = [transitions(here.omega, rule) for rule in (rules["coarse"], sobol(log2_points[0] + 2))]
    kappa = [eigenvalues(branch, here, quick, first[branch]).real.min() for branch in BRANCHES]
    arrays: dict[str, tuple[tuple[str, ...], Any]] = {
        "fixed": (("rule", "branch", "quantity"), fixed),
        "spread": (("over",), [spread(fixed), spread(fixed[1:])]),
        "over_tabulated": (("rule", "overlap"), fixed[:, (0, 1), (0, 1)] / TABULATED),
        "elsewhere": (("other", "branch", "quantity"), [at(here._replace(**other)) for other in OTHERS.values()]),
        "curve": (("branch", "alpha", "quantity"), [curve(branch) for branch in BRANCHES]),
        "linear": ((), linear_error(here.omega)),
        "transition": (("omega", "which"), [transitions(omega, quick) for omega in omegas]),
        "at_03": (("points", "which"), critical),
        "largest_weight": (("branch",), 2 / (1 - np.array(kappa))),
    }
    labels = {"rule": list(rules), "branch": list(BRANCHES), "quantity": list(Fixed._fields), "alpha": alphas}
    labels |= {"omega": omegas, "which": ["α_c", "α_l"], "points": ["coarse", "fine"]}
    labels |= {"over": ["all", "fine"], "other": list(OTHERS)}
    return {name: (dims, np.array(values)) for name, (dims, values) in arrays.items()}, labels, {}
