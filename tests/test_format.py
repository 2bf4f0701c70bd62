"""Records of today's format are read as long as the format has this number; tests/records/make.py made them."""

import tarfile

import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli
from dynamics.runs.manifest import FORMAT
from dynamics.runs.verify import check_run
from dynamics.sweeps.verify import check_sweep


@pytest.fixture
def stored(tmp_path):
    with tarfile.open(ROOT / "tests" / "records" / f"format-{FORMAT}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_records_of_this_format_are_read(stored):
    assert check_run(stored / "run") == check_sweep(stored / "sweep") == ([], [])
    run, sweep = dynamics.load(stored / "run"), dynamics.load(stored / "sweep")
    assert run.provenance["format"] == sweep.provenance["format"] == FORMAT
    assert run.state == "done" and run.laws == sweep.laws == ["adam", "flow"]
    for law in run.laws:
        loss = run[law].loss.values
        assert run[law].t.values.tolist() == [0, 0.5, 1] and (np.diff(loss) < 0).all()
        # The first member of the sweep is the run.
        np.testing.assert_allclose(sweep[law].loss.sel(seed=0), loss, rtol=1e-12)
        assert run.params(law, 1.0)["W_V"].shape == (2, 5)


@pytest.mark.slow
def test_they_are_verified_and_asked(stored, capsys):
    """On another machine, up to a tolerance."""
    for folder in ("run", "sweep"):
        assert dynamics.cli.main(["dynamics", "verify", str(stored / folder)]) == 0, capsys.readouterr().out
    values = dynamics.load(stored / "run").probe("weight_norm", "adam", 1.0)
    assert np.isfinite(values).all()
