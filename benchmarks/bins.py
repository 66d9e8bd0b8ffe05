"""How fine must bins be? The microscopic network beside the model in bins of 4, 2 and 1 ms, circuit by circuit.

The circuits are those of `benchmarks.calibration`, part networks: drawn from the prior around the paper's. Of each, the
network makes one recording, which is put into bins of every width; and the model makes one in its own bins. ln p of the
true parameters should be about the same for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration import FOLLOWED, PARTS, SETTLE, draw_data
from benchmarks.known_activity import NETWORK_DT
from benchmarks.recorded import binned, judged_after_burn_in
from src.helper import from_X
from src.inference.fast_filter import FastFilter, simulate_many
from src.inference.spike_likelihood import BURN_IN
from src.LIFmicroPop import simulate_network
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT
from src.runs.finer_bins import BURSTS
from src.utils.settings import option, parse, run_script
from src.utils.text import align

WIDTHS = (0.004, 0.002, 0.001)  # s
JUDGED, RECORDED, COPIES = 5.0, 3, 8
"""Seconds of a recording, recorded neurons of each population, free simulations of the model."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    circuits: int = option(6, "circuits drawn from the prior, beside the paper's", at_least=0)
    particles: int = option(1000, "particles of the filter", at_least=2)


def judged(spikes: np.ndarray, model: Model) -> Recording:
    """Return the end of some spikes, (M, bins, n_obs), as a recording."""
    bins = model.window_bins + round(BURN_IN / model.dt) + round(JUDGED / model.dt)
    return judged_after_burn_in(spikes[None, :, -bins:], model)


def likelihood(parameters: Parameters, model: Model, spikes: np.ndarray, particles: int) -> float:
    """Return ln p of the end of some spikes, (M, bins, n_obs), the median of three filters."""
    known = FastFilter(model, judged(spikes, model), n_particles=particles)
    return float(np.median([known.ln_p(parameters, k) for k in range(3)]))


def compare(parameters: Parameters, seed: int, particles: int) -> list[list[str]]:
    """Return a row of the table for each width of the bins."""
    rng, longest = np.random.default_rng(seed), SETTLE + BURN_IN + JUDGED
    known = winner_take_all(NETWORK_DT, scheme=CONSISTENT)
    steps, warmup = round(longest / NETWORK_DT), round(SETTLE / NETWORK_DT)
    network = simulate_network(parameters, known, steps, rng, n_sampled=RECORDED, warmup_steps=warmup)
    network_rate = network.rate[warmup:].mean(axis=0)
    rows = []
    for dt in WIDTHS:
        model, per_bin = winner_take_all(dt, scheme=CONSISTENT), round(dt / NETWORK_DT)
        silence = np.zeros((model.n_populations, round(longest / dt)))
        activity, spikes = simulate_many(
            parameters, model, silence, COPIES, (seed, per_bin), n_observed=RECORDED, followed=FOLLOWED
        )
        free = activity[..., round(SETTLE / dt) :]
        ln_p = [likelihood(parameters, model, each, particles) for each in (binned(network, model)[0], spikes[0])]
        off = np.abs(free.mean(axis=(0, 2)) / dt - network_rate).max()
        rates = " ".join(f"{rate:.1f}" for rate in network_rate) if dt == WIDTHS[0] else ""
        volley = np.quantile(free, BURSTS, axis=(0, 2)).max()
        rows.append([rates, f"{1e3 * dt:g} ms", f"{volley:.0%}", f"{off:.1f}", *(f"{each:.0f}" for each in ln_p)])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, and print the table."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    part = PARTS["networks"]
    circuits = {"paper": reference_parameters()}
    for number in range(1, settings.circuits + 1):
        drawn = draw_data(part, part.model, np.random.default_rng([number, *part.name.encode()]))
        circuits[f"set {number}"] = from_X(drawn.X, part.model)
    rows = [["circuit", "Hz of the network", "bins", "volley", "Hz off", "ln p, network's", "ln p, model's own"]]
    for seed, (name, parameters) in enumerate(circuits.items()):
        found = compare(parameters, seed, settings.particles)
        rows += [[name if k == 0 else "", *row] for k, row in enumerate(found)]
    print(align(rows))
    print("volley: the most of a population that fires in a bin of the model.  Hz off: largest difference of a rate.")


if __name__ == "__main__":
    run_script(main, "benchmarks.bins")
