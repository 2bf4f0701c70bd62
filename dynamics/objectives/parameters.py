"""Which parameters train, and how fast."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from dynamics.config import require
from dynamics.models.model import at_rate, by_name, name_of


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
        """Refuse names that the parameters do not have, and ties between parameters that are not alike.

        Args:
            shapes: {name: shape} of the parameters.

        Raises:
            ConfigError: naming the key, its value and what is allowed.
        """
        names = sorted(shapes)
        check_patterns(self.only, names, "only")
        for pattern in self.rates:
            check_patterns([pattern], names, f"rates.{pattern}")
        seen: list[str] = []
        for group in self.tied:
            for name in group:
                require(name in names, "tied", name, f"must be among the parameters, {', '.join(names)}")
                require(name not in seen, "tied", name, "must be in one group only")
                seen.append(name)
                first = group[0]
                allowed = f"must train as {first} does, to which it is tied"
                require(self.rate(name) == self.rate(first), "tied", name, allowed)
                allowed = f"must have the shape {shapes[first]} of {first}, to which it is tied"
                require(shapes[name] == shapes[first], "tied", name, allowed)

    def frozen(self, name: str) -> bool:
        """Whether a parameter stays as it is."""
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)

    def rate(self, name: str) -> Any:
        """R of a parameter, as at_rate takes it: 0 if it is frozen, None for 1."""
        return 0 if self.frozen(name) else of_first_match(name, self.rates)

    @property
    def _everything(self) -> bool:
        return self.only == ("*",) and not self.tied and not self.rates

    def tie(self, params: PyTree) -> PyTree:
        """The parameters, those that are tied replaced by the first of their group."""
        if not self.tied:
            return params
        first, named = {name: group[0] for group in self.tied for name in group}, by_name(params)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: named[first[name_of(path)]] if name_of(path) in first else leaf, params
        )

    def placed(self, params: PyTree) -> PyTree:
        """The same parameters, arranged so that a gradient has the derivatives of what trains alone.

        It is 0 for a frozen parameter, and for all of a tied group but the first, which has the sum.
        """
        if self._everything:
            return params
        return self.tie(
            jax.tree_util.tree_map_with_path(
                lambda path, leaf: jax.lax.stop_gradient(leaf) if self.frozen(name_of(path)) else leaf, params
            )
        )

    def scaled(self, moves: PyTree) -> PyTree:
        """r_p times the moves (velocities, steps) of all parameters; those that are tied move with their first."""
        if self._everything:
            return moves
        return self.tie(
            jax.tree_util.tree_map_with_path(lambda path, move: at_rate(self.rate(name_of(path)), move), moves)
        )
