"""Claims about co-occurrence as XOR: that attention is needed, when it leaves the plateau, how many samples it takes.

The task is exactly-one of arXiv:2410.09605's words (experiments/cooccurrence/xor.py): y = +1 when exactly one of μ1 and
μ2 occurs. No statement here is the paper's; theory.py derives those about the plateau and the escape from it.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dynamics import grid, seeds
from dynamics.files import load_config
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured
from experiments.cooccurrence.controls import ALL_BUT_ATTENTION
from experiments.xor import measures
from experiments.xor.measures import FROZEN

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "xor.py"
FIRST = 1000  # of the seeds, none of which was seen when the bounds were set
ESCAPES = 2000  # likewise, of the training sets whose times of escape are fitted
SEEDS, FEWER = 8, 4
SAMPLES = (60, 120, 480, 960)
STD_W = (80 / 2**31) ** 0.5  # S = 80 at m = 2³⁰, m1 = 2
SCALES = (1e-3, 1e-2, 1e-1)  # σ0
ATTENTION_FROZEN: dict[str, Any] = {"train": {"only": ALL_BUT_ATTENTION}}
WIDEST: dict[str, Any] = {"model": {"width": 2**40}, "times": {"stop": 1e5, "count": 160}}


FLOW = {"solver": "auto", "rtol": 1e-5, "atol": 1e-9, "max_steps": 100_000}
LAWS: dict[str, dict[str, Any]] = {
    "trained": {"name": "gram_flow", **FLOW},
    "flow": {"name": "flow", **FLOW, "rtol": 1e-6},
    "GD": {"name": "gd", "learning_rate": 0.05},
    "SGD": {"name": "sgd", "learning_rate": 0.05, "batch_size": 60},
    "Adam": {"name": "adam", "learning_rate": 0.001},
}


def _case(variant: str, members: Sequence[Mapping[str, Any]], law: str = "trained", **changes: Any) -> Case:
    """A variant of the config under one law; `changes` are {group: {key: value}}."""

    def config() -> Any:
        config = load_config(CONFIG, variant)
        config.laws = {"law": LAWS[law]}
        if variant != "escape":
            config.times.update(start=0.1, count=120)
            config.probes = ("loss", "population_loss", "fresh_error", "scores", "attention", "drift")
        else:
            config.probes = ("loss", "mlp", "neuron_gram", "drift")
        for group, values in changes.items():
            config[group].update(values)
        return config

    return Case(config, members)


def _both(name: str, variant: str, count: int, **changes: Any) -> dict[str, Case]:
    """A case, and the same starts with fixed W_K and W_Q."""
    of_seeds, changes = seeds(count, FIRST), {"init": {"draw": "gram"}, **changes}
    return {
        name: _case(variant, of_seeds, **changes),
        name + FROZEN: _case(variant, of_seeds, **changes, **ATTENTION_FROZEN),
    }


def _escape(axis: Mapping[str, Sequence[Any]], **changes: Any) -> Case:
    """The variant `escape` over an axis and seeds."""
    return _case("escape", grid(axis, seeds(FEWER, ESCAPES)), **changes)


def _by_law(law: str, step: float) -> Case:
    """The narrow model with d = 16, in weights. Adam moves every weight by about η a step: it has a time of its own."""
    times = {"start": 0.1, "stop": 12_000 * step, "count": 120, "multiple_of": step}
    return _case("narrow", seeds(FEWER, FIRST), law, task={"vocabulary": 16}, times=times)


CASES: dict[str, Case | Measured] = {
    **_both("m = 16", "narrow", SEEDS),
    **_both("m = 64", "small", SEEDS),
    **_both("AND", "narrow", FEWER, task={"name": "cooccurrence"}),
    **_both("shuffled labels", "narrow", FEWER, task={"name": "shuffled_exactly_one"}),
    **{key: case for n in SAMPLES for key, case in _both(f"n = {n}", "narrow", FEWER, task={"samples": n}).items()},
    "σ0": _escape({"init.std": SCALES}, **WIDEST),
    "σ0" + FROZEN: _case("escape", seeds(FEWER, ESCAPES), init={"std": SCALES[0]}, **WIDEST, **ATTENTION_FROZEN),
    "width": _escape({"model.width": (2**20, 2**30, 2**40)}),
    "S": _escape({"init.std_of.W": tuple(STD_W * 2 ** (k / 3) for k in range(4))}),
    "m1": _escape({"model.neurons": (2, 4, 8, 16)}),
    "samples": _escape({"task.samples": (480, 720, 1200, 1920)}),
    **{law: _by_law(law, LAWS[law].get("learning_rate", 0.05)) for law in ("flow", "GD", "SGD", "Adam")},
    "plateau": Measured(
        {"samples": [240, 1920, 3840], "vocabulary": 64, "seeds": list(range(FIRST, FIRST + SEEDS))}, measures.plateaus
    ),
    "plateau, d = 16": Measured(
        {"samples": [240], "vocabulary": 16, "seeds": list(range(ESCAPES, ESCAPES + FEWER))}, measures.plateaus
    ),
}

AFTER = "the bound, after a look at other seeds"
OURS, DERIVED = "ours", "derived in theory.py"
LOSS, ERROR = "population_loss", "fresh_error"
POWER_LAW = f"mean over {FEWER} training sets, its interval"
NEEDED = [
    (
        case,
        Claim(
            OURS,
            f"With fixed W_K and W_Q the {what} is larger by 0.1 or more ({case}, t = {stop})",
            f"paired difference over {SEEDS} seeds: its interval is above 0.1",
            measures.attention_helps(name, 0.1),
            ("AND", "shuffled labels"),
            post_hoc=AFTER,
        ),
    )
    for case, stop in (("m = 16", 3000), ("m = 64", 1000))
    for name, what in ((LOSS, "population loss"), (ERROR, "share of fresh samples classified wrongly"))
]
NEEDED += [
    (
        "AND",
        Claim(
            OURS,
            "The paper's own task, y = +1 when both occur: attention changes the share of fresh samples that are "
            "classified wrongly by less than 0.05",
            f"paired difference over {FEWER} seeds: its interval lies in ± 0.05",
            measures.attention_is_idle(ERROR, 0.05),
            ("m = 16",),
            post_hoc=AFTER,
        ),
    ),
    (
        "m = 16, frozen",
        Claim(
            DERIVED,
            "With fixed W_K and W_Q the training loss ends at the minimum over word counts",
            f"loss over that minimum, {SEEDS} seeds: its interval lies in 1 ± 0.05",
            measures.ends_at_word_counts(0.05),
            ("m = 16",),
            repairs={"m = 16, frozen": {"uniform attention (σ0 = 0.001, d = 16)": "σ0, frozen"}},
            post_hoc=AFTER,
        ),
    ),
    (
        "plateau",
        Claim(
            DERIVED,
            "For n → ∞ that minimum is ½ log(1 + 1/q) + ½ log(1 + q³) = 0.5869, with 3q³ − q² + q = 1",
            f"2 L(3840) − L(1920), {SEEDS} seeds: its interval lies in ± 0.01",
            measures.limit_of_word_counts(0.01),
            elsewhere={"n = 240": measures.limit_of_word_counts(0.01, extrapolated=False)},
            post_hoc=AFTER,
        ),
    ),
    (
        "n = 960",
        Claim(
            OURS,
            "960 samples generalise: at most 2 % of fresh samples are classified wrongly",
            f"mean over {FEWER} seeds: its interval is below 0.02",
            measures.error_at_most(0.02),
            ("n = 960, frozen", "n = 60"),
            post_hoc=AFTER,
        ),
    ),
]
LEAVING = [
    (
        "σ0",
        Claim(
            DERIVED,
            "On the plateau values and scores grow together: g(t) + g* = (g(0) + g*) cosh(r t), r = σ0 ‖N‖ √(2S)",
            f"at r t = 1.5, measured over predicted: the interval over {FEWER} training sets lies in 1 ± 0.05",
            measures.values_and_scores_grow(0.05),
            ("σ0, frozen",),
            elsewhere={"the rate r/√2": measures.values_and_scores_grow(0.05, measures.GROWN / 2**0.5)},
            post_hoc=AFTER,
        ),
    ),
    (
        "width",
        Claim(
            DERIVED,
            "The time of escape does not depend on m (2²⁰ to 2⁴⁰)",
            f"exponent in m: {POWER_LAW} in ± 0.01",
            measures.exponent_of_escape(-0.01, 0.01),
            ("σ0", "S", "m1"),
            post_hoc=AFTER,
        ),
    ),
    (
        "σ0",
        Claim(
            DERIVED,
            "It is ∝ 1/σ0 (10⁻³ to 10⁻¹)",
            f"exponent in σ0: {POWER_LAW} in −1 ± 0.1",
            measures.exponent_of_escape(-1.1, -0.9),
            ("width", "S", "m1"),
            post_hoc=AFTER,
        ),
    ),
    (
        "S",
        Claim(
            DERIVED,
            "It is ∝ log(S)/√S (80 to 320): the exponent is above −1/2, by about 1/(r t)",
            f"exponent in the scale of W, twice that in S: {POWER_LAW} in [−1, −0.5]",
            measures.exponent_of_escape(-1.0, -0.5),
            ("width", "σ0", "m1"),
            post_hoc=AFTER,
        ),
    ),
    (
        "m1",
        Claim(
            DERIVED,
            "It falls with log m1 only (2 to 16): by about ½ / (r t) for each factor e",
            f"exponent in m1: {POWER_LAW} in [−0.15, −0.01]",
            measures.exponent_of_escape(-0.15, -0.01),
            ("width", "σ0", "S"),
            post_hoc=AFTER,
        ),
    ),
    (
        "samples",
        Claim(
            OURS,
            "From n = 480 to 1920 it hardly changes",
            f"exponent in n: {POWER_LAW} in ± 0.1",
            measures.exponent_of_escape(-0.1, 0.1),
            ("σ0", "S"),
            post_hoc=AFTER,
        ),
    ),
    *(
        (
            law,
            Claim(
                OURS,
                f"{law} leaves the plateau when the flow does, at t = ηk",
                f"time over the flow's from the same start, {FEWER} seeds: its interval lies in 1 ± {tolerance}",
                measures.escapes_like_the_flow(tolerance),
                ("Adam",),
                post_hoc=AFTER,
            ),
        )
        for law, tolerance in (("GD", 0.05), ("SGD", 0.1))
    ),
]
TABLES = {
    "needed": ("Where attention is needed", NEEDED),
    "leaving": ("What sets the time at which the loss leaves the plateau", LEAVING),
}
FIGURES = "experiments.xor.figures"
