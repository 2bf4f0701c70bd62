"""The command `dynamics doctor` fits on a screen, and its self-test can fail."""

import jax
import pytest

import dynamics
import dynamics.cli
from dynamics.cli import doctor


@pytest.fixture(scope="module")
def losses():
    return doctor.measured()


def test_the_stored_answer(losses):
    assert doctor.compared(losses) == "" and losses.keys() == doctor.ANSWER.keys()


def test_a_wrong_answer_is_seen(losses):
    for law, loss in losses.items():
        for wrong in (loss * (1 + 2e-11), loss * (1 - 2e-11), float("nan"), 0.0):
            assert doctor.compared({**losses, law: wrong}).startswith(f"FAILED, {law}: the loss is ")


def test_float32_does_not_pass():
    """The self-test of a machine whose jax has no float64."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        assert doctor.compared({law: float(jax.numpy.asarray(loss)) for law, loss in doctor.ANSWER.items()})


@pytest.mark.parametrize(("answer", "code"), [(doctor.ANSWER, 0), ({"flow": 0.1, "gd": 0.1}, 1)])
def test_one_screen(monkeypatch, capsys, losses, answer, code):
    monkeypatch.setattr(doctor, "measured", lambda: losses)
    monkeypatch.setattr(doctor, "ANSWER", answer)
    assert dynamics.cli.main(["dynamics", "doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 25
    for label in (
        "python",
        "packages",
        "devices",
        "dtype",
        "matrix products",
        "wandb",
        "free disk",
        "SLURM",
        "self-test",
    ):
        assert any(line.split("  ")[0].strip() == label for line in lines), label
    assert ("passed" in lines[-1]) == (code == 0)
