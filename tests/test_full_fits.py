"""Full fits of the accuracy benchmark on a small scale: data, scores, rows, and what is told of them."""

import csv
from dataclasses import replace

import numpy as np
import pytest

import train_meso
from benchmarks import accuracy, full_fits, full_fits_report
from benchmarks.accuracy_report import PARAMETERS
from benchmarks.full_fits import Case
from src.fast_np import fast_lossy, fast_lossZ
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.scheme import CONSISTENT, PUBLISHED
from src.plots.style import save_figure
from src.utils.exceptions import FitError, InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.quiet import import_quietly

REFERENCE = reference_parameters()

POPULATIONS = ("E1", "E2", "I")


@pytest.fixture
def small(monkeypatch):
    """Make windows, burn-ins and fresh recordings short."""
    for name, value in {"WINDOW": 0.2, "WARM_UP": 0.1, "BURN_IN": 0.1, "FITTED": 0.4, "FORGOTTEN": 0.2}.items():
        monkeypatch.setattr(full_fits, name, value)


def made_up_data(path, seconds, seed=0):
    """Save a data set of Poisson spikes, as `network_recording` would, and return its arrays."""
    rng, steps = np.random.default_rng(seed), round(seconds / 0.0002)
    spikes = (rng.random((3, steps, 3)) < 0.004).astype(np.uint8)
    rate = rng.poisson(1.0, (steps, 3)) / winner_take_all().population_size / 0.0002
    arrays = {"A_t_pop": rate, "sampled_spikes": spikes, "I_ext": np.zeros((steps, 3)), "dt": 0.0002}
    save_arrays(path, **arrays)
    return arrays


def test_the_recording_is_made_once(tmp_path, monkeypatch, small):
    path = full_fits.network_recording(3, 0.3, tmp_path)
    arrays = load_arrays(path)
    assert arrays["A_t_pop"].shape == (1500, 3) and arrays["sampled_spikes"].shape == (3, 1500, 3)
    monkeypatch.setattr(full_fits.simulate_micro, "simulate_circuit", None)
    assert full_fits.network_recording(3, 0.3, tmp_path) == path
    longer = full_fits.network_recording
    monkeypatch.undo()
    monkeypatch.setattr(full_fits, "WARM_UP", 0.1)
    begins = load_arrays(longer(3, 0.5, tmp_path))["A_t_pop"][:1500]
    np.testing.assert_array_equal(begins, arrays["A_t_pop"])  # more of the same data


def test_every_procedure_fits_the_same_bins(tmp_path, small):
    arrays = made_up_data(tmp_path / "recording1_1s", 1.0)
    for model in (winner_take_all(0.004, 0.2, PUBLISHED), winner_take_all(0.002, 0.08, CONSISTENT)):
        recording = full_fits.recording_of(1, 0.4, 2, model, tmp_path)
        A, T = model.window_bins, round(0.4 / model.dt)
        assert recording.observed_spikes.shape == (2, 3, A + T, 3)
        per_bin = round(model.dt / 0.0002)
        for trial, begin in enumerate((1000, 3000)):  # 0.2 s and 0.6 s
            steps = arrays["A_t_pop"][begin : begin + 2000].T.reshape(3, -1, per_bin)
            np.testing.assert_allclose(recording.true_activity[trial], steps.mean(-1) * model.dt, rtol=1e-9)
            seen = arrays["sampled_spikes"][:, begin - A * per_bin : begin + 2000].reshape(3, -1, per_bin, 3).max(2)
            np.testing.assert_array_equal(recording.observed_spikes[trial], seen)
            rate = seen[:, :A].mean((1, 2)) / model.dt
            np.testing.assert_allclose(recording.initial_rate[trial], rate, rtol=1e-12)
    with pytest.raises(InputError, match="a_cutoff: expected at most 0.2 s, got 0.4 s"):
        full_fits.recording_of(1, 0.4, 2, winner_take_all(0.004, 0.4), tmp_path)


def test_agreement_is_taken_in_the_same_bins_for_every_bin_width():
    rng = np.random.default_rng(1)
    truth, estimate = rng.uniform(0, 0.1, (2, 2, 3, 50))
    found = full_fits.agreement(estimate, truth, winner_take_all(0.004))
    a, b = estimate[:, 2].ravel() / 0.004, truth[:, 2].ravel() / 0.004
    assert found["r I"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found["rmse_Hz I"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)))
    assert found["rmse20_Hz I"] < 0.6 * found["rmse_Hz I"]
    halved = [np.repeat(each, 2, axis=-1) / 2 for each in (estimate, truth)]
    assert full_fits.agreement(*halved, winner_take_all(0.002), "x ") == pytest.approx(
        {f"x {name}": value for name, value in found.items()}
    )
    with pytest.raises(InputError, match="expected a whole number of bins in 0.004 s, got bins of 0.003 s"):
        full_fits.coarse(truth, winner_take_all(0.003))


