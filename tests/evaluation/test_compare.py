"""The comparison: the same units and bins for all, what folds hold out, fits that are kept, and the command."""

import json
import multiprocessing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import train_meso
from src.data.dataset import load_recording
from src.evaluation import co_smoothing, compare, fold_fits, state_models
from src.evaluation.candidates import candidates
from src.evaluation.co_smoothing import score
from src.evaluation.compare import ComparisonSettings, fit_settings, jobs_of, schemes_in_words
from src.evaluation.fold_fits import run_all, run_job
from src.evaluation.fold_rivals import scores_of_rivals
from src.evaluation.folds import check_same, folds_of_time, folds_of_units, prepare, read_trains_once
from src.helper import from_X
from src.inference import particle_filter
from src.inference.em import Fit
from src.model.circuit_file import WINNER_TAKE_ALL
from src.utils.exceptions import FitError, InputError
from src.utils.jobs import Where
from src.utils.settings import run_script
from tests.recordings import UNITS, raster, write_binned, write_intervals, write_listed
from tests.training import DATASET, ROOT

TWO = str(ROOT / "src/model/circuits/two_populations.toml")
BOTH = (str(WINNER_TAKE_ALL), TWO)
ON_DATASET = {"dataset": str(DATASET), "end_timepoint": 1.2, "a_cutoff": 0.1}
DT = 0.004


def main(argv):
    """Compare as the command does, with the fit as it is now."""
    compare.main(train_meso.train, argv)


def prepared(paths=BOTH, folds=3, **options):
    settings = ComparisonSettings(circuits=paths, folds=folds, **{**ON_DATASET, **options})
    found = candidates(settings.circuits, settings.without, settings.sizes, settings.param)
    trains, data = read_trains_once(settings, found[0])
    return prepare(found, trains, data, fit_settings(settings), folds)[0], settings


def spikes_of(one, unit):
    m, i = one.places[unit]
    return one.recording.observed_spikes[:, m, :, i]


# --- the same units and bins ------------------------------------------------------------------------------------------


def test_neurons_of_a_data_set_are_units_and_come_in_the_bins_of_a_fit():
    (one, other), _ = prepared()
    assert list(one.places) == list(other.places) == [f"{name}.{i}" for name in ("E1", "E2", "I") for i in range(3)]
    whole, _ = load_recording(DATASET, one.model, end_timepoint=1.2, trial_length=91 * DT)  # (300 - 25) // 3 bins
    np.testing.assert_array_equal(one.recording.observed_spikes, whole.observed_spikes)
    np.testing.assert_allclose(one.recording.initial_rate, whole.initial_rate, rtol=1e-12)
    np.testing.assert_array_equal(other.recording.is_recorded.sum(axis=1), [6, 3])
    for unit in one.places:
        np.testing.assert_array_equal(spikes_of(one, unit), spikes_of(other, unit))
    assert other.places["E2.1"] == (0, 4) and other.places["I.0"] == (1, 0)


