"""From a data set at its own steps to a recording in bins and trials, with everything checked on the way."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.data.spike_trains import SpikeTrains, stretch_of_bins
from src.data.trials import bins_of_trials
from src.helper import true_X
from src.model.containers import Model, Parameters, Recording, window_rate
from src.model.external_input import lagged
from src.model.flat_order import INPUT_GAIN, names_of_flat
from src.utils.exceptions import InputError
from src.utils.files import load_arrays

STEP = 0.0002  # s; of the published data set, which does not say
TRUE_PARAMETERS = ("amem", "J", "rp", "ft")  # published names of the parts of `Parameters`


def load_recording(
    path: str | Path,
    model: Model,
    *,
    start_timepoint: float | None = None,
    end_timepoint: float | None = None,
    trial_length: float | None = None,
    n_sampled: int = 3,
    with_input: bool = False,
) -> tuple[Recording, list[str]]:
    """Read a data set and bring it to the model's bins.

    Parameters
    ----------
    path : path
        Data set as ``dataset/README.md`` describes it, or the published pickle.
    model : Model
    start_timepoint, end_timepoint : float or None, s
        The recording is used from here, and up to here; None is its begin, 0, and its end.
    trial_length : float or None, s
        Fitted length of a trial. The recording is cut into as many as it holds; each has the window before it as its
        history. None: all of it is one trial.
    n_sampled : int
        Neurons of each population that count as recorded; the first ones are taken.
    with_input : bool
        Whether the external input is known to the fit; if not, it is taken to be zero.

    Returns
    -------
    Recording
    notes : list of str
        What the user should know about the data.

    Raises
    ------
    InputError
        The file cannot be read, an array has a wrong shape or value, or the recording is too short.
    """
    arrays = load_arrays(path, ("A_t_pop", "sampled_spikes", "I_ext"))
    _check_arrays(path, arrays, model.n_populations, n_sampled)
    arrays, end_timepoint = _from_start(path, arrays, start_timepoint, end_timepoint)
    grid = _grid(path, arrays, model, end_timepoint, trial_length)
    A = model.window_bins
    arriving = lagged(arrays["I_ext"], model.input_lag, _step(path, arrays))
    rate, given_input = (
        grid.binned(array.T.astype(float)[..., None]) / grid.per_bin for array in (arrays["A_t_pop"], arriving)
    )
    trains = arrays["sampled_spikes"].astype(np.uint16)
    counts = np.stack([grid.binned(trains[..., i, None]) for i in range(n_sampled)], -1)
    spikes = np.minimum(counts, 1).astype(np.uint8)
    true_parameters = _truth(path, arrays, model)
    notes = [
        *_other_circuit(path, arrays, model),
        *_other_parameters(true_parameters, model),
        *_other_times(arrays, model),
        *_unused_input(given_input[..., A:], with_input),
        *_odd_spikes(counts),
    ]
    truth, known_input = rate[..., A:] * model.dt, given_input[..., A:] * with_input
    return Recording(spikes, known_input, window_rate(spikes, None, model), truth, true_parameters), notes


def _from_start(
    path: str | Path, arrays: dict[str, np.ndarray], start: float | None, end: float | None
) -> tuple[dict[str, np.ndarray], float | None]:
    """Return the arrays from the step at `start` on, and the end counted from there."""
    step, steps = _step(path, arrays), len(arrays["A_t_pop"])
    if end is not None and end <= 0:
        raise InputError(f"end_timepoint: expected above 0 s, got {end:g}")
    if start is None or start == 0:
        return arrays, end
    if not 0 <= start < steps * step:
        raise InputError(f"start_timepoint: expected 0 s to less than {steps * step:g} s, got {start:g}")
    if end is not None and not start < end <= steps * step + 1e-9:
        raise InputError(
            f"end_timepoint: expected after --start_timepoint {start:g} s, and at most {steps * step:g} s, the length "
            f"of {path}, got {end:g}"
        )
    first = round(start / step)
    used = {key: arrays[key][first:] for key in ("A_t_pop", "I_ext")}
    used["sampled_spikes"] = arrays["sampled_spikes"][:, first:]
    return {**arrays, **used}, None if end is None else end - first * step


class _Grid(NamedTuple):
    """How the steps of a data set become B trials of A + T bins, each of `per_bin` steps."""

    per_bin: int
    A: int
    B: int
    T: int
    n_bins: int

    def binned(self, array: np.ndarray) -> np.ndarray:
        """Sum the steps of each bin, on axis 1 of (M, steps, ...), and cut into trials: (B, M, A+T, ...)."""
        shape = (len(array), self.n_bins, self.per_bin, -1)
        sums = array[:, : self.n_bins * self.per_bin].reshape(shape).sum(2).squeeze(-1)
        return np.stack([sums[:, b * self.T : b * self.T + self.A + self.T] for b in range(self.B)])


def _grid(
    path: str | Path,
    arrays: dict[str, np.ndarray],
    model: Model,
    end_timepoint: float | None,
    trial_length: float | None,
) -> _Grid:
    """Return how the data set becomes bins and trials; InputError if it cannot."""
    step, steps = _step(path, arrays), len(arrays["A_t_pop"])
    per_bin = round(model.dt / step)
    if per_bin < 1 or abs(per_bin * step - model.dt) > 1e-9:
        raise InputError(f"dt: expected a multiple of the data set's step of {step:g} s, got {model.dt:g}")
    end = steps * step if end_timepoint is None else end_timepoint
    if end > steps * step + 1e-9:
        raise InputError(f"end_timepoint: expected at most {steps * step:g} s, the length of {path}, got {end:g}")
    n_bins = int(end / model.dt + 1e-6)
    return _Grid(per_bin, model.window_bins, *_trials(model, n_bins, end, trial_length), n_bins)


def _odd_spikes(counts: np.ndarray) -> list[str]:
    """Say which spikes, (B, M, A+T, n_obs) counts, share a bin, and which neurons have none."""
    notes = []
    if (counts > 1).any():
        notes.append(f"{int((counts > 1).sum())} bins with two spikes or more of a neuron; each counts as one spike")
    silent = int((counts.sum((0, 2)) == 0).sum())
    if silent:
        notes.append(f"{silent} recorded neurons never fire")
    return notes


def trains_of_data_set(path: str, arrays: dict[str, np.ndarray], n_sampled: int) -> SpikeTrains:
    """Return the spike trains of the first neurons of each population, named ``population.neuron``, both from 0.

    Raises
    ------
    InputError
        An array is missing, or has a wrong shape or value.
    """
    if "sampled_spikes" not in arrays:
        raise InputError(f"{path}: expected the array sampled_spikes, found {', '.join(arrays)}")
    spikes, dt = arrays["sampled_spikes"], _step(path, arrays)
    if spikes.ndim != 3 or spikes.dtype.kind not in "biuf" or not np.isin(spikes, (0, 1)).all():
        raise InputError(
            f"{path}: sampled_spikes: expected 0 and 1 in (populations, steps, neurons), got {spikes.dtype} of shape "
            f"{spikes.shape}"
        )
    M, n_steps, n_neurons = spikes.shape
    if n_sampled > n_neurons:
        raise InputError(f"n_sampled: expected at most {n_neurons}, the neurons in {path}, got {n_sampled}")
    trains = np.moveaxis(spikes[:, :, :n_sampled], 1, 2).reshape(M * n_sampled, n_steps)
    units = tuple(f"{m}.{i}" for m in range(M) for i in range(n_sampled))
    labels = tuple(str(m) for m in range(M) for _ in range(n_sampled))
    return SpikeTrains(path, units, (stretch_of_bins(trains, dt),), labels, step=dt)


def _trials(model: Model, n_bins: int, end_timepoint: float, trial_length: float | None) -> tuple[int, int]:
    """Return the number of trials that `n_bins` bins, the first window included, hold, and the bins of each."""
    window, left = model.window_bins * model.dt, n_bins - model.window_bins
    before = f"before --end_timepoint {end_timepoint:g} s"
    if left < 2:
        raise InputError(
            f"recording: expected a window of {window:g} s and at least one trial of two bins or more {before}, "
            f"got trials of {max(left, 0) * model.dt:g} s"
        )
    T = left if trial_length is None else bins_of_trials(trial_length, left, model, f" {before}")
    return left // T, T


def _check_arrays(path: str | Path, arrays: dict[str, np.ndarray], M: int, n_sampled: int) -> None:
    rate, spikes = arrays["A_t_pop"], arrays["sampled_spikes"]
    steps = rate.shape[0] if rate.ndim else 0
    for name, expected in (("A_t_pop", (steps, M)), ("I_ext", (steps, M)), ("sampled_spikes", (M, steps, -1))):
        came = arrays[name].shape
        if len(came) != len(expected) or any(e not in (c, -1) for c, e in zip(came, expected, strict=True)):
            shown = str(expected).replace("-1", "neurons")
            raise InputError(f"{path}: {name}: expected shape {shown} for {M} populations, got {came}")
        _check_numbers(path, name, arrays[name])
    if (rate < 0).any():
        raise InputError(f"{path}: A_t_pop: expected rates of at least 0 Hz, got {rate.min():g}")
    if not np.isin(spikes, (0, 1)).all():
        raise InputError(
            f"{path}: sampled_spikes: expected 0 and 1, got values from {spikes.min():g} to {spikes.max():g}"
        )
    if spikes.shape[2] < n_sampled:
        raise InputError(f"n_sampled: expected at most {spikes.shape[2]}, the neurons in {path}, got {n_sampled}")


def _check_numbers(path: str | Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name}: expected real numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name}: expected finite numbers, got NaN or infinity")


def _step(path: str | Path, arrays: dict[str, np.ndarray]) -> float:
    """Return the data set's time step, in s."""
    step = arrays.get("dt", np.array(STEP))
    _check_numbers(path, "dt", step)
    if step.shape != () or step <= 0:
        raise InputError(f"{path}: dt: expected one positive time step in s, got {step.tolist()}")
    return float(step)


