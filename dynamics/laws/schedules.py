"""Learning-rate schedules: step k of a descent has the rate η s_k with 0 ≤ s_k ≤ 1.

θ_k has the time t_k = h Σ_{j<k} s_j, where h is the law's step: η, or η/(1 − β) with momentum. Schedules count steps k,
not time: with half the learning rate, the same schedule covers half the time. The factors s_k are optax's.
"""

import abc
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from dynamics.config import Chosen, require

MOST_STEPS = 1_000_000  # of a schedule before its factor stays as it is: the table of a schedule has an entry for each
LAST_STEP = 2**31 - 1  # of a descent, which counts in 32 bits


@dataclass(frozen=True, kw_only=True)
class Schedule(Chosen):
    """s_k = (k + 1)/W for the first W steps, then s_k = decay(k − W); abstract.

    Attributes:
        warmup: W, the steps of linear warm-up; the last of them has the full rate. 0 for none.
    """

    warmup: int = 0

    def __post_init__(self):
        require(0 <= self.warmup <= MOST_STEPS, "warmup", self.warmup, f"must be 0 to {MOST_STEPS}")

    @property
    @abc.abstractmethod
    def decay(self) -> optax.Schedule:
        """The factor as a function of the number of steps since the warm-up."""

    @property
    @abc.abstractmethod
    def decay_steps(self) -> int:
        """The number of steps after which `decay` is constant."""

    def scale(self, k: Int[Array, ""], dtype: jnp.dtype) -> Float[Array, ""]:
        """s_k."""
        scales, _ = _table(self)
        return jnp.asarray(scales, dtype)[jnp.minimum(k, len(scales) - 1)]

    def total(self, k: Int[Array, "*T"], dtype: jnp.dtype) -> Float[Array, "*T"]:
        """The sum Σ_{j<k} s_j, the time of θ_k in units of the law's step."""
        scales, sums = _table(self)
        more = jnp.maximum(k - (len(sums) - 1), 0).astype(dtype) * float(scales[-1])
        return jnp.asarray(sums, dtype)[jnp.minimum(k, len(sums) - 1)] + more

    def nearest(self, total: Float[Array, " T"]) -> Int[Array, " T"]:
        """The k whose Σ_{j<k} s_j is nearest to `total`, the smallest such k."""
        scales, sums = _table(self)
        last, end = float(scales[-1]), float(sums[-1])
        middles = jnp.asarray((sums[1:] + sums[:-1]) / 2, total.dtype)
        k = jnp.searchsorted(middles, total).astype(jnp.int32)
        if last == 0:
            return k
        beyond = len(middles) + jnp.rint((total - end) / last).astype(jnp.int32)
        return jnp.where(total > end, beyond, k)

    @property
    def reach(self) -> float:
        """The sum of all s_k up to LAST_STEP."""
        scales, sums = _table(self)
        return float(sums[-1] + (LAST_STEP - len(sums) + 1) * scales[-1])


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """s_k = 1 after the warm-up."""

    @property
    def decay(self):
        """1."""
        return optax.constant_schedule(1.0)

    @property
    def decay_steps(self):
        """None."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """s = e + (1 − e) (1 + cos(π j/K))/2 at the j-th step after the warm-up, and s = e from j = K on.

    Attributes:
        steps: K.
        end: e, the last factor. With e = 0 the descent stands still after the last step, and no later time is reached.
    """

    steps: int
    end: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        require(1 <= self.steps <= MOST_STEPS, "steps", self.steps, f"must be 1 to {MOST_STEPS}")
        require(0 <= self.end <= 1, "end", self.end, "must be 0 to 1")

    @property
    def decay(self):
        """Half a period of a cosine."""
        return optax.cosine_decay_schedule(1.0, self.steps, self.end)

    @property
    def decay_steps(self):
        """K."""
        return self.steps


@dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """s = f^i at a step after the warm-up, where i of the step numbers in `at` have been reached.

    Attributes:
        at: increasing numbers of steps after the warm-up, at which the rate is multiplied by f.
        factor: f.
    """

    at: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        increasing = all(a < b for a, b in zip((0, *self.at), self.at, strict=False))
        allowed = f"must be positive and increasing, up to {MOST_STEPS}"
        require(bool(self.at) and increasing and self.at[-1] <= MOST_STEPS, "at", self.at, allowed)
        require(0 < self.factor <= 1, "factor", self.factor, "must be above 0 and at most 1")

    @property
    def decay(self):
        """A product of f."""
        return optax.piecewise_constant_schedule(1.0, dict.fromkeys(self.at, self.factor))

    @property
    def decay_steps(self):
        """The last of the step numbers."""
        return self.at[-1]


SCHEDULES: dict[str, type] = {"constant": Constant, "cosine": Cosine, "step": Steps}
Schedule.choices = SCHEDULES


@functools.lru_cache(maxsize=64)
def _table(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """s_k and Σ_{j<k} s_j for k = 0 to K, where s_k = s_K for k > K; in float64, computed once and not in a program."""
    k = np.arange(schedule.warmup + schedule.decay_steps + 1)
    rise = optax.linear_schedule(0.0, 1.0, max(schedule.warmup, 1))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        before, after = rise(jnp.asarray(k + 1)), schedule.decay(jnp.asarray(np.maximum(k - schedule.warmup, 0)))
    scales = np.where(k < schedule.warmup, before, after)
    return scales, np.concatenate([[0.0], np.cumsum(scales[:-1])])