def test_units_of_a_file_keep_their_names_wherever_a_circuit_puts_them(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    (one, other), _ = prepared(data=str(tmp_path / "my.npz"), end_timepoint=None, a_cutoff=0.04)
    assert sorted(one.places) == sorted(other.places) == sorted(UNITS)
    assert list(one.places) != list(other.places)
    for unit in UNITS:
        np.testing.assert_array_equal(spikes_of(one, unit), spikes_of(other, unit))


def changed_two(tmp_path, old, new):
    path = tmp_path / "other.toml"
    path.write_text((ROOT / TWO).read_text().replace(old, new))
    return (str(WINNER_TAKE_ALL), str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '["E1", "E2"]',
            '["E1"]',
            "other: expected the 9 units of winner_take_all, got 6, without E2.0, E2.1, E2.2; see",
        ),
        ("[time]", "[time]\ndt = 0.002", "other: expected bins of 4 ms as in winner_take_all, got 2 ms; .* see --dt"),
        (
            "[time]",
            "[time]\nwindow = 0.2",
            "expected a history window of 1 s as in winner_take_all, got 0.2 s; .* see --a",
        ),
        ("size = 800", "size = 5", "other: population_size: expected at least as many neurons as recorded units in E"),
        ("[time]", "[time]\ndelay = 0.1\nwindow = 0.002", "other: window 0.002 at dt"),
    ],
)
def test_candidates_that_do_not_predict_the_same_are_refused(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        prepared(changed_two(tmp_path, old, new), a_cutoff=None)


@pytest.mark.parametrize(
    "options",
    [{"sizes": "1"}, {"param": "coupling I=19.968"}, {"sizes": "0.5,0.501"}, {"without": "I->E1+I->E2,I->E2+I->E1"}],
)
def test_two_names_of_the_same_circuit_are_refused(options):
    with pytest.raises(InputError, match="expected another circuit than (winner_take_all|.* 0.5|.* I->E2), got the sa"):
        prepared((str(WINNER_TAKE_ALL), TWO), **options)


def test_a_file_under_two_paths_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(WINNER_TAKE_ALL.read_text())
    for path, name in (("./a.toml", "./a.toml"), ("b.toml", "b")):
        with pytest.raises(
            InputError, match=f"^candidate {name}: expected another circuit than a(.toml)?, got the same$"
        ):
            prepared(("a.toml", path))


def test_circuits_that_differ_in_bounds_priors_or_scheme_alone_are_compared(tmp_path):
    for old, new in (
        ("multiples = [0.4, 2.0]", "multiples = [0.4, 2.1]"),
        ("value = 3.7", 'value = 3.7\nprior = { kind = "gaussian", mean = 4, sd = 1 }'),
        ('"published"', '"consistent"'),
    ):
        path = tmp_path / "other.toml"
        path.write_text(WINNER_TAKE_ALL.read_text().replace(old, new))
        assert len(prepared((str(WINNER_TAKE_ALL), str(path)))[0]) == 2


@pytest.mark.parametrize(
    ("inside", "given", "used"),
    [
        ("published", {}, "published"),
        ("consistent", {}, "consistent"),
        ("published", {"scheme": "consistent"}, "consistent"),
        ("consistent", {"scheme": "published"}, "published"),
    ],
)
def test_the_scheme_is_that_of_the_circuit_unless_it_is_given_and_is_said(tmp_path, fakes, capsys, inside, given, used):
    path = tmp_path / "my.toml"
    path.write_text(WINNER_TAKE_ALL.read_text().replace('"published"', f'"{inside}"'))
    main([str(path), *words(tmp_path / "out", sizes="2", **given)])
    assert {model.scheme.name for _, model, _ in fakes.fits} == {used}
    said = capsys.readouterr().out
    assert f"\nscheme {used}, E-step innovations\n" in said
    assert ("note: with this E-step --scheme consistent is recommended" in said) == (used == "published")


def test_schemes_that_differ_are_said_with_their_candidates(tmp_path):
    both, _ = prepared(changed_two(tmp_path, "[time]", '[time]\nscheme = "consistent"'), e_objective="joint")
    assert schemes_in_words(both) == ["scheme published (winner_take_all) and consistent (other), E-step joint"]


def test_more_units_than_the_first_candidate_has_are_no_better(tmp_path):
    first = changed_two(tmp_path, '["E1", "E2"]', '["a"]')[1]
    more = tmp_path / "more.toml"
    more.write_text(WINNER_TAKE_ALL.read_text().replace("[populations.E1]", '[populations.E1]\nlabels = ["a"]'))
    write_listed(tmp_path / "my.npz", raster(), population=np.array(["E2", "a", "E2", "I", "a"]))
    with pytest.raises(InputError, match="more: expected the 3 units of other, got 5, with 3, 8; see labels in docs"):
        prepared((first, str(more)), data=str(tmp_path / "my.npz"), end_timepoint=None, a_cutoff=0.04)


@pytest.mark.parametrize("change", ["spike", "judged"])
def test_other_spikes_or_other_scored_bins_are_refused(change):
    (one, other), _ = prepared()
    spikes, judged = other.recording.observed_spikes.copy(), other.recording.is_judged.copy()
    if change == "spike":
        spikes[1, 1, 40, 2] ^= 1
    judged[0, 3] = change != "judged"
    recording = replace(other.recording, observed_spikes=spikes, judged=judged)
    with pytest.raises(InputError, match="expected the bins of winner_take_all, got others, for instance of unit"):
        check_same(one, replace(other, recording=recording))


# --- folds ------------------------------------------------------------------------------------------------------------


def naive_constant(spikes, p):
    return sum(np.log(p if y else 1 - p) for y in spikes)


def test_folds_of_time_hold_out_each_bin_once_with_its_own_history():
    (one, other), _ = prepared(trial_length=0.1)  # 11 trials of 25 bins
    A, whole = one.model.window_bins, one.recording
    folds, others = folds_of_time(one, 3), folds_of_time(other, 3)
    assert [fold.held_out.n_trials for fold in folds] == [4, 4, 3]
    for k, fold in enumerate(folds):
        np.testing.assert_array_equal(fold.held_out.observed_spikes, whole.observed_spikes[k::3])
        rest = [b for b in range(11) if b % 3 != k]
        np.testing.assert_array_equal(fold.training.observed_spikes, whole.observed_spikes[rest])
        assert fold.units is None
    # the window before a trial is what was recorded there, whichever fold it is of
    np.testing.assert_array_equal(whole.observed_spikes[1, :, :A], whole.observed_spikes[0, :, A:])
    scored = whole.observed_spikes[:, :, A:]  # constant rates: of each unit, the mean over all trials
    p = scored.mean(axis=(0, 2))
    for k, fold in enumerate(folds):
        by_hand = sum(naive_constant(scored[k::3, m, :, i].ravel(), p[m, i]) for m in range(3) for i in range(3))
        assert fold.ln_p_constant == pytest.approx(by_hand, rel=1e-10)
        assert fold.spikes == scored[k::3].sum()
        assert others[k].ln_p_constant == pytest.approx(by_hand, rel=1e-10)


def test_constant_rates_know_of_judged_bins_only(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    write_intervals(tmp_path / "go.csv")  # of unequal lengths
    options = {"data": str(tmp_path / "my.npz"), "trials": str(tmp_path / "go.csv"), "end_timepoint": None}
    (one, _), _ = prepared(**options, a_cutoff=0.04, burn_in=0.02)
    recording, A = one.recording, one.model.window_bins
    judged = recording.is_judged
    assert 0 < (~judged[:, 5:]).sum() and not judged[:, :5].any()
    folds = folds_of_time(one, 3)
    spikes = {unit: recording.observed_spikes[:, m, A:, i] for unit, (m, i) in one.places.items()}
    rates = {unit: y[judged].mean() for unit, y in spikes.items()}
    for k, fold in enumerate(folds):
        by_hand = sum(naive_constant(y[k][judged[k]], rates[unit]) for unit, y in spikes.items())
        assert fold.ln_p_constant == pytest.approx(by_hand, rel=1e-10)
        assert fold.spikes == sum(y[k][judged[k]].sum() for y in spikes.values())


def test_folds_of_units_hold_out_the_same_units_of_all_candidates(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    (one, other), _ = prepared(data=str(tmp_path / "my.npz"), end_timepoint=None, a_cutoff=0.04)
    order = list(one.places)
    assert order != list(other.places)
    for fold, another in zip(folds_of_units(one, 2, order), folds_of_units(other, 2, order), strict=True):
        names = [
            [unit for unit, at in each.places.items() if at in f.units] for each, f in ((one, fold), (other, another))
        ]
        assert sorted(names[0]) == sorted(names[1])
        assert len(names[0]) in (2, 3)
        assert not [at for at in fold.units if fold.training.is_recorded[at]]
        assert fold.training.is_recorded.sum() == 5 - len(names[0])
        m, i = fold.units[0]
        assert not fold.training.observed_spikes[:, m, :, i].any() and fold.held_out.observed_spikes[:, m, :, i].any()
        X, activity = np.full(12, 5.0), np.full(one.recording.external_input.shape, 0.06)
        scores = [score(unit, 0, X, activity, one.recording, one.model) for unit in fold.units]
        assert fold.ln_p_constant == pytest.approx(sum(each.ln_p_constant for each in scores), rel=1e-12)
        assert (fold.spikes, fold.ln_p_constant) == (another.spikes, pytest.approx(another.ln_p_constant, rel=1e-12))


# --- a fit and its score ----------------------------------------------------------------------------------------------


@pytest.fixture
def fakes(monkeypatch):
    """Fits and filters that take no time; returns what they were asked for."""
    asked = SimpleNamespace(fits=[], filters=[], ln_p=[])

    def train(recording, model, settings):
        asked.fits.append((recording, model, settings.train_Noinit))
        if settings.train_Noinit == 13:
            raise FitError("M-step 0: expected a finite loss")
        X = np.full(len(model.fitted.names), 1.0 + settings.train_Noinit % 4)
        return Fit(X, -float(settings.train_Noinit % 4), np.empty(0), "done")

    def filter_spikes(parameters, model, recording, *, n_particles, seed):
        asked.filters.append((parameters, recording, n_particles, seed))
        y = recording.observed_spikes[:, :, model.window_bins :].sum(axis=(1, 3))
        rate = parameters.membrane_rate.sum() + model.population_size.sum() / 1e3 + model.connectivity.sum()
        noise = np.random.default_rng(seed).uniform(0.9, 1.1, y.shape)
        asked.ln_p.append(np.where(y > 0, -0.05 * rate, -0.03 * rate) * noise)
        return SimpleNamespace(ln_p=asked.ln_p[-1])

    monkeypatch.setattr(train_meso, "train", train)
    monkeypatch.setattr(particle_filter, "filter_spikes", filter_spikes)
    monkeypatch.setattr(state_models, "FIRST", 1)
    monkeypatch.setattr(state_models, "ITERATIONS", 1)
    return asked


def test_the_start_of_lowest_loss_is_scored_on_what_was_held_out(fakes):
    both, settings = prepared(trial_length=0.1)  # four trials are held out
    settings = replace(settings, seed=12, starts=4, repeats=3, particles=7)
    job = replace(jobs_of(both, settings)[0], settings=replace(both[0].settings, train_Noinit=12))
    result = run_job(train_meso.train, job)
    assert [seed for *_, seed in fakes.fits] == [12, 13, 14, 15]  # losses 0, (failed), -2, -3
    assert result["losses"] == [0.0, -2.0, -3.0] and len(result["failed"]) == 1
    assert result["X"] == [4.0] * 12
    assert all(recording is job.fold.training for recording, *_ in fakes.fits)
    ((parameters, recording, n_particles, _),) = fakes.filters
    assert n_particles == 7
    held_out = job.fold.held_out.observed_spikes
    np.testing.assert_array_equal(recording.observed_spikes, np.concatenate([held_out] * 3))
    np.testing.assert_array_equal(parameters.flat(), from_X(np.full(12, 4.0), both[0].model).flat())
    by_trial = fakes.ln_p[0].sum(axis=1)
    np.testing.assert_allclose(result["ln_p"]["held-out time"], by_trial.reshape(3, 4), rtol=1e-12)


def test_a_fit_that_fails_from_every_start_says_why(fakes):
    both, settings = prepared()
    job = replace(jobs_of(both, settings)[3], settings=replace(both[1].settings, train_Noinit=13))
    result = run_job(train_meso.train, job)
    assert result["error"] == "M-step 0: expected a finite loss" and result["failed"] == [result["error"]]
    assert "ln_p" not in result and not fakes.filters


def test_held_out_spikes_that_are_impossible_are_an_error_of_the_fit(fakes, monkeypatch):
    both, settings = prepared()
    zero = SimpleNamespace(ln_p=np.full((4, both[0].recording.n_bins), -np.inf))
    monkeypatch.setattr(particle_filter, "filter_spikes", lambda *_, **__: zero)
    result = run_job(train_meso.train, jobs_of(both, settings)[0])
    assert result["error"] == "held-out time: expected a finite ln p of the held-out spikes, got -inf"
    assert len(result["X"]) == 12 and "ln_p" not in result  # the fit itself stays


def test_filters_of_folds_are_independent_and_those_of_candidates_alike(fakes):
    for job in jobs_of(*prepared()):
        run_job(train_meso.train, job)
    seeds = [seed for *_, seed in fakes.filters]
    assert seeds[0::2] == seeds[1::2]  # of the two candidates
    assert np.diff(seeds[0::2]).min() >= 1000  # more than the trials of a fold


def test_held_out_units_are_scored_given_the_others(fakes, monkeypatch):
    asked = []

    def infer(X, recording, model, settings):
        asked.append(recording)
        return np.full(recording.external_input.shape, 0.06), replace(
            recording, initial_rate=recording.initial_rate + 1
        )

    monkeypatch.setattr(co_smoothing, "infer", infer)
    both, settings = prepared(holdout="units")
    for job in jobs_of(both, settings)[:2]:
        result = run_job(train_meso.train, job)
        assert asked[-1] is job.fold.training
        whole = replace(job.fold.held_out, initial_rate=job.fold.training.initial_rate + 1)
        activity, X = np.full(whole.external_input.shape, 0.06), np.array(result["X"])
        scores = [score(unit, 0, X, activity, whole, job.model) for unit in job.fold.units]
        for name in ("from the others", "with own past"):
            np.testing.assert_allclose(result["ln_p"][name], [[one.ln_p[name] for one in scores]], rtol=1e-12)


# --- the command ------------------------------------------------------------------------------------------------------


def words(output, **options):
    given = {**ON_DATASET, "folds": 2, "at_once": 1, "output": output, **options}
    flags = [f"--{name}" for name, value in given.items() if value is True]
    return flags + [word for name, value in given.items() if value is not True for word in (f"--{name}", str(value))]


def test_command_prints_and_writes_the_same(tmp_path, fakes, capsys):
    main([*BOTH, *words(tmp_path, without="I->E1", sizes="2")])
    said = capsys.readouterr().out
    content = json.loads((tmp_path / "comparison.json").read_text())
    rows = content["ranking"]["held-out time"]
    names = [row["name"] for row in rows]
    assert sorted(names) == ["sizes x 2", "two_populations", "winner_take_all", "without I->E1"]
    assert len(fakes.fits) == 8
    for row in rows:
        assert f"{row['name']}  " in said and f"{row['mean']:+.4f}" in said
        folds = content["candidates"][row["name"]]["folds"]
        bits = [
            (np.log(np.mean(np.exp(f["ln_p"]["held-out time"]), axis=0)).sum() - f["ln_p_constant"])
            / f["spikes"]
            / np.log(2)
            for f in folds
        ]
        assert row["by_fold"] == pytest.approx(bits, rel=1e-12)
        assert row["mean"] == pytest.approx(np.mean(bits), rel=1e-12)
        assert row["n_fitted"] == len(content["candidates"][row["name"]]["fitted"])
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    assert (tmp_path / "comparison.csv").read_text().count("\n") == 5
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("holdout", ["time", "units"])
def test_rivals_stand_below_the_ranking_fold_by_fold(tmp_path, fakes, capsys, monkeypatch, holdout):
    monkeypatch.setattr(co_smoothing, "infer", lambda X, given, *_: (0.06 + 0 * given.external_input, given))
    main([*BOTH, *words(tmp_path, holdout=holdout)])
    said = capsys.readouterr().out
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert list(content["rivals"]) == list(content["ranking"])
    names = {"held-out time": 6, "from the others": 3, "with own past": 3}
    (one, _), settings = prepared(folds=2, holdout=holdout)
    folds = folds_of_time(one, 2) if holdout == "time" else folds_of_units(one, 2, list(one.places))
    by_hand = scores_of_rivals(folds, one.model)
    for measure, rows in content["rivals"].items():
        best = content["ranking"][measure][0]
        assert len(rows) == names[measure]
        assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
        for row in rows:
            bits = [fold.bits(measure) for fold in by_hand[measure][row["name"]]]
            assert row["by_fold"] == pytest.approx(bits, rel=1e-9)
            assert row["to_best"] == pytest.approx(np.subtract(bits, best["by_fold"]), rel=1e-9)
            assert f"{row['mean']:+.4f}  {row['error']:.4f}  " in said


def test_resume_fits_only_what_is_missing(tmp_path, fakes, capsys):
    argv = [*BOTH, *words(tmp_path)]
    main(argv)
    first = (tmp_path / "comparison.csv").read_text()
    assert len(fakes.fits) == 4
    with pytest.raises(InputError, match="comparison.json: exists already; give --overwrite"):
        main(argv)
    next((tmp_path / "fits").glob("*.json")).unlink()
    main([*argv, "--resume"])
    assert len(fakes.fits) == 5
    assert "3 of 4 fits have finished before" in capsys.readouterr().out
    assert (tmp_path / "comparison.csv").read_text() == first
    main([*argv, "--resume", "--sizes", "3"])  # two of a new candidate
    assert len(fakes.fits) == 7
    main([*argv, "--resume", "--seed", "2"])  # other fits
    assert len(fakes.fits) == 11
    main([*argv, "--overwrite"])
    assert len(fakes.fits) == 15


def cut(text):
    return text[: len(text) // 2]


def with_other(key, value):
    return lambda text: json.dumps({**json.loads(text), key: value})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (cut, "expected JSON, but"),
        (lambda text: "", "expected JSON, but"),
        (lambda text: "{}", "expected a fit, got none of candidate, fold, versions, error, seconds, ln_p, "),
        (with_other("ln_p", {}), "expected the numbers of a fit, got others"),
        (with_other("ln_p", {"held-out time": [[None]]}), "expected the numbers of a fit, got others"),
        (with_other("ln_p", {"held-out time": [-3.0]}), "expected the numbers of a fit, got others"),
        (with_other("spikes", 0), "expected the numbers of a fit, got others"),
        (with_other("versions", 3), "expected the numbers of a fit, got others"),
    ],
)
def test_a_broken_file_of_a_fit_is_one_line_and_fitted_again(tmp_path, fakes, capsys, broken, message):
    argv = [*BOTH, *words(tmp_path)]
    main(argv)
    path = sorted((tmp_path / "fits").glob("*.json"))[2]
    first, whole = (tmp_path / "comparison.csv").read_text(), json.loads(path.read_text())
    path.write_text(broken(path.read_text()))
    capsys.readouterr()
    main([*argv, "--resume"])
    lines = [line for line in capsys.readouterr().out.splitlines() if path.name in line]
    assert len(lines) == 1 and message in lines[0] and lines[0].endswith("; fitted again")
    assert len(fakes.fits) == 5
    assert (tmp_path / "comparison.csv").read_text() == first
    assert {**json.loads(path.read_text()), "seconds": 0} == {**whole, "seconds": 0}


def test_data_are_the_same_wherever_they_lie_and_circuits_whatever_they_are_called(tmp_path, fakes, monkeypatch):
    write_listed(tmp_path / "my.npz", raster())
    options = {"data": tmp_path / "my.npz", "end_timepoint": 1.2, "a_cutoff": 0.04}
    main([*BOTH, *words(tmp_path / "out", **options)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circuit.toml").write_text((ROOT / TWO).read_text())
    here = {**options, "data": "./my.npz"}
    main([str(WINNER_TAKE_ALL), "circuit.toml", *words(tmp_path / "out", **here), "--resume"])
    assert len(fakes.fits) == 4
    content = json.loads((tmp_path / "out/comparison.json").read_text())["candidates"]
    assert [fit["candidate"] for fit in content["circuit"]["folds"]] == ["circuit"] * 2
    write_listed(tmp_path / "my.npz", np.roll(raster(), 1, axis=0))  # other data in the same place
    main([*BOTH, *words(tmp_path / "out", **here), "--resume"])
    assert len(fakes.fits) == 8


def test_a_comparison_that_mixes_versions_says_so(tmp_path, fakes, capsys, monkeypatch):
    argv = [*BOTH, *words(tmp_path)]
    main(argv)
    files = sorted((tmp_path / "fits").glob("*.json"))
    now = fold_fits.versions()
    assert [json.loads(path.read_text())["versions"] for path in files] == [now] * 4
    main([*argv, "--resume"])
    assert "with other versions" not in capsys.readouterr().out
    for path in files[:3]:
        path.write_text(with_other("versions", {**now, "numpy": "1.0"})(path.read_text()))
    main([*argv, "--resume"])
    said = [line for line in capsys.readouterr().out.splitlines() if "with other versions" in line]
    expected = f"note: of these, 3 with other versions: now numpy {now['numpy']} instead of 1.0: the result may differ"
    assert len(said) == 1 and said[0].startswith(expected)


def test_an_interrupted_comparison_keeps_what_has_finished_and_says_how_to_go_on(tmp_path, fakes, capsys, monkeypatch):
    once = fold_fits.run_job

    def run_then_stop(train, job):
        if len(fakes.fits) == 3:
            raise KeyboardInterrupt
        return once(train, job)

    monkeypatch.setattr(fold_fits, "run_job", run_then_stop)
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: main([*BOTH, *words(tmp_path)]), "compare")
    assert ended.value.code == 130
    assert "to go on: python -m src.compare" in (error := capsys.readouterr().err) and "--resume" in error
    monkeypatch.setattr(fold_fits, "run_job", once)
    main([*BOTH, *words(tmp_path), "--resume"])
    assert len(fakes.fits) == 4


def fails(monkeypatch, *which):
    """Make fits fail: pairs of the number of populations, and of the fit of that many, from 0."""
    once, counted = train_meso.train, []

    def train(recording, model, settings):
        counted.append(M := model.n_populations)
        if (M, counted.count(M) - 1) in which:
            raise FitError("M-step 2: expected a finite loss")
        return once(recording, model, settings)

    monkeypatch.setattr(train_meso, "train", train)


def test_a_failed_fit_costs_its_candidate_the_rank_and_nothing_else(tmp_path, fakes, capsys, monkeypatch):
    main([*BOTH, *words(tmp_path / "all", sizes="2")])
    fails(monkeypatch, (2, 1))
    argv = [*BOTH, *words(tmp_path / "some", sizes="2")]
    capsys.readouterr()
    main(argv)
    said = capsys.readouterr().out
    assert "Not ranked: two_populations: its fit failed in fold 2: M-step 2: expected a finite loss\n" in said
    whole, some = (json.loads((tmp_path / part / "comparison.json").read_text()) for part in ("all", "some"))
    assert some["failed"] == {"two_populations": {"2": "M-step 2: expected a finite loss"}} and whole["failed"] == {}
    without = [row for row in whole["ranking"]["held-out time"] if row["name"] != "two_populations"]
    for row, other in zip(without, some["ranking"]["held-out time"], strict=True):
        assert (row["name"], row["by_fold"]) == (other["name"], other["by_fold"])
    folds = some["candidates"]["two_populations"]["folds"]
    assert folds[0]["ln_p"] == whole["candidates"]["two_populations"]["folds"][0]["ln_p"]
    assert folds[1]["error"] and "ln_p" not in folds[1]
    n_fits = len(fakes.fits)
    main([*argv, "--resume"])  # it would fail again
    assert len(fakes.fits) == n_fits
    assert "6 of 6 fits have finished before" in (said := capsys.readouterr().out) and "Not ranked: two_pop" in said


@pytest.mark.parametrize("which", [[(2, 0)], [(2, 0), (2, 1), (3, 1)]])
def test_without_two_candidates_nothing_is_ranked_but_all_is_written(tmp_path, fakes, capsys, monkeypatch, which):
    main([*BOTH, *words(tmp_path)])
    fails(monkeypatch, *which)
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: main([*BOTH, *words(tmp_path), "--overwrite"]), "compare")
    assert ended.value.code == 1
    error = capsys.readouterr().err
    left = 2 - len({M for M, _ in which})
    assert f"compare: error: expected two candidates or more whose fits of all folds led somewhere, got {left}" in error
    assert error.count("\n") == 1
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["ranking"] == {} and sum(len(why) for why in content["failed"].values()) == len(which)
    fits = [fit for one in content["candidates"].values() for fit in one["folds"]]
    assert sum("ln_p" in fit for fit in fits) == 4 - len(which)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["comparison.json"]


@pytest.mark.slow
def test_processes_make_no_difference(tmp_path):
    """With a fit and the filter themselves, as small as they can be; and a fit that fails, which compiles nothing."""
    small = {"e_objective": "joint", "max_EMsteps": 1, "Mmaxiters": 3, "particles": 2, "repeats": 2}
    both, settings = prepared(folds=2, a_cutoff=0.04, end_timepoint=0.2, scheme="consistent", **small)
    _, job, *_ = jobs_of(both, settings)  # two populations compile faster than three
    unknown = replace(job.fold.training, initial_rate=np.full_like(job.fold.training.initial_rate, np.nan))
    fails = replace(job, number=2, fold=replace(job.fold, training=unknown))
    (one,) = run_all(train_meso.train, [job], tmp_path / "1", Where(1), False)
    failed, two = run_all(train_meso.train, [fails, job], tmp_path / "2", Where(2), False)
    assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert np.isfinite(one["ln_p"]["held-out time"]).all()
    assert failed["error"].startswith("M-step 0: expected a finite loss and gradient, got nan")
    assert len(list((tmp_path / "2").iterdir())) == 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        ((), {}, "candidates: expected two or more, got winner_take_all only"),
        (BOTH, {"folds": 1}, "--folds: expected at least 2, got 1"),
        (BOTH, {"folds": 138}, "winner_take_all: --folds: expected at most 137, 2 bins each, got 138"),
        (BOTH, {"folds": 5, "trial_length": 0.3}, "--folds: expected at most 3, the trials, got 5"),
        (BOTH, {"folds": 2, "trial_length": 0.7}, "--holdout: expected two trials or more, to hold out some, got 1"),
        (BOTH, {"overwrite": True, "resume": True}, "--resume, --overwrite: expected one of them, got both"),
        (BOTH, {"holdout": "units", "folds": 10}, "--folds: expected at most 9, the recorded units, got 10"),
        (BOTH, {"holdout": "nothing"}, "argument --holdout: invalid choice: 'nothing'"),
        (BOTH, {"repeats": 1}, "--repeats: expected at least 2, got 1"),
        (BOTH, {"at_once": 0}, "--at_once: expected at least 1, got 0"),
        (BOTH, {"with_input": True}, "--with_input: a comparison takes the spikes alone"),
        (BOTH, {"trials": "go"}, "--trials: goes with spike times"),
        (BOTH, {"unit_map": "my.csv"}, "--unit_map: goes with spike times"),
        (BOTH, {"end_timepoint": 99.0}, "--end_timepoint: expected at most 11 s"),
        (BOTH, {"dt": 0.0041}, "--dt: expected a multiple of the bins"),
        (BOTH, {"data": "nowhere.nwb"}, "nowhere.nwb: cannot be read"),
        (BOTH, {"sizes": "0.001"}, "sizes x 0.001: population_size: expected at least as many neurons"),
        (BOTH, {"labels": "E1=E1|E2"}, "winner_take_all: --labels: expected each label in one population"),
        ((TWO,), {"sizes": "2"}, "expected a data set of the 2 populations of two_populations, the first candidate"),
        (("no.toml", TWO), {}, "no.toml: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_nothing_is_written(tmp_path, capsys, fakes, paths, options, message):
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: main([*paths, *words(tmp_path / "there", **options)]), "compare")
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "there").exists() and not fakes.fits


def test_a_fold_without_spikes_and_a_folder_that_is_a_file_are_refused(tmp_path, fakes):
    fired = raster()
    fired[800:] = 0
    write_listed(tmp_path / "my.npz", fired)
    with pytest.raises(InputError, match="--folds: expected spikes in what each fold holds out, got none in fold 3"):
        main([*BOTH, *words(tmp_path / "a", data=tmp_path / "my.npz", end_timepoint=1.2, folds=3, a_cutoff=0.04)])
    with pytest.raises(InputError, match="--output: expected a folder, got .*my.npz, which cannot be one"):
        main([*BOTH, *words(tmp_path / "my.npz")])


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_first_fit(tmp_path, fakes):
    (tmp_path / "gone").symlink_to(tmp_path / "no such folder" / "there")
    with pytest.raises(InputError, match="gone/fits: cannot be made a folder"):
        main([*BOTH, *words(tmp_path / "gone")])
    assert not fakes.fits


def test_help_lists_circuits_first(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "CIRCUITS" in capsys.readouterr().out


def test_what_is_held_out_of_the_time_is_not_fitted(tmp_path):
    raster_of = raster(3)
    write_binned(tmp_path / "my.npz", raster_of, go=np.array([[0.1, 0.3], [0.2, 0.4], [0.5, 0.7]]))
    arguments = ["--data", str(tmp_path / "my.npz"), "--trials", "go", "--a_cutoff", "0.04", "--folds", "3"]
    with pytest.raises(
        InputError, match=r"trials apart from each other, .*, got overlaps of trial 2 with the one before"
    ):
        main([*arguments, "--sizes", "2", "--output", str(tmp_path / "out")])
    settings = fit_settings(ComparisonSettings())
    assert settings.holdout is None and settings.holdout_units is None
