"""How finely spike times are told: rounded ones, and those kept in 32 bits, may not say in which bin a spike is."""

import numpy as np

from src.data.spike_trains import SpikeTrains
from src.model.containers import Model

LAST = 500
"""Times that are looked at, the last ones: digits and bits that run out do so late."""
ENOUGH = 20
"""Times without which nothing is read from them."""
PARTS = range(1, 6)
"""The shortest interval is so many steps, if there are steps."""
EXACT = 1e-3
"""Of a step, how near to a whole number of them all intervals are."""


def step_of(times: np.ndarray) -> float:
    """Return the widest step of which all intervals between times, (n,) in s, are multiples; 0 if none is found."""
    last = np.unique(times)[-LAST:]
    gaps = np.diff(last)
    if len(last) < ENOUGH:
        return 0.0
    rounding = 4 * float(np.spacing(np.abs(last).max()))
    for parts in PARTS:
        step = float(gaps.min()) / parts
        off = np.abs(gaps - step * np.round(gaps / step))
        if (off <= EXACT * step + rounding).all():
            return step
    return 0.0


def about_precision(trains: SpikeTrains, model: Model) -> list[str]:
    """Say so if the steps of spike times are wider than the bins."""
    if trains.step is not None:
        return []
    step = step_of(np.concatenate([times for stretch in trains.stretches for times in stretch.times]))
    if step <= 1.01 * model.dt:
        return []
    return [
        f"{trains.source}: spike times come in steps of {1e3 * step:.3g} ms, wider than bins of {1e3 * model.dt:g} ms: "
        "they were rounded, or kept in 32 bits. Save them with more digits (float64), or see --dt."
    ]
