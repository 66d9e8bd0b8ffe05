"""Full fits from nine recorded neurons: what a procedure finds of the parameters, the activity and the switching."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import simulate_micro
from benchmarks.free_running import FORGOTTEN, TYPICAL, rates_and_switches
from benchmarks.known_activity import BURN_IN, WARM_UP, WINDOW
from src.data.dataset import load_recording
from src.evaluation import scores
from src.fast_np import fast_lossy, fast_lossZ
from src.helper import from_X, init_model, names_of_X, to_X
from src.model.circuit_file import fitted_circuit, reference_parameters
from src.model.containers import Model, Parameters, Recording
from src.model.free_parameters import bound_reached
from src.runs.log import RunLog
from src.runs.settings import FitSettings
from src.statistics.smoothing import SMOOTHING, correlation, smooth
from src.statistics.switching import find_switches
from src.utils.exceptions import FitError, InputError
from src.utils.files import save_arrays
from src.utils.quiet import use_tensorflow
from src.utils.settings import check_settings
from train_meso import train

REFERENCE = reference_parameters()

PROCEDURES: dict[str, dict[str, Any]] = {
    "published, L-BFGS-B": {"method": "L-BFGS-B"},
    "published": {"method": "fisher"},
    "consistent, joint": {"method": "fisher", "scheme": "consistent"},
    "recommended": {"method": "fisher", "scheme": "consistent", "e_objective": "innovations"},
}
"""What is compared: options of `FitSettings`, by the name of the procedure."""
BASELINE = "published"
"""The procedure that the others are to beat."""

N_RECORDED = 3  # neurons of each population
FITTED = 10.0  # s of a trial, after `WINDOW`
TRIALS = {"fits": 1, "long_fits": 10}
SEEDS = {"fits": (1, 2, 3, 4, 5), "long_fits": (1, 2)}
COMPARED = {"fits": tuple(PROCEDURES), "long_fits": (BASELINE, "recommended")}
STARTS = {"fits": (1, 2, 3, 4, 5), "long_fits": (1,)}
FRESH = 1000  # is added to a seed for the recording that the fit has not seen
SIMULATED = 200.0  # s of free simulation of each fit
BIN = 0.004  # s; every procedure's activity is compared with the truth in these bins
TRUE = "true"
"""Start of a row that has the true parameters instead of fitted ones, for comparison."""
QUICK = {"max_EMsteps": 2, "Mmaxiters": 10, "Emaxiters": 10}


@dataclass(frozen=True)
class Case:
    """A fit: of which data, by which procedure, from which start.

    Parameters
    ----------
    part : str
        Out of `TRIALS`.
    procedure : str
        Out of `PROCEDURES`.
    seed : int
        Of the data.
    start : int or None
        Seed of the start; None is no fit, but the true parameters.
    fitted, simulated : float, s
        Length of a trial and of the free simulation.
    trials : int
    more : dict
        Further options, for a quick look.
    """

    part: str
    procedure: str
    seed: int
    start: int | None
    fitted: float = FITTED
    simulated: float = SIMULATED
    trials: int = 1
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> FitSettings:
        """Options of the fit."""
        settings = FitSettings(**PROCEDURES[self.procedure], **self.more, train_Noinit=self.start or 0)
        check_settings(settings)
        return settings

    @property
    def options(self) -> str:
        """What the procedure is made of: a row measured with other options is not this one."""
        return " ".join(f"{name}={value}" for name, value in PROCEDURES[self.procedure].items())

    @property
    def model(self) -> Model:
        """What the fit knows of the circuit."""
        return fitted_circuit(self.settings)[1]


def cases(quick: bool) -> list[Case]:
    """Return all fits there are, one start of all data seeds after the other: what is there early compares already."""
    found = []
    for part, trials in TRIALS.items():
        seeds = SEEDS[part][: 1 if quick else None]
        small: dict[str, Any] = {"fitted": 1.0, "simulated": 20.0, "more": QUICK} if quick else {}
        small["trials"] = min(trials, 2) if quick else trials
        starts: list[int | None] = [*STARTS[part][: 1 if quick else None]]
        for start in [None, *starts] if part == "fits" else starts:
            found += [Case(part, name, seed, start, **small) for seed in seeds for name in COMPARED[part]]
    return found


# --- the data --------------------------------------------------------------------------------------------------------


def network_recording(seed: int, length: float, folder: Path) -> Path:
    """Return the path of a data set of the true network, which is made if `folder` does not hold it."""
    path = folder / f"recording{seed}_{length:g}s"
    if not path.exists():
        given = simulate_micro.MicroSettings(seed=seed, duration=length, warmup=WARM_UP, n_sampled=N_RECORDED)
        save_arrays(path, compress=True, **simulate_micro.dataset(given, *simulate_micro.simulate_circuit(given)))
    return path


def recording_of(seed: int, fitted: float, trials: int, model: Model, folder: Path) -> Recording:
    """Return trials of `fitted` s, (B, M, A+T): the same bins are fitted whatever the model's window is.

    Raises
    ------
    InputError
        The window is longer than `WINDOW`, or is not a multiple of the bins.
    """
    window = round(WINDOW / model.dt)
    if model.window_bins > window:
        raise InputError(f"a_cutoff: expected at most {WINDOW:g} s, got {model.window_bins * model.dt:g} s")
    length = WINDOW + trials * fitted
    recording, _ = load_recording(
        network_recording(seed, length, folder),
        replace(model, window_bins=window),
        end_timepoint=length,
        trial_length=fitted,
        n_sampled=N_RECORDED,
    )
    spikes = recording.observed_spikes[:, :, window - model.window_bins :]
    rate = spikes[:, :, : model.window_bins].mean((2, 3)) / model.dt
    return replace(recording, observed_spikes=spikes, initial_rate=rate)


# --- what a fit is worth ---------------------------------------------------------------------------------------------


def coarse(activity: np.ndarray, model: Model) -> np.ndarray:
    """Bring fractions that fire, (..., T), to rates in Hz in bins of `BIN`."""
    group = round(BIN / model.dt)
    if group < 1 or not np.isclose(group * model.dt, BIN):
        raise InputError(f"dt: expected a whole number of bins in {BIN:g} s, got bins of {model.dt:g} s")
    whole = activity.shape[-1] // group * group
    return activity[..., :whole].reshape(*activity.shape[:-1], -1, group).mean(axis=-1) / model.dt


def agreement(estimate: np.ndarray, truth: np.ndarray, model: Model, prefix: str = "") -> dict[str, float]:
    """Return correlation and root-mean-square difference (Hz) of two activities, (B, M, T), for every population.

    In bins of `BIN`, as ``r`` and ``rmse_Hz``, and smoothed with a Gaussian of 20 ms, as ``r20`` and ``rmse20_Hz``;
    over all trials together.
    """
    found = {}
    for suffix, width in (("", 0.0), ("20", SMOOTHING)):
        a, b = (smooth(coarse(each, model), BIN, width) for each in (estimate, truth))
        for m, name in enumerate(model.names):
            found[f"{prefix}r{suffix} {name}"] = correlation(a[:, m].ravel(), b[:, m].ravel())
            found[f"{prefix}rmse{suffix}_Hz {name}"] = float(np.sqrt(np.mean((a[:, m] - b[:, m]) ** 2)))
    return found


def fresh_scores(parameters: Parameters, recording: Recording, model: Model) -> dict[str, float]:
    """Return how likely parameters make one trial of which the whole activity is known.

    Its first `BURN_IN` is predicted but not judged, as in `known_activity.Problem`. Losses are nats per second of all
    populations together. Bits per spike compare the recorded neurons with ones that fire at constant rates, which are
    their own in the judged bins: 0 is no better than that, and bins of any width compare.
    """
    assert recording.true_activity is not None
    A, skip, n = model.window_bins, round(BURN_IN / model.dt), recording.true_activity
    spikes, given = recording.observed_spikes, recording.external_input
    first = replace(recording, observed_spikes=spikes[:, :, : A + skip], external_input=given[..., :skip])
    n_first, length = n[..., :skip], (n.shape[-1] - skip) * model.dt

    def nats(loss: Any) -> float:
        whole = loss(parameters, n, recording, model).value * n.size
        return float(whole - loss(parameters, n_first, first, model).value * n_first.size)

    loss_y, loss_Z = nats(fast_lossy), nats(fast_lossZ)
    return {
        "fresh_y": loss_y / length,
        "fresh_Z": loss_Z / length,
        "bits_per_spike": bits_per_spike(loss_y, spikes[:, :, A + skip :]),
    }


def bits_per_spike(nats: float, spikes: np.ndarray) -> float:
    """Compare a negative log-likelihood of spikes, (B, M, T, n_obs), with the least at constant rates of firing."""
    rates = spikes.mean(axis=(0, 2), keepdims=True)
    return float(scores.bits_per_spike(-nats, scores.ln_p_bins(spikes, rates), int(spikes.sum())))


def free_simulation(parameters: Parameters, model: Model, seed: int, length: float) -> dict[str, Any]:
    """Return switching and rates of the model's free simulation, with its scheme's own noise."""
    from src.LIFmesoCell import simulate

    ahead = round(FORGOTTEN / model.dt)
    activity, _ = simulate(parameters, model, ahead + round(length / model.dt), seed, initial_rate=TYPICAL)
    found = rates_and_switches(activity[:, ahead:] / model.dt, model.dt)
    return found | {"simulated_s": length}


def consequences(parameters: Parameters, case: Case, model: Model, folder: Path) -> dict[str, Any]:
    """Return what parameters say of data that they were not fitted to: a fresh recording, and free simulation."""
    # At least 10 s: in a shorter recording a neuron may have no spike.
    fresh = recording_of(FRESH + case.seed, BURN_IN + FITTED, 1, model, folder)
    seed = 100 * case.seed + (case.start or 0)
    return fresh_scores(parameters, fresh, model) | free_simulation(parameters, model, seed, case.simulated)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Fit, and return how it went, what was found, and what that is worth; or, for `TRUE`, what the truth is worth.

    A fit that fails is a result, too: its row says how, and nothing else.
    """
    use_tensorflow()
    model, settings = case.model, case.settings
    if case.start is None:
        return consequences(REFERENCE, case, model, folder)
    recording = recording_of(case.seed, case.fitted, case.trials, model, folder)
    log = RunLog(recording, model, settings)
    begin = time.perf_counter()
    try:
        fit = train(recording, model, settings, log)
    except FitError as error:
        return {"ended": f"failed: {error}"}
    at_bound = filter(None, bound_reached(fit.X, model.fitted.lower, model.fitted.upper))
    found = {
        "loss": float(fit.loss),
        "em_steps": len(log.record.history),
        "ended": fit.ended,
        "fit_seconds": time.perf_counter() - begin,
        "at_bound": len(list(at_bound)),
    }
    found |= {"ln_p": fit.ln_p} if np.isfinite(fit.ln_p) else {}
    found |= dict(zip(names_of_X(model), map(float, fit.X / to_X(REFERENCE, model)), strict=True))
    found |= _activity_found(fit.activity, recording, settings, model)
    return found | consequences(from_X(fit.X, model), case, model, folder)


def _activity_found(activity: np.ndarray, recording: Recording, settings: FitSettings, model: Model) -> dict[str, Any]:
    """Compare the inferred activity, (B, M, A+T), and the one that the fit started from, with the truth."""
    truth, A = recording.true_activity, model.window_bins
    assert truth is not None
    width = settings.sampled_spike_history_smoothed_w
    _, start = init_model(recording, model, np.random.default_rng(0), width=width)
    found: dict[str, Any] = agreement(activity[..., A:], truth, model)
    found |= agreement(start[..., A:], truth, model, "start ")
    for m, name in enumerate(model.names):
        found[f"mean_Hz {name}"] = float(activity[:, m, A:].mean()) / model.dt
        found[f"true_mean_Hz {name}"] = float(truth[:, m].mean()) / model.dt
    switches = [len(find_switches(trial, BIN).times) for trial in coarse(truth, model)]
    return found | {"true_switches": sum(switches)}