def test_bits_per_spike_compare_with_constant_rates():
    spikes = np.zeros((1, 2, 8, 1), np.uint8)
    spikes[0, 0, :2] = 1  # a neuron that fires in a quarter of the bins, and one that is silent
    constant = -(2 * np.log(0.25) + 6 * np.log(0.75))
    assert full_fits.bits_per_spike(constant, spikes) == pytest.approx(0, abs=1e-12)
    assert full_fits.bits_per_spike(constant - 2 * np.log(2), spikes) == pytest.approx(1)


def test_the_fresh_recording_is_scored_after_its_burn_in(tmp_path, small):
    made_up_data(tmp_path / "recording7_0.8s", 0.8)
    model = winner_take_all(0.004, 0.2)
    recording = full_fits.recording_of(7, 0.6, 1, model, tmp_path)
    found = full_fits.fresh_scores(REFERENCE, recording, model)
    sums = []
    for T in (150, 25):
        part = replace(
            recording,
            observed_spikes=recording.observed_spikes[:, :, : 50 + T],
            external_input=recording.external_input[..., :T],
        )
        n = recording.true_activity[..., :T]
        sums.append([3 * T * loss(REFERENCE, n, part, model).value for loss in (fast_lossy, fast_lossZ)])
    nats = np.subtract(*sums)
    assert [found["fresh_y"], found["fresh_Z"]] == pytest.approx(nats / 0.5)
    judged = recording.observed_spikes[0, :, 75:].astype(float)
    p = judged.mean(axis=1)
    constant = -(judged * np.log(p[:, None]) + (1 - judged) * np.log1p(-p[:, None])).sum()
    assert found["bits_per_spike"] == pytest.approx((constant - nats[0]) / judged.sum() / np.log(2))


def case(start=1, **changes):
    more = {"max_EMsteps": 1, "Mmaxiters": 3, "Emaxiters": 3, "a_cutoff": 0.08}
    return replace(Case("fits", "recommended", 1, start, 0.4, 2.0, 1, more), **changes)


def test_a_fit_is_a_row(tmp_path, monkeypatch, small):
    monkeypatch.setitem(full_fits.PROCEDURES, "recommended", {"scheme": "consistent", "dt": 0.004})
    made_up_data(tmp_path / "recording1_0.6s", 0.6)
    made_up_data(tmp_path / "recording1001_0.7s", 0.7)

    def informed(recording, model, *given):
        fit = train_meso.train(recording, model, *given)
        activity = fit.activity.copy()
        activity[..., model.window_bins :] = recording.true_activity
        return replace(fit, activity=activity)

    monkeypatch.setattr(full_fits, "train", informed)
    simulated = {"switches": 3}
    monkeypatch.setattr(full_fits, "free_simulation", lambda *_: simulated)
    found = full_fits.measure(case(), tmp_path)
    assert found["em_steps"] == 1 and found["ended"] == "1 EM iterations" and found["switches"] == 3
    assert all(0.4 <= found[name] <= 2 for name in PARAMETERS)
    assert found["at_bound"] == sum(found[name] in (0.4, 2.0) for name in PARAMETERS)
    spikes = load_arrays(tmp_path / "recording1_0.6s")["A_t_pop"][1000:]
    for m, name in enumerate(POPULATIONS):
        assert found[f"true_mean_Hz {name}"] == pytest.approx(spikes[:, m].mean())
        assert found[f"mean_Hz {name}"] == pytest.approx(found[f"true_mean_Hz {name}"])
        assert found[f"rmse_Hz {name}"] == pytest.approx(0, abs=1e-9) and found[f"r20 {name}"] == pytest.approx(1)
        assert found[f"start rmse_Hz {name}"] > found[f"start rmse20_Hz {name}"] > 0
    true = full_fits.measure(case(None), tmp_path)
    assert set(true) < set(found) and "loss" not in true
    assert true["bits_per_spike"] != found["bits_per_spike"]

    def fail(*_):
        raise FitError("M-step 0: no")

    monkeypatch.setattr(full_fits, "train", fail)
    assert full_fits.measure(case(), tmp_path) == {"ended": "failed: M-step 0: no"}


def test_free_simulation_drops_its_beginning(monkeypatch, small):
    def simulate(parameters, model, n_bins, seed, *, initial_rate):
        assert n_bins == 550 and seed == 4
        begin = np.arange(n_bins) < 50
        return 0.004 * np.stack([np.where(begin, 5.0, 20), np.where(begin, 20.0, 5), np.full(n_bins, 24.0)]), None

    monkeypatch.setattr(import_quietly("src.LIFmesoCell"), "simulate", simulate)
    found = full_fits.free_simulation(REFERENCE, winner_take_all(), 4, 2.0)
    assert found["switches"] == 0 and found["winner_Hz"] == pytest.approx(20) and found["simulated_s"] == 2