def _other_circuit(path: str | Path, arrays: dict[str, np.ndarray], model: Model) -> list[str]:
    """Say where the data set comes from another circuit than the one that is fitted."""
    names = ("population_size", "synaptic_rate")
    pairs = [(name, arrays[name], getattr(model, name)) for name in names if name in arrays]
    for name, came, _ in pairs:
        _check_numbers(path, name, came)
    return [
        f"{name}: the data were made with {came.tolist()}, and the fit takes it to be {fitted.tolist()}"
        for name, came, fitted in pairs
        if came.shape != fitted.shape or not np.allclose(came, fitted, rtol=1e-6)
    ]


def _other_parameters(true: Parameters | None, model: Model) -> list[str]:
    """Say so where the data set's parameters are such as the fit cannot find."""
    if true is None:
        return []
    X, flat, free = true_X(true, model), true.with_gains(model.has_gains).flat(), model.fitted
    gains = np.empty(0) if model.has_gains or true.input_gain is None else true.input_gain
    untied = [name for name, number in zip(free.names, X, strict=True) if np.isnan(number)]
    fixed = ~free.matrix.any(axis=0) & ~np.isclose(flat, free.fixed, rtol=1e-6)
    notes = [
        f"{name}: the data were made with {flat[k]:g}, and the fit takes it to be {free.fixed[k]:g}"
        for k, name in enumerate(names_of_flat(model.names, model.has_gains))
        if fixed[k]
    ]
    notes += [
        f"{INPUT_GAIN} {name}: the data were made with {gain:g}, and the fit takes it to be 1"
        for name, gain in zip(model.names, gains, strict=False)
        if gain != 1
    ]
    if untied:
        notes.append(
            f"{', '.join(untied)}: the data were made with couplings whose signs or ratios are others than the fit "
            "assumes; no true value is shown"
        )
    return notes


