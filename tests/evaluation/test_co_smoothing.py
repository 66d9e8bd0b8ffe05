"""Held-out units: what is left out, the scores against a computation by hand, and the command."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from src.data.dataset import load_recording
from src.data.holdout import only, units_of
from src.evaluation import co_smoothing, state_models
from src.evaluation.co_smoothing import co_smooth, deal, infer, score, settings_of
from src.evaluation.scores import Score, bits_per_spike, ln_p_bins, scores_table, summed
from src.fast_np import fast_lossy
from src.helper import from_X, to_X
from src.inference.em import Fit
from src.model.circuit_file import winner_take_all
from src.model.scheme import CONSISTENT, SCHEMES
from src.runs.load import load_run, recording_of
from src.utils.files import load_arrays, save_arrays
from src.utils.settings import run_script
from tests.cases import random_case, with_masks
from tests.fake_runs import edit, make_run
from tests.recordings import raster, write_listed
from tests.training import DATASET, SETTINGS


def main(argv):
    """Score without a fit."""
    co_smoothing.main(None, argv)


MODEL = winner_take_all(0.004, None, CONSISTENT)
A = MODEL.window_bins
OTHERS, OWN = "from the others", "with own past"
FITTED = np.array([55.53, 56.84, 46.27, 10.73, 10.28, 23.31, 15.34, 14.7, 15.61, 4.196, 3.712, 3.088])
"""What `train_meso.py --scheme consistent --e_objective innovations` ends with."""


def by_hand(X, m, y, n, A0):
    """ln p of a unit of population m with spikes y (A+T,), given the activity n (M, T); consistent scheme, r = 1."""
    p, dt, ln_p = from_X(X, MODEL), MODEL.dt, 0.0
    alpha, mu, theta = p.membrane_rate[m], p.resting_potential[m], p.threshold[m]
    g, x, fades = np.exp(-alpha * dt), A0.copy(), np.exp(-MODEL.synaptic_rate * dt)
    before, last = mu + p.coupling[:, m] @ A0 / alpha, np.flatnonzero(y[:A])
    V, fired = before, False
    for s in range(last[-1] if len(last) else A, A + len(n[0])):
        free = before
        if s >= A:
            if s > A:
                x = fades * x + (1 - fades) * n[:, s - A - 1] / dt
            free = mu + p.coupling[:, m] @ x / alpha
        V = 0.0 if fired else g * V + (1 - g) * free  # one bin of refractoriness
        H = 1e-8 * dt if fired else dt * np.exp(V - theta)
        if s >= A:
            ln_p += np.log(1 - np.exp(-H)) if y[s] else -H
        fired = bool(y[s])
    return ln_p


@pytest.fixture(scope="module")
def recording():
    return load_recording(DATASET, MODEL, end_timepoint=1.2)[0]


# --- the definition --------------------------------------------------------------------------------------------------


def test_bits_per_spike_of_a_rate_that_is_known():
    spikes = np.repeat([[1, 0, 0, 0], [1, 1, 0, 0]], 4, axis=0).ravel()  # 4 of 16, then 8 of 16
    halves = np.repeat([0.25, 0.5], 16)
    entropy = 16 * (0.25 * np.log2(0.25) + 0.75 * np.log2(0.75) - 1)
    constant = 32 * (0.375 * np.log2(0.375) + 0.625 * np.log2(0.625))
    came = bits_per_spike(ln_p_bins(spikes, halves), ln_p_bins(spikes, 0.375), 12)
    assert came == pytest.approx((entropy - constant) / 12, rel=1e-12)
    assert came > 0
    assert bits_per_spike(ln_p_bins(spikes, 0.375), ln_p_bins(spikes, 0.375), 12) == 0
    for other in (0.3, 0.45):  # no constant is better than the mean
        assert ln_p_bins(spikes, other) < ln_p_bins(spikes, 0.375)


@pytest.mark.parametrize("spikes", [0, 1])
def test_a_unit_that_never_or_always_fires_has_no_surprise(spikes):
    assert ln_p_bins(np.full(7, spikes), float(spikes)) == 0
    assert np.isnan(bits_per_spike(-1.0, 0.0, 0))


# --- what is left out ------------------------------------------------------------------------------------------------


def test_folds_share_out_every_unit_once_and_no_population_loses_many():
    units = [(m, i) for m in range(3) for i in range(3)]
    assert deal(units, None) == [[unit] for unit in units]
    for folds in (2, 3, 4):
        dealt = deal(units, folds)
        assert len(dealt) == folds
        assert sorted(sum(dealt, [])) == units
        most = max(sum(unit[0] == m for unit in fold) for fold in dealt for m in range(3))
        assert most == -(-3 // folds)


def test_units_are_those_that_were_recorded():
    case = with_masks(random_case(M=3, n_obs=2))  # 1, 2, 0
    assert units_of(case.recording) == [(0, 0), (1, 0), (1, 1)]
    assert len(units_of(random_case(M=3, n_obs=2).recording)) == 6


def test_nothing_remains_of_what_was_left_out(recording):
    units, spikes = units_of(recording), recording.observed_spikes.copy()
    spikes[:, 1, :, 2] ^= 1
    kept = [unit for unit in units if unit != (1, 2)]
    one, other = (only(each, kept) for each in (recording, replace(recording, observed_spikes=spikes)))
    np.testing.assert_array_equal(one.observed_spikes, other.observed_spikes)
    np.testing.assert_array_equal(one.recorded, np.arange(9).reshape(3, 3) != 5)
    for m, i in kept:
        np.testing.assert_array_equal(one.observed_spikes[:, m, :, i], recording.observed_spikes[:, m, :, i])


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scores_of_units_add_up_to_the_loss_of_all(scheme):
    case = with_masks(random_case(M=3, B=2, n_obs=2, scheme=SCHEMES[scheme]))
    X = to_X(case.parameters, case.model)
    scores = [score(unit, 0, X, case.activity, case.recording, case.model) for unit in units_of(case.recording)]
    loss = fast_lossy(from_X(X, case.model), case.activity, case.recording, case.model).value
    assert sum(one.ln_p[OWN] for one in scores) == pytest.approx(-loss * 3 * case.recording.n_judged, rel=1e-12)
    for one, (m, i) in zip(scores, units_of(case.recording), strict=True):
        counted = case.recording.scored[:, m, :, i]
        y = case.recording.observed_spikes[:, m, case.model.window_bins :, i][counted]
        n = case.activity[:, m][counted]
        assert (one.spikes, one.bins) == (y.sum(), counted.sum())
        assert one.ln_p[OTHERS] == pytest.approx(np.log(np.where(y == 1, n, 1 - n)).sum(), rel=1e-12)
        assert one.ln_p_constant == pytest.approx(
            y.sum() * np.log(y.mean()) + (1 - y).sum() * np.log(1 - y.mean()), rel=1e-12
        )


def test_no_spike_is_impossible(recording):
    activity = np.zeros((1, 3, recording.n_bins))
    for n in (activity, activity + 1):
        assert np.isfinite(score((0, 0), 0, FITTED, n, recording, MODEL).ln_p[OTHERS])


def test_shipped_data_excitatory_units_are_predicted(monkeypatch):
    """All six are, with and without their own past; every number is computed by hand besides."""
    recording, _ = load_recording(DATASET, MODEL, end_timepoint=11.0)
    monkeypatch.setattr(co_smoothing, "ITERATIONS", 20)  # of about 300 to the end; it is good enough by then
    inferred = []

    def kept(*arguments):
        inferred.append(infer(*arguments))
        return inferred[-1]

    monkeypatch.setattr(co_smoothing, "infer", kept)
    scores = co_smooth(recording, MODEL, SETTINGS, lambda fold, others: FITTED, folds=3)
    for one, (m, i) in zip(scores, units_of(recording), strict=True):
        activity, others = inferred[one.fold]
        assert not others.recorded[m, i] and not others.observed_spikes[0, m, :, i].any()
        y = recording.observed_spikes[0, m, :, i]
        k, T = y[A:].sum(dtype=float), recording.n_bins
        constant = k * np.log(k / T) + (T - k) * np.log(1 - k / T)
        ln_p = by_hand(FITTED, m, y, activity[0], others.initial_rate[0])
        n = activity[0, m]
        from_others = (np.log(n) * y[A:] + np.log(1 - n) * (y[A:] == 0)).sum()
        assert one.bits[OWN] == pytest.approx((ln_p - constant) / (k * np.log(2)), rel=1e-9)
        assert one.bits[OTHERS] == pytest.approx((from_others - constant) / (k * np.log(2)), rel=1e-9)
        if m < 2:
            assert one.bits[OWN] > 0.4
            assert one.bits[OTHERS] > 0.03


# --- the command -----------------------------------------------------------------------------------------------------


def made_up(unit="E1.0", population="E1", spikes=10, ln_p=-50.0):
    return Score(unit, population, 0, 100, spikes, 25.0, {OTHERS: -58.0, OWN: ln_p}, -60.0)


def test_table_sums_spikes_and_nats():
    scores = [made_up(), made_up("E1.1", spikes=0), made_up("I.0", "I", ln_p=-60.0)]
    by_name = {one.population: one for one in summed(scores)}
    assert by_name["E1"].bits[OWN] == pytest.approx(20 / (10 * np.log(2)))
    assert by_name[""].bits[OWN] == pytest.approx(20 / (20 * np.log(2)))
    lines = scores_table(scores).splitlines()
    assert lines[1].split() == ["E1.0", "E1", "10", "25.00", "+0.289", "+1.443"]
    assert lines[2].split()[-2:] == ["-", "-"]
    assert lines[-2].split() == ["all", "3", "20", "25.00", "+0.433", "+1.443"]


@pytest.fixture(autouse=True)
def short_fits_of_rivals(monkeypatch):
    monkeypatch.setattr(state_models, "FIRST", 2)
    monkeypatch.setattr(state_models, "ITERATIONS", 2)


@pytest.fixture
def no_E_step(monkeypatch):
    """Infer a constant activity, in no time; return the recordings it should have come from."""
    asked = []

    def constant(X, recording, model, settings):
        asked.append(recording)
        return np.full(recording.external_input.shape, 0.06), recording

    monkeypatch.setattr(co_smoothing, "infer", constant)
    return asked


def test_command_prints_and_writes_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(co_smoothing, "ITERATIONS", 2)
    folder = make_run(tmp_path / "train1")
    main([str(folder), "--folds", "2"])
    said = capsys.readouterr().out
    written = json.loads((folder / "heldout.json").read_text())
    with (folder / "heldout.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["unit"] for row in rows] == ["E1.0", "E1.1", "E2.0", "E2.1", "I.0", "I.1"]
    assert [one["fold"] for one in written["units"]] == [0, 1, 0, 1, 0, 1]
    assert written["parameters"] == co_smoothing.OF_THE_RUN
    for row, one in zip(rows, written["units"], strict=True):
        value = one["bits_per_spike_from_the_others"]
        assert float(row["bits_per_spike_from_the_others"]) == value
        assert value == pytest.approx(bits_per_spike(one["ln_p_from_the_others"], one["ln_p_constant"], one["spikes"]))
        assert f"{value:+.3f}" in said
    assert co_smoothing.OF_THE_RUN in said
    (line,) = [line for line in said.splitlines() if line.split()[:2] == ["2", "states"]]
    (together,) = [one for one in written["together"] if one["unit"] == "all 6"]
    assert f"{together['rival_bits_per_spike_from_the_others: 2 states']:+.3f}" in line
    in_table = [float(row["rival_bits_per_spike_from_the_others: 2 states"]) for row in rows]
    assert in_table == [one["rival_bits_per_spike_from_the_others: 2 states"] for one in written["units"]]
    spikes = load_arrays(folder / "init_param")["observed_spikes"][0, 1, load_run(folder).model.window_bins :, 1]
    assert written["units"][3]["spikes"] == spikes.sum()


def test_refitted_parameters_have_not_seen_the_fold(tmp_path, no_E_step, monkeypatch):
    folder, seen = make_run(tmp_path / "train1", at_bound=False), []
    edit(folder, settings={"train_Noinit": 7, "Emaxiters": 11, "gone_since": 3})

    def train(others, model, settings):
        seen.append((others.recorded, others.observed_spikes.sum(axis=(0, 2)), settings.train_Noinit))
        return Fit(load_run(folder).start, 0.0, np.empty(0), "")

    main([str(folder), "--folds", "2"])
    known = json.loads((folder / "heldout.json").read_text())["units"]
    co_smoothing.main(train, [str(folder), "--folds", "2", "--refit", "--at_once", "1"])
    written = json.loads((folder / "heldout.json").read_text())
    assert written["parameters"] == co_smoothing.REFITTED
    assert [one["ln_p_with_own_past"] for one in written["units"]] != [one["ln_p_with_own_past"] for one in known]
    for fold, (recorded, spikes, seed) in enumerate(seen):
        np.testing.assert_array_equal(recorded, np.tile(np.arange(2) != fold, (3, 1)))
        assert not spikes[~recorded].any()
        assert seed == 7
    assert len(seen) == 2
    for one, other in zip(seen, no_E_step[2:], strict=True):
        np.testing.assert_array_equal(one[0], other.recorded)
    assert settings_of(load_run(folder)).Emaxiters == 11


def test_another_recording_is_scored_with_data(tmp_path, no_E_step, capsys):
    folder = make_run(tmp_path / "train1")
    main([str(folder), "--data", str(DATASET), "--end_timepoint", "0.6", "--Nsampled", "1", "--folds", "3"])
    written = json.loads((folder / "heldout_on_3pop_noinput_small.json").read_text())
    assert [one["unit"] for one in written["units"]] == ["E1.0", "E2.0", "I.0"]
    assert written["units"][0]["bins"] == 110  # 0.6 s less the window of 40 bins of 4 ms
    assert "Recorded: E1 1 of 400" in capsys.readouterr().out
    assert not (folder / "heldout.json").exists()


def test_another_recording_has_the_labels_that_the_run_was_fitted_with(tmp_path, no_E_step):
    folder = make_run(tmp_path / "train1")
    edit(folder, settings={"labels": "E1=a,E2=b,I=c"})
    write_listed(tmp_path / "my.npz", raster(), population=np.array(["b", "a", "b", "c", "a"]))
    main([str(folder), "--data", str(tmp_path / "my.npz"), "--folds", "2"])
    written = json.loads((folder / "heldout_on_my.json").read_text())
    assert [one["unit"] for one in written["units"]] == ["7", "21", "3", "8", "10"]  # as the data call them


def test_units_are_called_as_the_data_call_them(tmp_path, no_E_step, capsys):
    folder = make_run(tmp_path / "train1")
    names = [["17", "unit 3"], ["17", "a,b"], [f"{'long ' * 20}{i}" for i in range(2)]]
    save_arrays(folder / "init_param", **load_arrays(folder / "init_param"), unit_names=np.array(names))
    main([str(folder), "--folds", "2"])
    said, expected = capsys.readouterr().out, ["E1.17", "unit 3", "E2.17", "a,b", *names[2]]
    written = json.loads((folder / "heldout.json").read_text())
    with (folder / "heldout.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [one["unit"] for one in written["units"]] == [row["unit"] for row in rows] == expected
    table = said[: said.index("Bits per spike")].splitlines()
    assert [line.split("  ")[0] for line in table[1:5]] == expected[:4]
    assert [line.split("  ")[0] for line in table[5:7]] == [f"long long long...g long long {i}" for i in range(2)]
    assert max(map(len, table)) < 100


def test_recording_of_a_run_is_the_one_it_was_fitted_to(tmp_path):
    run = load_run(make_run(tmp_path / "train1", trials=2))
    arrays = load_arrays(run.folder / "init_param")
    judged, recorded = np.ones((2, 400), bool), np.array([[True, True], [True, False], [True, True]])
    judged[1, 300:] = False
    save_arrays(run.folder / "init_param", **arrays, judged=judged, recorded=recorded)
    recording = recording_of(run)
    np.testing.assert_array_equal(recording.observed_spikes, arrays["observed_spikes"])
    np.testing.assert_array_equal(recording.judged, judged)
    np.testing.assert_array_equal(recording.recorded, recorded)
    window = arrays["observed_spikes"][:, :, :40].mean(axis=2) / 0.004
    np.testing.assert_allclose(recording.initial_rate[:, 0], window[:, 0].mean(axis=-1))
    np.testing.assert_allclose(recording.initial_rate[:, 1], window[:, 1, 0])


def broken_spikes(folder):
    arrays = load_arrays(folder / "init_param")
    save_arrays(folder / "init_param", **{**arrays, "observed_spikes": arrays["observed_spikes"][:, :, 1:]})


def one_unit(folder):
    arrays = load_arrays(folder / "init_param")
    save_arrays(folder / "init_param", **arrays, recorded=np.array([[True, False], [False, False], [False, False]]))


def names_of_others(folder):
    save_arrays(folder / "init_param", **load_arrays(folder / "init_param"), unit_names=np.array(["a", "b"]))


def a_nameless_unit(folder):
    names = np.array([["a", "b"], ["c", ""], ["d", "e"]])
    save_arrays(folder / "init_param", **load_arrays(folder / "init_param"), unit_names=names)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        (["--folds", "1"], None, "--folds: expected at least 2, got 1"),
        (["--folds", "7"], None, "--folds: expected at most 6, the recorded units, got 7"),
        (["--burn_in", "0.1"], None, "--burn_in: goes with --data; without it the recording of the run is scored"),
        (["--data", "nowhere.csv"], None, "nowhere.csv: cannot be read"),
        ([], lambda folder: edit(folder, status="failed"), "not finished: failed"),
        ([], lambda folder: edit(folder, settings={"E_LR": -1.0}), "--E_LR: expected above 0, got -1.0"),
        ([], broken_spikes, "I_ext: expected (1, 3, 399) like the recorded spikes, got (1, 3, 400)"),
        ([], names_of_others, "unit_names: expected (3, 2), a name for each recorded neuron, got <U1 of shape (2,)"),
        ([], a_nameless_unit, "unit_names: expected (3, 2), a name for each recorded neuron, got <U1 of shape (3, 2)"),
        ([], one_unit, "recording: expected two recorded units or more, to leave one out, got 1"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_nothing_is_written(tmp_path, capsys, options, change, message):
    folder = make_run(tmp_path / "train1")
    if change:
        change(folder)
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: main([str(folder), *options]), "heldout")
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(folder.glob("heldout*"))
