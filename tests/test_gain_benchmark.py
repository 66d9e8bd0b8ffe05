"""The benchmark of input gains: the top of a quadratic function, its errors, and that it runs."""

import numpy as np
import pytest

from benchmarks import input_gain
from benchmarks.input_gain import top_of


def test_the_top_of_a_quadratic_function_and_its_errors():
    rng = np.random.default_rng(0)
    precision = np.array([[40.0, 10.0], [10.0, 90.0]])
    centre, x = np.array([0.1, -0.3]), rng.uniform(-1, 1, (20, 2))
    ln_p = -70 - np.einsum("ni,ij,nj->n", x - centre, precision, x - centre) / 2
    top, error = top_of(x, ln_p)
    np.testing.assert_allclose(top, centre, atol=1e-12)
    np.testing.assert_allclose(error, np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-10)


def test_a_function_that_has_no_top_tells_nothing():
    x = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    assert all(np.isnan(part).all() for part in top_of(x, x[:, 0] ** 2 - x[:, 1] ** 2))


def test_it_prints_a_row_for_every_input_and_bin(capsys, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(input_gain, "POINTS", 12)
    input_gain.main(["--duration", "0.8", "--particles", "4", "--repeats", "2"])
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith(("ou ", "pulses "))]
    assert len(rows) == 2 * 2 * len(input_gain.BINS) and {row[0] for row in rows} == {"ou", "pulses"}


def test_recordings_are_kept_with_their_circuit(tmp_path, capsys):
    input_gain.main(["--recordings", str(tmp_path / "gain"), "--duration", "0.8"])
    assert sorted(path.name for path in (tmp_path / "gain").iterdir()) == [
        "circuit.toml",
        "lagged.toml",
        "ou",
        "pulses",
    ]
    recording, model = input_gain.recorded(tmp_path / "gain" / "ou", tmp_path / "gain" / "lagged.toml", 0.002, 0.001, 3)
    assert recording.true_parameters.input_gain.tolist() == [input_gain.GAIN] * 3 and recording.external_input.std() > 0
    assert "lagged.toml" in capsys.readouterr().out
