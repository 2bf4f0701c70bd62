"""A sweep holds members of one layer and of two, of one head and of two."""

import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli

pytestmark = pytest.mark.slow

SWEEP = f"""
import pathlib
from dynamics.files import module_of
from dynamics.sweeps.overrides import zipped

TEXT = module_of(pathlib.Path({str(ROOT)!r}) / "configs/qk_eigenspectrum/sweep_text.py")

def get_config(variant=None):
    config = TEXT.get_config("smoke")
    config.wandb.mode = "disabled"
    return config

def get_sweep(variant=None):
    return zipped({{"model.layers": (1, 2), "model.heads": (1, 2)}})
"""


def test_one_layer_beside_two(tmp_path):
    file = tmp_path / "depths.py"
    file.write_text(SWEEP)
    assert dynamics.cli.main(["dynamics", "sweep", f"--config={file}", f"--workdir={tmp_path}"]) == 0
    H = dynamics.load(tmp_path / "depths")["adamw"].load().attention_entropy
    assert H.dims == ("layers", "t", "layer", "head") and H.shape[2:] == (2, 2)
    assert np.isfinite(H.sel(layers=2)).all()
    assert np.isfinite(H.sel(layers=1, layer=0, head=0)).all() and np.isnan(H.sel(layers=1, layer=1)).all()