def _other_times(arrays: dict[str, np.ndarray], model: Model) -> list[str]:
    """Say where the data set was simulated with another refractory time or delay than those of the fit."""
    fitted = {"refractory_time": model.refractory_bins * model.dt, "delay": model.delay_bins * model.dt}
    assumed = {
        "refractory_time": model.refractory_time,
        "delay": model.delay,
    }  # `describe` says what the bins make of it
    try:
        settings = json.loads(str(arrays["settings"]))
        came = {name: float(settings[name]) for name in fitted}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return []  # not made by simulate_micro.py: nothing is known
    return [
        f"{name}: the data were made with {came[name]:g} s, and the fit takes it to be {fitted[name]:g} s"
        for name in fitted
        if all(time is None or abs(came[name] - time) > 1e-9 for time in (fitted[name], assumed[name]))
    ]


def _unused_input(given: np.ndarray, with_input: bool) -> list[str]:
    """Say so where --with_input and the data set's external input do not go together."""
    if given.any() and not with_input:
        return ["the data have an external input, and the fit takes it to be zero; see --with_input"]
    if with_input and not given.any():
        return ["--with_input: the data have no external input, it is zero throughout"]
    return []


def _truth(path: str | Path, arrays: dict[str, np.ndarray], model: Model) -> Parameters | None:
    """Return the true parameters if the data set knows them."""
    if not all(key in arrays for key in TRUE_PARAMETERS):
        return None
    M = model.n_populations
    for key in TRUE_PARAMETERS:
        expected = (M, M) if key == "J" else (M,)
        if arrays[key].shape != expected:
            raise InputError(f"{path}: {key}: expected shape {expected}, got {arrays[key].shape}")
        _check_numbers(path, key, arrays[key])
    gain = arrays.get(INPUT_GAIN, np.ones(M))
    _check_numbers(path, INPUT_GAIN, gain)
    if gain.shape != (M,):
        raise InputError(f"{path}: {INPUT_GAIN}: expected shape {(M,)}, got {gain.shape}")
    known = Parameters(*(arrays[key].astype(float) for key in TRUE_PARAMETERS))
    return replace(known, input_gain=gain.astype(float)) if model.has_gains or INPUT_GAIN in arrays else known
