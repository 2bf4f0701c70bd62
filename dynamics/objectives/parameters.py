"""Which parameters train, and how fast."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dynamics.config import check_keys, require, under
from dynamics.models.model import by_name, name_of


def of_first_match(name: str, values: Mapping[str, Any]) -> Any:
    """The value of the first pattern that matches a name, as file names are matched ("W_*"); None if none does."""
    return next((value for pattern, value in values.items() if fnmatch.fnmatchcase(name, pattern)), None)


def check_patterns(patterns: Iterable[str], names: Iterable[str], key: str) -> None:
    """Refuse a pattern that matches no name.

    Raises:
        ConfigError: naming it, and the names.
    """
    names = sorted(names)
    for pattern in patterns:
        allowed = f"must match one of the parameters, {', '.join(names)}"
        require(bool(fnmatch.filter(names, pattern)), key, pattern, allowed)


class Trained(eqx.Module):
    """Which parameters train, and how fast: the group `train` of a config.

    A parameter θ_p moves with r_p times the velocity or the step that its law gives it: r_p = 1 unless `rates` says
    otherwise, and r_p = 0, frozen, if no pattern of `only` matches its name.

    Attributes:
        only: patterns of the names of those that train.
        tied: groups of parameters that are one: they start as the first of the group, and the gradient of that one is
            the sum of theirs.
        rates: {pattern: r_p}; traced, so that another value does not compile again.
    """

    only: tuple[str, ...] = eqx.field(static=True, default=("*",))
    tied: tuple[tuple[str, ...], ...] = eqx.field(static=True, default=())
    rates: dict[str, float] = eqx.field(default_factory=dict)

    def __check_init__(self):
        for pattern, rate in self.rates.items():
            require(rate > 0, f"rates.{pattern}", rate, "must be positive; `only` says what trains at all")
        for group in self.tied:
            require(len(group) >= 2, "tied", group, "must be a list of groups of at least two parameters")

    def check(self, shapes: Mapping[str, Any]) -> None:
        """Refuse names that the parameters do not have, and ties between parameters that differ.

        Args:
            shapes: {name: the shape of that parameter}; None for a shape that is not known.

        Raises:
            ConfigError: naming the key, its value and what is allowed.
        """
        check_patterns(self.only, shapes, "only")
        for pattern in self.rates:
            check_patterns([pattern], shapes, f"rates.{pattern}")
        seen: list[str] = []
        for group in self.tied:
            for name in group:
                with under("tied."):
                    check_keys({name: group}, shapes, "")
                require(name not in seen, "tied", name, "must be in one group only")
                seen.append(name)
                first = group[0]
                allowed = f"must have the shape, the rate and the `only` of {first}, to which it is tied"
                same = shapes[name] == shapes[first] and self.rate(name) == self.rate(first)
                require(same, "tied", name, allowed)

    def rate(self, name: str) -> Any:
        """R of a parameter: 0 if it is frozen, None for 1, so that neither costs anything."""
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only):
            return 0
        return of_first_match(name, self.rates)

    @property
    def _everything(self) -> bool:
        return self.only == ("*",) and not self.tied and not self.rates

    def _leaders(self) -> dict[str, str]:
        return {name: group[0] for group in self.tied for name in group[1:]}

    def tie(self, params: PyTree) -> PyTree:
        """The parameters, those that are tied replaced by the first of their group."""
        leaders, named = self._leaders(), by_name(params)
        if not leaders:
            return params
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: named[leaders.get(name_of(path), name_of(path))], params
        )

    def placed(self, params: PyTree) -> PyTree:
        """The same parameters, arranged so that a gradient has the derivatives of what trains alone.

        It is 0 for a frozen parameter, and for all of a tied group but the first, which has the sum.
        """
        if self._everything:
            return params
        fixed = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.lax.stop_gradient(leaf) if self.rate(name_of(path)) == 0 else leaf, params
        )
        return self.tie(fixed)

    def scaled(self, moves: PyTree) -> PyTree:
        """r_p times the moves (velocities, steps) of all parameters; those that are tied move with their first."""
        if self._everything:
            return moves

        def one(path: Any, move: Any) -> Any:
            rate = self.rate(name_of(path))
            if rate is None:
                return move
            return jnp.zeros_like(move) if rate == 0 else jnp.asarray(rate, move.dtype) * move

        return self.tie(jax.tree_util.tree_map_with_path(one, moves))
