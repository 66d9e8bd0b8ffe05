"""Simulate the microscopic network and save a data set: population activities, sampled spikes, input and truth.

Without options it simulates the winner-take-all circuit of the paper for 11 s. For instance:

    python simulate_micro.py --seed 2 --duration 60 --output result/micro/long
    python simulate_micro.py --input ou --sigma 80 --output result/micro/driven
    python simulate_micro.py --pulses "E1:100@3+0.1,E2:100@7+0.1" --param "coupling I=15,threshold E1=4"
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from src.LIFmicroPop import MicroRecording, simulate_network
from src.model.circuit import Circuit, for_simulation
from src.model.circuit_file import load_circuit
from src.model.containers import Model, Parameters
from src.model.external_input import InputSettings, lagged
from src.model.flat_order import INPUT_GAIN
from src.statistics.populations import competing_pair
from src.statistics.switching import find_switches
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from src.utils.settings import as_dict, names_options, option, parse, run_script


@dataclass(frozen=True)
class MicroSettings(InputSettings):
    """Options of the script."""

    output: str = option("result/micro/3pop", "file to write; its folder is made if needed")
    overwrite: bool = option(False, "replace the file if it exists")
    seed: int = option(1, "seed of all random numbers", at_least=0)
    # The bounds keep a slip of the finger from asking for more memory than there is.
    duration: float = option(11.0, "length of the recording", unit="s", above=0, at_most=3600)
    dt: float = option(0.0002, "step of the simulation", unit="s", at_least=1e-5, at_most=0.004)
    warmup: float = option(
        0.5, "time simulated before the recording, without input, and dropped", unit="s", at_least=0, at_most=60
    )
    n_sampled: int = option(30, "neurons of each population whose spikes are saved", at_least=0)
    heterogeneity: float = option(
        0.0,
        "how much the neurons of a population differ: coefficient of variation of their resting potential, and of the "
        "couplings that they receive",
        at_least=0,
        at_most=2,
    )
    refractory_time: float | None = option(
        None,
        "refractory time, at least one step; without it as the circuit says, 4 ms",
        unit="s",
        at_least=0,
        at_most=1,
    )
    delay: float | None = option(
        None,
        "synaptic delay, added to the one step that every spike takes; without it as the circuit says, 0",
        unit="s",
        at_least=0,
        at_most=1,
    )
    circuit: str | None = option(None, "TOML file of a circuit; without it src/model/circuits/winner_take_all.toml")
    param: str | None = option(
        None, 'changes to the circuit, such as "coupling I=15,threshold E1=4,population_size E1=200"; without it none'
    )


def circuit_of(settings: MicroSettings) -> Circuit:
    """Return the circuit that the settings ask for; options go before what its file says."""
    circuit = load_circuit(settings.circuit).changed(settings.param or "")
    times = {"refractory_time": settings.refractory_time, "delay": settings.delay}
    return replace(circuit, **{key: time for key, time in times.items() if time is not None})


def simulate_circuit(
    settings: MicroSettings, progress: Callable[[int], object] | None = None
) -> tuple[Model, Parameters, np.ndarray, MicroRecording]:
    """Simulate what the settings ask for; returns the circuit, the input (steps, M) in 1/s, and the recording."""
    model, parameters = for_simulation(circuit_of(settings), settings.dt)
    for_network, for_input = map(np.random.default_rng, np.random.SeedSequence(settings.seed).spawn(2))
    n_steps, warmup_steps = _steps(settings)
    external_input = settings.make(n_steps, settings.dt, model.names, for_input)
    recording = simulate_network(
        parameters,
        model,
        n_steps,
        for_network,
        external_input=lagged(external_input, model.input_lag, model.dt),
        n_sampled=settings.n_sampled,
        warmup_steps=warmup_steps,
        heterogeneity=settings.heterogeneity,
        progress=progress,
    )
    return model, parameters, external_input, recording


def dataset(
    settings: MicroSettings, model: Model, parameters: Parameters, external_input: np.ndarray, recording: MicroRecording
) -> dict[str, Any]:
    """Return the arrays of the data set, which ``dataset/README.md`` describes."""
    circuit = circuit_of(settings)
    used = as_dict(settings) | {"refractory_time": circuit.refractory_time, "delay": circuit.delay}
    weighed = {} if parameters.input_gain is None else {INPUT_GAIN: parameters.input_gain}
    return {
        "A_t_pop": recording.rate,
        "sampled_spikes": recording.sampled_spikes,
        "I_ext": external_input,
        "dt": model.dt,
        "amem": parameters.membrane_rate,
        "J": parameters.coupling,
        "rp": parameters.resting_potential,
        "ft": parameters.threshold,
        **weighed,
        "population_size": model.population_size,
        "synaptic_rate": model.synaptic_rate,
        "settings": json.dumps({key: value for key, value in used.items() if key != "overwrite"}, sort_keys=True),
    }


def summary(model: Model, recording: MicroRecording) -> str:
    """Return mean rates and, where two populations compete, the switches between them."""
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in zip(model.names, recording.rate.mean(axis=0), strict=True))
    pair = competing_pair(model.names)
    if not pair:
        return f"mean rates (Hz): {rates}"
    a, b = pair
    found = find_switches(recording.rate.T, model.dt, pair=pair)
    text = f"mean rates (Hz): {rates}\n"
    text += f"switches: {found.to_first} to {model.names[a]}, {found.to_second} to {model.names[b]}"
    if 0 < len(found.times) <= 10:
        text += f", at {', '.join(f'{t:.2f}' for t in found.times)} s"
    if found.state.any():
        text += f"\nwinner {found.winner_rate:.1f} Hz, loser {found.loser_rate:.1f} Hz"
    if len(found.dwell_times):
        text += f"; mean time between switches {found.dwell_times.mean():.1f} s"
    return text


def _steps(settings: MicroSettings) -> tuple[int, int]:
    n_steps = round(settings.duration / settings.dt)
    if n_steps < 1:
        raise InputError(f"--duration: expected at least one step of {settings.dt:g} s, got {settings.duration:g} s")
    return n_steps, round(settings.warmup / settings.dt)


@names_options(MicroSettings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(MicroSettings, __doc__.splitlines()[0], argv)
    output = Path(settings.output)
    if output.is_dir() or any(folder.is_file() for folder in output.parents):
        raise InputError(f"--output: expected a file in a folder, got {output}, which cannot be one")
    if output.exists() and not settings.overwrite:
        raise InputError(f"{output}: exists already; give --overwrite to replace it, or another --output")
    began = time.perf_counter()
    # disable=None: a bar on a terminal, none in a log file.
    with tqdm(total=sum(_steps(settings)), unit="step", unit_scale=True, desc="simulating", disable=None) as bar:
        result = simulate_circuit(settings, bar.update)
    seconds = time.perf_counter() - began
    save_arrays(output, compress=True, **dataset(settings, *result))
    print(f"{output}: {settings.duration:g} s simulated in {seconds:.1f} s, {output.stat().st_size / 1e6:.2f} MB")
    print(summary(result[0], result[-1]))


if __name__ == "__main__":
    run_script(main, "simulate_micro.py")
