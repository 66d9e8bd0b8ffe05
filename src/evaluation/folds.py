"""The same units and bins for all candidates of a comparison, and which of them each fold holds out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.data.holdout import without
from src.data.options import END, DataOptions
from src.data.read import assigned, fitted_part
from src.data.spike_trains import SpikeTrains, by_population
from src.data.trials import LEAST
from src.evaluation.candidates import Candidate
from src.evaluation.co_smoothing import deal
from src.evaluation.fold_fits import Fold, constant_rates, ln_p_constant
from src.grouping.group import read_units
from src.model.circuit import for_fit
from src.model.containers import Model, Recording
from src.utils.exceptions import InputError
from src.utils.text import some


@dataclass(frozen=True)
class Prepared:
    """A candidate with all that is needed to fit it.

    Parameters
    ----------
    candidate : Candidate
    settings : FitSettings
        Of its fits.
    model : Model
    recording : Recording
        All trials.
    places : dict of str to (int, int)
        Population and place of each unit, by its name.
    """

    candidate: Candidate
    settings: Any
    model: Model
    recording: Recording
    places: dict[str, tuple[int, int]]


def read_trains_once(options: DataOptions, first: Candidate) -> tuple[SpikeTrains, DataOptions]:
    """Return the spike trains that all candidates are fitted to, and the options that go with them.

    The recorded neurons of a data set become units, whose labels are the names that the first candidate gives its
    populations.

    Raises
    ------
    InputError
        The data cannot be read, or are a data set of other populations than those of the first candidate.
    """
    path = options.dataset if options.data is None else options.data
    trains, whole = read_units(path, options.Nsampled, options)
    if not whole:
        return trains, options
    for name in ("with_input", "stimulus", "input_to"):
        if getattr(options, name):
            raise InputError(f"{name}: a comparison takes the spikes alone of a data set: populations may be others")
    if options.unit_map is not None:
        raise InputError(f"unit_map: goes with spike times, and {path} is a data set of whole populations")
    names, M = first.circuit.names, 1 + max(int(label) for label in trains.labels or ())
    if M != len(names):
        raise InputError(
            f"{path}: expected a data set of the {len(names)} populations of {first.name}, the first candidate, which "
            f"names them, got {M}"
        )
    labels = tuple(names[int(label)] for label in trains.labels or ())
    units = tuple(f"{names[int(m)]}.{i}" for m, _, i in (unit.partition(".") for unit in trains.units))
    end = END if options.end_timepoint is None and options.data is None else options.end_timepoint
    trains = replace(trains, labels=labels, units=units)
    return trains, replace(options, end_timepoint=end)


def prepare(
    candidates: Sequence[Candidate],
    trains: SpikeTrains,
    options: DataOptions,
    settings: Any,
    folds: int,
    apart: bool = False,
) -> tuple[list[Prepared], list[str]]:
    """Bring the same data to the populations of every candidate.

    Parameters
    ----------
    candidates : sequence of Candidate
    trains : SpikeTrains
    options : DataOptions
        Where they say nothing of trials, one stretch of recording is cut into `folds` of them.
    settings : FitSettings
        Of all fits; what they leave open, each circuit says.
    folds : int
    apart : bool
        Whether trials must not overlap, as where some are held out.

    Returns
    -------
    prepared : list of Prepared
    lines : list of str
        What was read, as the first candidate sees it.

    Raises
    ------
    InputError
        A candidate cannot be fitted to the data; or it has other units or bins than the first one; or it is the same
        circuit as another one.
    """
    prepared: list[Prepared] = []
    lines: list[str] = []
    for candidate in candidates:
        try:
            used, model = for_fit(candidate.circuit, settings)
            here = replace(options, labels=used.labels)
            if options.trials is None and options.trial_length is None and len(trains.stretches) == 1:
                if not prepared:
                    n_bins = fitted_part(trains, here, model)[0].n_bins
                    if n_bins < LEAST * folds:
                        raise InputError(f"folds: expected at most {n_bins // LEAST}, {LEAST} bins each, got {folds}")
                    blocks = n_bins // folds * model.dt
                here = replace(here, trial_length=blocks)
            recording, said = fitted_part(trains, here, model, apart)
            one = Prepared(candidate, used, model, recording, _places(trains, here, model))
            if prepared:
                check_same(prepared[0], one)
            for other in prepared:
                check_different(other, one)
        except InputError as error:
            raise InputError(f"candidate {candidate.name}: {error}") from None
        lines = lines or said
        prepared.append(one)
    return prepared, lines


def _places(trains: SpikeTrains, options: DataOptions, model: Model) -> dict[str, tuple[int, int]]:
    """Return population and place of each unit in a recording of `fitted_part`."""
    trains, population, _ = assigned(trains, options, model)
    trains, population = by_population(trains, population)
    places = [(int(m), int((population[:k] == m).sum())) for k, m in enumerate(population)]
    return dict(zip(trains.units, places, strict=True))


def check_same(first: Prepared, other: Prepared) -> None:
    """Raise an error if two candidates do not predict the same spikes in the same bins."""
    name = first.candidate.name
    for key, option, scale, unit in (("dt", "dt", 1e3, "ms"), ("window_bins", "a_cutoff", first.model.dt, "s")):
        one, another = (getattr(each.model, key) * scale for each in (first, other))
        if one != another:
            what = "bins" if key == "dt" else "a history window"
            raise InputError(
                f"expected {what} of {one:g} {unit} as in {name}, got {another:g} {unit}; scores of other bins do not "
                f"compare, see --{option}"
            )
    missing = [unit for unit in first.places if unit not in other.places]
    added = [unit for unit in other.places if unit not in first.places]
    if missing or added:
        how = [f"without {some(missing)}"] * bool(missing) + [f"with {some(added)}"] * bool(added)
        raise InputError(
            f"expected the {len(first.places)} units of {name}, got {len(other.places)}, {' and '.join(how)}; see "
            "labels in docs/circuit.md"
        )
    for unit, (m, i) in first.places.items():
        n, k = other.places[unit]
        spikes = first.recording.observed_spikes[:, m, :, i], other.recording.observed_spikes[:, n, :, k]
        if not np.array_equal(*spikes) or not np.array_equal(first.recording.is_judged, other.recording.is_judged):
            raise InputError(f"expected the bins of {name}, got others, for instance of unit {unit}")


def check_different(one: Prepared, other: Prepared) -> None:
    """Raise an error if two candidates are the same under two names: fits and scores of both would be the same."""
    known = [[each.model.as_dict(), each.settings.scheme, each.places] for each in (one, other)]
    if json.dumps(known[0], sort_keys=True) == json.dumps(known[1], sort_keys=True):
        raise InputError(f"expected another circuit than {one.candidate.name}, got the same")


def folds_of_time(one: Prepared, folds: int) -> list[Fold]:
    """Return folds that hold out every `folds`-th trial.

    The window before a trial is history to it, and not scored, also where it lies in a trial that is held out.

    Raises
    ------
    InputError
        There are fewer trials than folds, or no spikes in a fold.
    """
    recording, model, places = one.recording, one.model, list(one.places.values())
    if recording.n_trials == 1:
        raise InputError("holdout: expected two trials or more, to hold out some, got 1; units can be held out of it")
    if folds > recording.n_trials:
        raise InputError(f"folds: expected at most {recording.n_trials}, the trials, got {folds}")
    rates, number = constant_rates(recording, model, places), np.arange(recording.n_trials) % folds
    found = []
    for k in range(folds):
        held_out = recording.trials(number == k)
        constant, spikes = ln_p_constant(held_out, model, places, rates)
        found.append(Fold(recording.trials(number != k), held_out, None, constant, spikes))
    return _with_spikes(found)


def folds_of_units(one: Prepared, folds: int, order: Sequence[str]) -> list[Fold]:
    """Return folds that hold out units; neighbours in `order`, which names all, go to different folds.

    Raises
    ------
    InputError
        There are fewer units than folds, or no spikes in a fold.
    """
    recording, model, every = one.recording, one.model, [one.places[unit] for unit in order]
    found = []
    for units in deal(every, folds):
        constant, spikes = ln_p_constant(recording, model, units, constant_rates(recording, model, units))
        training = without(recording, units, model)
        found.append(Fold(training, recording, tuple(units), constant, spikes))
    return _with_spikes(found)


def _with_spikes(folds: list[Fold]) -> list[Fold]:
    silent = [str(k + 1) for k, fold in enumerate(folds) if fold.spikes == 0]
    if silent:
        raise InputError(f"folds: expected spikes in what each fold holds out, got none in fold {', '.join(silent)}")
    return folds
