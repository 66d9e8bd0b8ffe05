"""Spike times that are told less finely than the bins need are said to be."""

import numpy as np
import pytest

from src.data.precision import step_of
from src.model.containers import Model
from src.utils.files import save_arrays
from tests.recordings import read

MODEL = Model([100], [300.0], [[1]], dt=0.004, window_bins=40)


def fine(begin=0.0):
    """Spikes of two units in 30 s, none within 6 ms after another of the same, (480,) in s, and their units."""
    rng = np.random.default_rng(0)
    times = [begin + np.cumsum(0.006 + rng.exponential(0.11, 240)) for _ in range(2)]
    return np.concatenate(times), np.repeat(["a", "b"], 240)


def said_of(path, times, unit):
    save_arrays(path / "my.npz", spike_times=times, spike_unit=unit)
    return [line for line in read(path / "my.npz", MODEL)[1] if "in steps of" in line]


def test_times_in_32_bits(tmp_path):
    """Late in a session they are 8 ms apart."""
    (line,) = said_of(tmp_path, fine(1e5)[0].astype(np.float32), fine()[1])
    assert "my.npz: spike times come in steps of 7.81 ms, wider than bins of 4 ms: they were rounded, or" in line
    assert not said_of(tmp_path, *fine(1e5)) and not said_of(tmp_path, *fine(1.7e9))
    assert not said_of(tmp_path, fine(1e3)[0].astype(np.float32), fine()[1])  # 0.06 ms


@pytest.mark.parametrize(("digits", "step"), [(2, 0.01), (1, 0.1)])
def test_rounded_times(tmp_path, digits, step):
    times, unit = fine()
    assert np.isclose(step_of(np.round(times, digits)), step)
    (line,) = said_of(tmp_path, np.round(times, digits), unit)
    assert f"steps of {1e3 * step:g} ms" in line


def test_times_that_are_fine_enough_have_no_wide_steps(tmp_path):
    times, unit = fine()
    for digits in (3, 4, 9):
        assert step_of(np.round(times, digits)) < 0.0011
        assert not said_of(tmp_path, np.round(times, digits), unit)
    assert not said_of(tmp_path, 0.004 * np.round(times / 0.004) + 0.002, unit)  # steps of a bin
    assert step_of(times[:240]) == 0  # one unit has no short intervals, but no steps either
    assert step_of(times[:5]) == 0


def test_steps_of_which_no_interval_is_one():
    times = 0.01 * np.cumsum(np.random.default_rng(0).integers(2, 9, 100))
    assert np.isclose(step_of(times), 0.01)
