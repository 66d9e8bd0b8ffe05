"""One small recording, and how to write it in every format."""

import numpy as np

from src.data.options import DataOptions
from src.data.read import read_recording
from src.model.circuit_file import winner_take_all
from src.model.containers import Parameters
from src.utils.files import save_arrays

STEP, DT = 0.001, 0.004
MODEL = winner_take_all(dt=DT, window=0.04)
A = MODEL.window_bins
UNITS = ("3", "7", "8", "10", "21")
LABELS = ("E2", "E1", "E2", "I", "E1")
LENGTH = 1.2  # s
TRIALS = np.array([[0.1, 0.31], [0.4, 0.7004], [0.9, 1.1]])


def raster(seed=0):
    """Spikes of the five units in steps of 1 ms, (steps, units); never two within four."""
    rng = np.random.default_rng(seed)
    fired = np.zeros((round(LENGTH / STEP), len(UNITS)), np.uint8)
    fired[rng.integers(0, 4, 300) + 4 * np.arange(300), rng.integers(0, 5, 300)] = 1
    return fired


def trains(fired):
    return [STEP * (np.flatnonzero(train) + 0.5) for train in fired.T]


def write_binned(path, fired, **more):
    content = {"spikes": fired, "dt": STEP, "unit": np.array(UNITS), "population": np.array(LABELS), "go": TRIALS}
    save_arrays(path, **{**content, **more})


def write_listed(path, fired, **more):
    times = trains(fired)
    content = {
        "spike_times": np.concatenate(times),
        "spike_unit": np.repeat([int(unit) for unit in UNITS], [len(train) for train in times]),
        "unit": np.array([int(unit) for unit in UNITS]),
        "population": np.array(LABELS),
        "end": LENGTH,
        "go": TRIALS,
    }
    save_arrays(path, **{key: value for key, value in {**content, **more}.items() if value is not None})


def write_csv(path, fired):
    rows = sorted((t, i) for i, train in enumerate(trains(fired)) for t in train.tolist())
    lines = [f"{t!r},{UNITS[i]},{LABELS[i]}" for t, i in rows]
    path.write_text("\n".join(["time (s),unit,population", *lines, ""]))


def write_intervals(path, intervals=TRIALS):
    path.write_text("\n".join(["start,end", *(f"{start},{end}" for start, end in intervals), ""]))


def read(path, model=MODEL, **options):
    return read_recording(DataOptions(data=str(path), **options), model)


def assert_same(one, other):
    """Assert that two recordings are the same in every field."""
    for name, value in vars(one).items():
        came = getattr(other, name)
        assert (value is None) == (came is None), name
        if value is not None:
            came, value = (part.flat() if isinstance(part, Parameters) else part for part in (came, value))
            np.testing.assert_array_equal(came, value, err_msg=name)
