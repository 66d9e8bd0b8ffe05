"""Does the check of a fit against its data flag what is wrong, and only that? Shares of 100 recordings that it flags.

The model itself makes recordings. The check is given the parameters that made them, or wrong ones. Every recording is a
row of a CSV table; a rerun makes what is missing.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.tables import read_rows, write_rows
from src.evaluation.check_findings import off_in_rate
from src.evaluation.check_fit import check_fit
from src.evaluation.check_result import LEVEL
from src.inference.fast_filter import simulate_many
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording, window_rate
from src.model.scheme import CONSISTENT
from src.utils.settings import names_options, option, parse, run_script
from src.utils.text import align

KEYS = ("case", "seconds", "seed")
FOUND = ("p", "rates")
SETTLE = 3.0  # s, simulated and dropped
OBSERVED = 3
"""Recorded neurons of each population."""
SIZE_LEVEL = 0.05
"""At which at most so many recordings of the model itself should be flagged."""

Circuit = tuple[Parameters, Model]


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    recordings: int = option(100, "recordings of each case", at_least=1)
    seconds: float = option(10.0, "length of a recording", unit="s", at_least=1, at_most=100)
    only: str = option("", "cases to make, separated by commas; without it all")
    show: bool = option(False, "make nothing: show what the table has")
    table: str = option("result/check/check.csv", "table of results")


def _with(**factors: float | np.ndarray) -> Callable[[Circuit], Circuit]:
    """Return what multiplies parameters."""

    def change(circuit: Circuit) -> Circuit:
        parameters, model = circuit
        changed = {name: getattr(parameters, name) * factor for name, factor in factors.items()}
        return replace(parameters, **changed), model

    return change


def _refractory(bins: int) -> Callable[[Circuit], Circuit]:
    return lambda circuit: (circuit[0], replace(circuit[1], refractory_bins=bins, refractory_time=None))


def _same(circuit: Circuit) -> Circuit:
    return circuit


CASES = {
    "own": ("nothing", _same, _same),
    "rate": ("resting potentials 5 % too high", _same, _with(resting_potential=1.05)),
    "coupling": ("excitatory coupling 20 % too weak", _same, _with(coupling=np.array([[0.8], [0.8], [1.0]]))),
    "inhibition": ("inhibitory coupling 20 % too weak", _same, _with(coupling=np.array([[1.0], [1.0], [0.8]]))),
    "longer": ("refractory time 4 ms instead of 12 ms", _refractory(3), _same),
    "shorter": ("refractory time 12 ms instead of 4 ms", _same, _refractory(3)),
}
"""By name: what is wrong with the circuit that is checked; that of the recording, and that one, from the reference."""


def recording_of(circuit: Circuit, seconds: float, seed: int) -> Recording:
    """Let a circuit make a recording."""
    parameters, model = circuit
    A, T, settle = model.window_bins, round(seconds / model.dt), round(SETTLE / model.dt)
    silence = np.zeros((model.n_populations, settle + A + T))
    _, spikes = simulate_many(parameters, model, silence, 1, (seed, 12), n_observed=OBSERVED)
    spikes = spikes[:, :, settle:].astype(np.uint8)
    return Recording(spikes, silence[None, :, :T], window_rate(spikes, None, model))


def checked(case: str, seconds: float, seed: int) -> dict[str, str]:
    """Make a recording, check it, and return the row."""
    reference = reference_parameters(), winner_take_all(scheme=CONSISTENT)
    _, truth, fit = CASES[case]
    recording = recording_of(truth(reference), seconds, seed)
    check, _ = check_fit(*fit(reference), recording, seed)
    outside = ";".join(one.words for one in check.statistics if one.outside)
    row = {"case": case, "seconds": f"{seconds:g}", "seed": str(seed)}
    return row | {"p": f"{check.p:.6g}", "rates": str(len(off_in_rate(check))), "outside": outside}


def table(rows: Sequence[dict[str, str]], seconds: float) -> str:
    """Return shares of recordings that are flagged, by case."""
    lines = [["wrong in the circuit", "recordings", f"p <= {SIZE_LEVEL:g}", f"p <= {LEVEL:g}", "a rate off by two"]]
    for case, (words, *_) in CASES.items():
        mine = [row for row in rows if row["case"] == case and float(row["seconds"]) == seconds]
        p, off = (np.array([float(row[name]) for row in mine]) for name in FOUND)
        if len(mine):
            shares = [f"{np.mean(flagged):.0%}" for flagged in (p <= SIZE_LEVEL, p <= LEVEL, off > 0)]
            lines.append([words, str(len(mine)), *shares])
    return align(lines)


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> int:
    """Make what the table lacks, and print the shares."""
    settings = parse(Settings, __doc__, argv)
    path = Path(settings.table)
    rows = read_rows(path, [*KEYS, *FOUND])
    done = {tuple(row[key] for key in KEYS) for row in rows}
    cases = [case for case in CASES if not settings.only or case in settings.only.split(",")]
    for seed in range(1, settings.recordings + 1):
        for case in cases:
            if settings.show or (case, f"{settings.seconds:g}", str(seed)) in done:
                continue
            rows.append(checked(case, settings.seconds, seed))
            write_rows(path, rows, [*KEYS, *FOUND])
            print(f"{case} {seed}: p = {rows[-1]['p']}", file=sys.stderr, flush=True)
    print(table(rows, settings.seconds))
    return 0


if __name__ == "__main__":
    run_script(main, "benchmarks.check")
