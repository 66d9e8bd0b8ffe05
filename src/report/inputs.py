"""The part of a report that says what went into the runs: the data read, the circuit, and the settings."""

from collections.abc import Sequence

import numpy as np

from src.model.containers import Model
from src.report.cautions import setting_values
from src.report.page import Lines, Section, Table, Text
from src.runs.load import Training, of_recorded, recording_of


def data_section(run: Training) -> Section:
    """Say what a run was fitted to, and what is odd about it.

    Raises
    ------
    InputError
        The file with its data is missing or broken, or the arrays do not fit together.
    """
    spikes, lengths, n_judged, driven = _load_data(run)
    dt, A, names = run.model.dt, run.model.window_bins, run.model.names
    seconds = sum(lengths) * dt
    settings = {key: values[run.name] for key, values in setting_values([run]).items()}
    source = settings.get("data") or settings.get("dataset")
    trials = f"{len(lengths)} trial{'s' if len(lengths) > 1 else ''}"
    spread = f"{min(lengths) * dt:g} s" + (f" to {max(lengths) * dt:g} s" if min(lengths) < max(lengths) else "")
    words = (
        f"{source or 'The recording'}: {trials} of {spread} fitted in bins of {1e3 * dt:g} ms, each after a history "
        f"window of {A * dt:g} s; {n_judged} bins ({n_judged * dt:g} s) are scored. "
        + ("An external input was known to the fit." if driven else "No external input was known to the fit.")
    )
    rows = [["population", "neurons", "recorded", "spikes", "mean rate (Hz)", "lowest", "highest", "silent"]]
    odd = []
    for name, size, counts in zip(names, run.model.population_size, spikes, strict=True):
        rates = counts / seconds
        shown = [f"{value:.2f}" for value in (rates.mean(), rates.min(), rates.max())] if len(rates) else ["-"] * 3
        silent = int((counts == 0).sum())
        rows.append([name, f"{size:g}", str(len(counts)), str(int(counts.sum())), *shown, str(silent)])
        if not len(counts):
            odd.append(f"No neuron of {name} was recorded: its activity follows from the other populations alone.")
        elif silent:
            odd.append(f"{name} has {silent} of {len(counts)} recorded neurons without a spike in the fitted time.")
    caption = "Recorded neurons of each population, and their rates in the fitted time."
    return Section("Data", "data", [Text(words), Table(caption, rows), *([Lines(odd)] if odd else [])])


def _load_data(run: Training) -> tuple[list[np.ndarray], list[int], int, bool]:
    """Return what a run was given.

    Returns
    -------
    counts : list of array, (recorded neurons,)
        Spikes of each recorded neuron of each population in the fitted time.
    lengths : list of int
        Fitted bins of each trial, up to its last scored one.
    n_judged : int
        Scored bins in all trials.
    driven : bool
        Whether there was any external input.
    """
    recording, A = recording_of(run), run.model.window_bins
    lengths = recording.lengths.tolist()
    of_trials = zip(recording.observed_spikes, lengths, strict=True)
    counts = np.sum([trial[:, A : A + length].sum(axis=1, dtype=int) for trial, length in of_trials], axis=0)
    each = [found[0] for found in of_recorded(counts[:, None], recording.recorded)]
    return each, lengths, recording.n_judged, bool(recording.external_input.any())


def circuit_section(model: Model) -> Section:
    """Say what was known about the circuit."""
    words = (
        f"{model.n_populations} populations, {int((model.connectivity != 0).sum())} connections; "
        f"bins of {1e3 * model.dt:g} ms, history window {model.window_bins * model.dt:g} s, refractory time "
        f"{1e3 * model.refractory_bins * model.dt:g} ms, delay {1e3 * model.delay_bins * model.dt:g} ms; "
        f"{model.scheme.name} scheme, {model.counts} likelihood of the activity; "
        f"{len(model.fitted.names)} numbers fitted."
    )
    rows = [["population", "neurons", "synaptic time (ms)"]]
    parts = zip(model.names, model.population_size, model.synaptic_rate, strict=True)
    rows += [[name, f"{size:g}", f"{1e3 / rate:.3g}"] for name, size, rate in parts]
    signs = {1: "+", -1: "−", 0: "0"}
    matrix = [["from \\ to", *model.names]]
    matrix += [
        [name, *(signs[int(np.sign(entry))] for entry in row)]
        for name, row in zip(model.names, model.connectivity, strict=True)
    ]
    tables = [Table("Populations.", rows), Table("Connections: + excites, − inhibits, 0 is none.", matrix)]
    return Section("Circuit", "circuit", [Text(words), *tables])


def settings_section(runs: Sequence[Training], best: Training) -> Section:
    """Say how the runs were set, and with which versions the best was made."""
    values = setting_values(runs)
    if all(values.get("data", {"": None}).values()):
        values.pop("dataset", None)  # which was not read then
    rows = [["setting", "value"]]
    rows += [[f"--{key}", _value(each)] for key, each in values.items()]
    words = ", ".join(f"{name} {number}" for name, number in best.record.versions.items())
    parts: list[Text | Table] = [Table("Options of train_meso.py; those of each run where they differ.", rows, True)]
    if not values:
        parts = [Text("The runs have not written down their settings.")]
    parts += [Text(f"Versions: {words}.")] if words else []
    return Section("Settings", "settings", parts, folded=True)


def _value(each: dict[str, object]) -> str:
    """Return a setting in words: once, or run by run."""
    words = {name: "not given" if value is None else str(value) for name, value in each.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{name}: {value}" for name, value in words.items())
