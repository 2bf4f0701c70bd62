"""The cases of the claims about arXiv:2410.09605: variants of configs/cooccurrence/claims.py at several widths."""

import itertools
import pathlib
from typing import Any

from dynamics import grid, own_seeds
from dynamics.files import load_config
from dynamics.studies.evidence import Case, Measured
from experiments.cooccurrence import controls, kick
from experiments.cooccurrence.measures import LENGTHS, SIZES, SIZES_WIDTH
from experiments.cooccurrence.phases import RATES

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "claims.py"
WIDTHS = tuple(2**k for k in range(8, 21, 3))
APPENDIX_WIDTHS = tuple(2**k for k in range(7, 20, 4))
CONTROL_WIDTHS = (2**8, 2**14, 2**20)
# As many starts, and as wide a range, as decide the exponents of the key and query Grams; their seeds are new.
PHASE_1_WIDTHS, PHASE_1_STARTS, PHASE_1_SEED = tuple(2**k for k in range(12, 25, 4)), 45, 20_000
STARTS, FROZEN_STARTS = 5, 2  # at each width
SEEDS = itertools.count(5000, 100)  # the first seed of each case: all starts are independent of one another


def _case(variant: str, widths: tuple[int, ...], seeds: int, **changes: Any) -> Case:
    """A variant of the config at several widths.

    Args:
        variant: its name.
        widths: m.
        seeds: the number of starts at each width.
        changes: of the config, {"section__key": value}.
    """

    def config() -> Any:
        config = load_config(CONFIG, variant)
        config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
        return config

    return Case(config, own_seeds(grid({"model.width": widths}, [{}] * seeds), next(SEEDS)))


def _frozen(case: Case) -> Case:
    """The first starts at each width with W_K and W_Q fixed."""

    def config() -> Any:
        config = case.config()
        config.train.only = controls.ALL_BUT_ATTENTION
        return config

    return Case(config, [member for i, member in enumerate(case.members) if i % STARTS < FROZEN_STARTS])


def _until_t1(case: Case) -> Case:
    """The same members with seeds of their own, seen often around T1, which is about 130/m, and no longer."""

    def config() -> Any:
        config = case.config()
        width = config.model.get_ref("width").to_float()
        config.times.start, config.times.stop, config.times.count = 10.0 / width, 400.0 / width, 24
        config.probes = ("loss", "margin", *RATES, "drift")
        return config

    return Case(config, own_seeds([dict(member) for member in case.members], PHASE_1_SEED))


FROZEN = ", attention frozen"
CASES: dict[str, Any] = {
    "theory": _case("theory", WIDTHS, STARTS),
    "appendix": _case("appendix", APPENDIX_WIDTHS, STARTS),
    "phase 1": _until_t1(_case("theory", PHASE_1_WIDTHS, PHASE_1_STARTS)),
    **{
        name: _case(name, CONTROL_WIDTHS, 2)
        for name in ("shuffled_labels", "no_common_token", "unequal_targets", "fan_in")
    },
    "unbalanced_labels": _case("unbalanced_labels", CONTROL_WIDTHS, 2, times__stop=1e-3),  # asked about t = 0 only
    "contradiction": _case("contradiction", (2**8,), 2),
    **{name: _case(name, APPENDIX_WIDTHS, 2) for name in ("appendix_distinct", "appendix_small", "appendix_mended")},
    **{f"theory, n = {n}": _case("theory", (SIZES_WIDTH,), STARTS, task__samples=n) for n in SIZES},
    **{f"theory, L = {L}": _case("theory", (SIZES_WIDTH,), 2, task__length=L) for L in LENGTHS},
}
CASES |= {f"{case}{FROZEN}": _frozen(CASES[case]) for case in ("theory", "appendix")}
KICKED = {"samples": 42, "width": SIZES_WIDTH, "seeds": [first := next(SEEDS), first + 1, first + 2]}
CASES |= {
    "kick": Measured(KICKED, kick.kicks),
    "kick, shuffled labels": Measured({**KICKED, "shuffle": True}, kick.kicks),
    "kick, slow W_V": Measured({**KICKED, "rate": 1e-3}, kick.kicks),
}
COMPANION = ("attention frozen", {case: f"{case}{FROZEN}" for case in ("theory", "appendix")})
