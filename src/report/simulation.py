"""What a free simulation does, in words."""

import numpy as np

from src.model.containers import Model
from src.statistics.populations import competing_pair
from src.statistics.switching import find_switches, switching_statistics


def describe_simulation(activity: np.ndarray, model: Model, seed: int) -> str:
    """Return rates and switches of a simulated activity, (M, n_bins), in words; `seed` is that of the intervals."""
    rate = activity / model.dt
    means = ", ".join(f"{name} {mean:.1f}" for name, mean in zip(model.names, rate.mean(axis=1), strict=True))
    lines = [f"mean rates (Hz): {means}"]
    pair = competing_pair(model.names)
    if pair:
        found = find_switches(rate, model.dt, pair=pair)
        known = switching_statistics(found, np.random.default_rng(seed))
        first, second = (model.names[m] for m in pair)
        counts = f"{found.to_first} to {first}, {found.to_second} to {second}"
        lines.append(f"switches: {len(found.times)} in {found.length:g} s ({counts})")
        if np.isfinite(found.winner_rate):
            lines[-1] += f"; winner {found.winner_rate:.1f} Hz, loser {found.loser_rate:.1f} Hz"
        lines.append(f"switches in 100 s: {known.per_100_s}")
        if len(found.dwell_times):
            lines[-1] += f"; dwell time {known.mean_dwell} s in the mean, {known.median_dwell} s in the median"
        lines[-1] += " [95 % confidence]"
    return "\n".join(lines)
