"""The statements that hold under other laws, on a record of compare_optimizers.py (configs). A case is a law."""

from typing import Any

import numpy as np

from dynamics.studies.claims import Claim, Data, Finding
from experiments.cooccurrence.findings import always, at, spread
from experiments.cooccurrence.phases import Phases
from experiments.cooccurrence.theory import SCORES, SIGNALS, score_signs, signed

LAWS = ("flow", "gd", "sgd", "heavy_ball")
FITTED = 1e-4  # below this loss G(μ3) may change its sign
MOSTLY = 0.5  # of the final change of the scores
PHASES = Phases(0.0)
RANDOM = ("μ4", "μ5", "μ6")  # the control replaces μ1, μ2, μ3 by words of which the paper states nothing


def _classified(data: Data, case: str) -> Finding:
    times = PHASES.t1(data[case])
    return always(np.isfinite(times), f"{spread(times, 'T1')}, exists")


def _share_by(runs: Any, time: Any) -> Finding:
    """How much of the whole change of the two target scores has happened by a time; the larger of the two shares."""
    change = np.abs(runs.scores - runs.scores.isel(t=0))
    then = at(runs, time, change)
    increasing = {pair: sign for pair, sign in SCORES.items() if sign > 0}
    share = signed(then / change.isel(t=-1), increasing).max("pair", skipna=False)
    held = always(share < MOSTLY, "below", share.notnull())
    return Finding(held.holds, f"share {float(share.min()):.3f} to {float(share.max()):.3f}, {held.measured}")


def _two_phases(data: Data, case: str) -> Finding:
    return _share_by(data[case], PHASES.t1(data[case]))


def _middle(data: Data, case: str) -> Finding:
    runs = data[case]
    return _share_by(runs, (PHASES.t1(runs) + runs.t.max()) / 2)


def _signs(data: Data, case: str, words: tuple[str, str, str]) -> Finding:
    """Whether the scores of these words change in the stated directions between saved times from T1 on."""
    runs = data[case]
    steps = signed(runs.scores, score_signs(*words)).diff("t", label="lower")
    moves = (steps > 0).where(runs.t >= PHASES.t1(runs))
    share = float(moves.mean([dim for dim in moves.dims if dim != "pair"]).min())
    every = always((moves.min("t") > 0).all("pair"), "all signs")
    return Finding(every.holds, f"{every.measured}; at least {100 * share:.0f} % of the saved intervals of each")


def _scores_move(data: Data, case: str) -> Finding:
    return _signs(data, case, SIGNALS)


def _others_move(data: Data, case: str) -> Finding:
    return _signs(data, case, RANDOM)


def _in_the_end(data: Data, case: str, words: tuple[str, str, str]) -> Finding:
    """Whether the scores of these words change in the stated directions from T1 to the last time."""
    runs = data[case]
    scores = signed(runs.scores, score_signs(*words))
    held = scores.isel(t=-1) > at(runs, PHASES.t1(runs), scores)
    return always(held.all("pair"), "all signs")


def _scores_end(data: Data, case: str) -> Finding:
    return _in_the_end(data, case, SIGNALS)


def _others_end(data: Data, case: str) -> Finding:
    return _in_the_end(data, case, RANDOM)


def _mlp(data: Data, case: str, words: tuple[str, str, str], least_loss: float = 0.0) -> Finding:
    """Whether G keeps its signs from T1 on, as long as the loss is above least_loss."""
    one, two, three = (data[case].mlp.sel(word=word, drop=True) for word in words)
    later = (data[case].t >= PHASES.t1(data[case])) & (data[case].loss > least_loss)
    smallest = np.minimum(np.minimum(one, two), -three).where(later).min("t")
    return always(smallest > 0, f"smallest on [T1, T2] {float(smallest.min()):.3g}, positive")


def _while_the_loss_counts(data: Data, case: str) -> Finding:
    return _mlp(data, case, SIGNALS, FITTED)


def _signals(data: Data, case: str) -> Finding:
    return _mlp(data, case, SIGNALS)


def _not_signals(data: Data, case: str) -> Finding:
    return _mlp(data, case, RANDOM)


CLAIMS = (
    Claim("Theorem 3.1", "All samples are classified at T1 and stay so", "T1 exists in every run", _classified),
    Claim(
        "Section 4",
        "Two phases: the targets' scores change after T1",
        f"by T1 less than {MOSTLY} of their change, in every run",
        _two_phases,
        elsewhere={"by the middle of [T1, T2]": _middle},
    ),
    Claim(
        "Theorem 3.1",
        "G(μ1), G(μ2) > 0 > G(μ3) from T1 on",
        "in every run",
        _signals,
        elsewhere={"μ4, μ5, μ6": _not_signals},
        repairs={"rmsprop": {f"while the loss is above {FITTED:g}": _while_the_loss_counts}},
    ),
    Claim(
        "Theorem 3.2",
        "Scores (key, query) (μ2, μ1), (μ1, μ2) increase and (μ3, μ1), (μ3, μ2) decrease on [T1, T2]",
        "between any two saved times, in every run",
        _scores_move,
        elsewhere={"μ4, μ5, μ6": _others_move},
        repairs={"sgd": {"from T1 to T2 as a whole": _scores_end}},
    ),
    Claim(
        "Theorem 3.2",
        "The same from T1 to T2 as a whole",
        "in every run",
        _scores_end,
        elsewhere={"μ4, μ5, μ6": _others_end},
    ),
    Claim(
        "Lemma 4.4",
        "|Σ_{I2} g − Σ_{I3} g| / min(Σ_{I2} g, Σ_{I3} g) ≪ 1 on [T1, T2]",
        "at most 0.5 in every run",
        PHASES.targets_balance,
        elsewhere={"I3 and I4": PHASES.others_balance},
    ),
)
TABLES = {
    "optimizers": (
        "What holds under other laws: the paper's experiment from the theory's start, 5 seeds (SGD: 4 draws each)",
        [(law, claim) for claim in CLAIMS for law in LAWS],
    )
}