def test_all_fits_are_planned_once_and_old_rows_keep_their_keys(tmp_path):
    units = [unit for unit in accuracy.units(False, tmp_path) if unit.key[0] in full_fits.TRIALS]
    n = len(full_fits.PROCEDURES)
    assert len({unit.key for unit in units}) == len(units) == n * 5 * 6 + 2 * 2
    fields = dict(zip(accuracy.KEYS, units[-1].key, strict=True))
    assert (fields["part"], fields["length_s"], fields["seed"], fields["start"]) == ("long_fits", "100", "2", "1")
    old = ["switching", "network", "0.2", "", "0", "200", "1"]
    with (tmp_path / "old.csv").open("w") as file:
        csv.writer(file).writerows([[*accuracy.FIRST_KEYS, "switches"], [*old, "7"]])
    rows = accuracy.read_table(tmp_path / "old.csv")
    assert accuracy.key_of(rows[0]) == accuracy._key("switching", "network", 0.2, "", 0, 200, 1)
    assert rows[0]["switches"] == "7"
    accuracy.write_table(tmp_path / "new.csv", [*rows, fields | {"loss": "-2"}])
    assert accuracy.read_table(tmp_path / "new.csv")[0] == rows[0]


def test_a_procedure_of_other_options_is_another_row(monkeypatch, tmp_path):
    before = accuracy._fit_unit(case(), tmp_path).key
    monkeypatch.setitem(full_fits.PROCEDURES, "recommended", {"scheme": "consistent", "dt": 0.002, "E_itertol": 5})
    assert accuracy._fit_unit(case(), tmp_path).key != before
    monkeypatch.setitem(full_fits.PROCEDURES, "recommended", {"dt": 1.0})
    with pytest.raises(InputError, match="--dt: expected at most 0.01"):
        accuracy._fit_unit(case(), tmp_path)


def made_up_row(procedure, seed, start, loss, error, **found):
    row = {"part": "fits", "procedure": procedure, "options": "", "length_s": "10", "seed": str(seed)}
    row["start"] = str(start)
    numbers = {"bits_per_spike": 1.0, "simulated_s": 200.0, "switches": 30, "fresh_y": 400.0, "fresh_Z": -1900.0}
    if loss is not None:
        numbers |= {"loss": loss} | dict.fromkeys(PARAMETERS, 1 + error)
        numbers |= {
            f"{begin}{kind} {name}": 0.5 for begin in ("", "start ") for kind in ("r", "r20") for name in POPULATIONS
        }
    return row | {name: str(value) for name, value in (numbers | found).items()}


def test_the_best_start_is_judged(tmp_path):
    rows = []
    for seed in (1, 2, 3):
        rows += [made_up_row("published", seed, start, -2.0 - start, 0.1 * start) for start in (1, 2)]
        rows += [made_up_row("recommended", seed, k, -4.0 + k, 0.15 * k, switches=15 + seed) for k in (1, 2)]
        rows.append(made_up_row("published", seed, "true", None, 0, bits_per_spike=1.5))
    for row in rows:
        row["r20 E1"] = "0.8" if row["procedure"] == "recommended" else "0.5"
    rows[0]["r I"] = "nan"  # not of a best start
    rows.append({**made_up_row("published", 1, 3, None, 0), "ended": "failed: no"})
    text = full_fits_report.fits_report(rows, judged=True)
    assert "recommended beats published on median parameter error: 15 against 20 %: reached" in text
    assert "distance of the switching rate from 9.85: 1.35 against 5.15 per 100 s: reached" in text
    assert "correlation in 4 ms bins, mean over populations: 0.5 against 0.5: missed" in text
    assert "correlation after 20 ms, mean over populations: 0.6 against 0.5: reached" in text
    assert "published, data 1, start 3: failed: no" in text
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "20.0 (20.0 to 20.0)" in lines["median of the parameters"]  # the lowest loss, not the lowest error
    assert "15.0 (10.0 to 20.0)" in lines["median of the parameters"]
    assert "1.500 (1.500 to 1.500)" in lines["fresh recording: bits per spike"]
    assert "all 6 fits" in text and "best start, 3 data" in text
    assert "judged" in full_fits_report.fits_report(rows, judged=False)
    figure = full_fits_report.fits_figure(rows)
    assert [len(ax.get_xticks()) for ax in figure.axes] == [2, 2, 2, 2]
    save_figure(tmp_path / "figure.png", figure)
