"""The penalty on the QK-eigenspectrum on English words (Genesis 1 to 20, King James Version, public domain).

The 255 most frequent words and one for all others, windows of 32 words, 400 of them for training; AdamW in minibatches
of 40. For another text: --config.task.path=FILE; experiments/qk_eigenspectrum/text.py makes a file of the whole Bible.

    dynamics run --config=configs/qk_eigenspectrum/text.py[:variant]     a minute on 2 cores

Variants: one_layer (default), no MLP; three_layers, with LayerNorm and an MLP; gpu, six layers, vocabulary 1024 and
20 000 steps in float32, for one GPU and a whole book; smoke.
"""

import dynamics

VARIANTS = ("one_layer", "three_layers", "gpu", "smoke")


def get_config(variant: str = "one_layer"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    genesis = "experiments/qk_eigenspectrum/genesis.txt"
    config.task = {"name": "text", "path": genesis, "samples": 400, "length": 32, "vocabulary": 256}
    config.model = {"name": "transformer", "width": 32, "heads": 1, "layers": 1, "neurons": 0, "norm": "none"}
    config.init.name = "lecun_normal"
    config.regulariser = {"name": "qk_spectrum", "kappa": 0.01, "tau": 32.0, "pin": 1.0, "scale": "frobenius"}
    adamw = {"name": "adam", "learning_rate": 0.003, "weight_decay": 0.01, "batch_size": 40, "replacement": False}
    config.laws = {"adamw": adamw}
    config.times.update(start=0.15, stop=3.0, count=20)
    config.probes = ("loss", "data_loss", "population_loss", "attention_entropy", "attention_within", "qk_moments")
    config.update(words=16, checkpoints=1, dtype="float32")
    if variant == "three_layers":
        config.model.update(heads=2, layers=3, neurons=64, norm="layer")
        config.regulariser.tau = 32.0
    if variant == "gpu":
        config.task.update(samples=8192, length=128, vocabulary=1024)
        config.model.update(width=256, heads=4, layers=6, neurons=1024, norm="layer")
        config.regulariser.tau = 256.0
        config.laws.adamw.update(learning_rate=0.0005, batch_size=64)
        config.times.update(start=0.1, stop=10.0, count=20)
    if variant == "smoke":
        config.task.update(samples=8, length=8, vocabulary=32)
        config.model.update(width=8)
        config.laws.adamw.batch_size = 4
        config.times.update(start=0.03, stop=0.09, count=3)
    return config
