"""The experiment that the claims of experiments/cooccurrence/claims.py measure, at any width (arXiv:2410.09605).

Condition 1 of the paper: n = 60, L = 5, every random word at most once (d = 163), m1 = 64, σ0 = 0.3/√(L m),
σ1 = 0.3/√m1; gradient flow in Gram variables to T2 = m. If L, m or m1 is overridden, d, σ0, σ1 and T2 follow.

    dynamics run --config=configs/cooccurrence/claims.py[:variant] [--config.model.width=...]    20 s on 2 cores

Variants: theory (default); appendix, the paper's own experiment (Appendix A, true Kaiming) to t = 300;
appendix_distinct, the same with distinct words; appendix_small, the same with the theory's start; appendix_mended, the
same with both; smoke. Controls: the tasks shuffled_labels, contradiction, no_common_token, unbalanced_labels and
unequal_targets, and the start fan_in (σ1 = 0.3/√m). --config.train.only="('W', 'W_V')" freezes the attention.
"""

from ml_collections import config_dict

import dynamics
from experiments.cooccurrence import controls, probes  # noqa: F401  (registers tasks, laws and probes)

TASKS = ("shuffled_labels", "contradiction", "no_common_token", "unbalanced_labels", "unequal_targets")
APPENDIX = ("appendix", "appendix_distinct", "appendix_small", "appendix_mended")
VARIANTS = ("theory", *APPENDIX, *TASKS, "fan_in", "smoke")


def get_config(variant: str = "theory"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    smallest_that_fits = config_dict.placeholder(int)
    config.task = {
        "name": variant if variant in TASKS else "cooccurrence",
        "samples": 60,
        "length": 5,
        "vocabulary": smallest_that_fits,
        "words": "distinct",
    }
    config.model = {"name": "one_layer", "width": 2**14, "neurons": 64, "heads": 1}
    config.init.draw = "gram"
    if variant in APPENDIX:
        config.model.update(width=128, neurons=256)
    if variant in ("appendix", "appendix_small"):
        config.task.update(vocabulary=64, words="uniform")
    if variant in ("appendix", "appendix_distinct"):
        config.init.name = "kaiming_normal"
    else:
        config.init.name = "normal"
        length, width = config.task.get_ref("length").to_float(), config.model.get_ref("width").to_float()
        neurons = config.model.get_ref("neurons").to_float()
        config.init.std = 0.3 / (length * width) ** 0.5
        config.init.std_of.W = 0.3 / (width if variant == "fan_in" else neurons) ** 0.5
    config.laws = {"flow": {"name": "gram_flow", "solver": "auto", "rtol": 1e-8, "atol": 1e-10, "max_steps": 100_000}}
    config.times.update(start=1e-7, stop=300.0, count=90)
    if variant not in APPENDIX:
        config.times.stop = config.model.get_ref("width").to_float()
    config.probes = (
        "loss",
        "gradient_by_type",
        "margin",
        "output",
        "scores",
        "value_gram",
        "key_gram",
        "query_gram",
        "neuron_gram",
        "mlp",
        "scores_velocity",
        "value_gram_velocity",
        "mlp_velocity",
        "drift",
        "random_score_change",
        "score_table",
    )
    config.update(words=8, checkpoints=1)
    if variant == "smoke":
        config.task.update(samples=12, length=4)
        config.times.update(count=20)
    return config
