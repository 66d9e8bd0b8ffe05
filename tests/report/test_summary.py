"""Runs are found by their run.json, told apart from broken ones, and summed up in tables and one figure."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.free_parameters import bound_reached
from src.plots.style import population_colours, save_figure
from src.report import summary
from src.report.cautions import ranks_that_disagree
from src.report.figure_summary import losses_figure, summary_figure
from src.report.report import runs_section
from src.runs.load import best_run, initial_rate, load_activity, load_run, load_runs, ranked, ties_of
from src.runs.tables import parameter_table, runs_table
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.settings import run_script
from src.utils.text import align
from tests.fake_runs import N_OBS, A, T, edit, four_populations, make_run

REFERENCE = reference_parameters()


@pytest.fixture
def folder(tmp_path):
    """Three finished runs, the second the best."""
    for i, loss in ((1, -2.80), (2, -2.85), (10, -2.75)):
        make_run(tmp_path / f"train{i}", loss=loss, seed=i)
    return tmp_path


def test_runs_are_found_by_their_record_in_any_folder(folder):
    shutil.move(folder / "train1", folder / "elsewhere" / "deep")
    (folder / "train3").mkdir()
    runs, skipped = load_runs(folder)
    assert [run.name for run in runs] == ["elsewhere/deep", "train2", "train10"]
    assert skipped == []
    assert best_run(runs).name == "train2"


def test_a_single_run_is_a_folder_of_runs(folder):
    runs, _ = load_runs(folder / "train1")
    assert [run.name for run in runs] == ["train1"]


def test_best_of_equal_runs_is_the_first(folder):
    edit(folder / "train1", loss=-2.85)
    assert best_run(load_runs(folder)[0]).name == "train1"


ON_INNOVATIONS = {"e_objective": "innovations"}


def likely(folder, settings, *ln_p):
    """Write ln p of the spikes, each with an error of half a nat, into the records of the three runs."""
    for name, value in zip(("train1", "train2", "train10"), ln_p, strict=True):
        edit(folder / name, settings=settings, ln_p=value, ln_p_error=None if value is None else 0.5)
    return load_runs(folder)[0]


def test_runs_on_innovations_are_ranked_by_how_likely_the_spikes_are(folder):
    runs = likely(folder, ON_INNOVATIONS, -120.0, -150.0, -100.25)
    assert [run.name for run in ranked(runs)] == ["train10", "train1", "train2"]
    table = runs_table(runs)
    assert "* best: the highest ln p(spikes)" in table and "train10 *" in table and "-100.2 +- 0.5" in table
    assert ranks_that_disagree(runs) == [
        "Loss and likelihood disagree on which run is best: train2 has the lowest loss, but train10 makes the spikes "
        "more likely, by 50 nats. The likelihood counts."
    ]


def test_runs_that_the_error_of_the_likelihood_cannot_tell_apart_tie(folder):
    said = "{} with it: ln p differs by no more than two standard errors."
    runs = likely(folder, ON_INNOVATIONS, -101.4, -150.0, -100.0)  # 1.4 of at most 2 x 0.5 x sqrt 2 = 1.41
    assert ties_of(runs) == said.format("train1 ties") and runs_table(runs).endswith(said.format("train1 ties"))
    assert "train1 ties with it" in runs_section(folder, runs, []).parts[0].words
    assert ties_of(likely(folder, ON_INNOVATIONS, -101.5, -150.0, -100.0)) == ""
    assert ties_of(likely(folder, ON_INNOVATIONS, -101.4, -100.0, -100.0)) == said.format("train10, train1 tie")
    assert ties_of(likely(folder, {}, -100.0, -100.0, -100.0)) == ""


def test_published_runs_are_ranked_by_their_loss_and_a_likelihood_that_disagrees_is_told(folder):
    runs = likely(folder, {}, -120.0, -150.0, -100.0)
    assert best_run(runs).name == "train2" and "* best: the lowest final loss" in runs_table(runs)
    (said,) = ranks_that_disagree(runs)
    assert said.endswith("train10 makes the spikes more likely, by 50 nats. The published procedure goes by the loss.")


@pytest.mark.parametrize("ln_p", [(-101.0, -102.0, -100.0), (None, None, -100.0), (None, None, None)])
def test_ranks_do_not_disagree_where_the_likelihood_does_not_tell(folder, ln_p):
    assert ranks_that_disagree(likely(folder, ON_INNOVATIONS, *ln_p)) == []


def test_a_run_without_a_likelihood_leaves_the_ranking_to_the_loss(folder):
    runs = likely(folder, ON_INNOVATIONS, -100.0, None, -90.0)
    assert best_run(runs).name == "train2"
    assert [row for row in runs_table(runs).splitlines() if row.startswith("train2 *")][0].split()[3] == "-"


def test_what_a_run_knows(folder):
    run = load_run(folder / "train1")
    record = json.loads((folder / "train1" / "run.json").read_text())
    np.testing.assert_array_equal(run.X, record["X"])
    np.testing.assert_array_equal(run.parameters.membrane_rate, record["X"][:3])
    np.testing.assert_array_equal(np.abs(run.parameters.coupling).max(axis=1), record["X"][3:6])
    np.testing.assert_array_equal(np.sign(run.parameters.coupling), np.sign(REFERENCE.coupling))
    np.testing.assert_allclose(run.losses, [-2.6, -2.7, -2.8], rtol=1e-12)
    assert run.model.names == winner_take_all().names and run.model.window_bins == A


def test_activity_of_a_run(folder):
    run = load_run(folder / "train1")
    begin = load_arrays(folder / "train1" / "init_param")
    for which, file in (("start", "init_param"), ("fit", "E2_est_param")):
        found = load_activity(run, which)
        np.testing.assert_array_equal(found.estimate, load_arrays(folder / "train1" / file)["Z_hist_est"][0, :, A:])
        np.testing.assert_array_equal(found.truth, begin["Z_true"][0])
        assert [trains.shape for trains in found.spikes] == 3 * [(T, N_OBS)] and found.time0 == A * run.model.dt
    expected = begin["observed_spikes"][0, :, :A].mean(axis=(1, 2)) / 0.004
    np.testing.assert_allclose(initial_rate(run), expected, rtol=1e-12)


def mask(folder, **masks):
    """Say in the files of a run what of its data does not count."""
    save_arrays(folder / "init_param", **{**load_arrays(folder / "init_param"), **masks})


def test_activity_of_a_run_ends_with_its_trial_and_has_only_recorded_neurons(tmp_path):
    run = load_run(make_run(tmp_path / "train1", trials=2))
    whole, begin = load_activity(run), load_arrays(run.folder / "init_param")
    judged = (np.arange(T) >= 10) & (np.arange(T) < np.array([[T - 150], [T]]))
    mask(run.folder, judged=judged, recorded=np.array([[True, False], [False, False], [True, True]]))
    found = load_activity(run)
    for name in ("estimate", "truth"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[:, : T - 150])
    assert [trains.shape for trains in found.spikes] == [(T - 150, 1), (T - 150, 0), (T - 150, 2)]
    np.testing.assert_array_equal(found.spikes[0][:, 0], begin["observed_spikes"][0, 0, A : A + T - 150, 0])
    assert load_activity(run, trial=1).estimate.shape == (3, T)
    window = begin["observed_spikes"][0, :, :A].mean(axis=1) / 0.004
    rates = [window[0, 0], (window[0, 0] + window[2].mean()) / 2, window[2].mean()]
    np.testing.assert_allclose(initial_rate(run), rates, rtol=1e-12)
    assert summary.main([str(tmp_path), "--figures", str(tmp_path / "fig")]) == 0


@pytest.mark.parametrize("masks", [{"judged": np.ones((1, 3), bool)}, {"recorded": np.ones((3, N_OBS))}])
def test_masks_that_do_not_fit_are_one_line(tmp_path, masks):
    run = load_run(make_run(tmp_path / "train1"))
    mask(run.folder, **masks)
    with pytest.raises(InputError, match="init_param: .*: expected .* of true and false, got "):
        load_activity(run)


BROKEN = {
    "not JSON": (lambda f: (f / "run.json").write_text("{"), "expected JSON"),
    "a list": (lambda f: (f / "run.json").write_text("[]"), "expected a JSON object, got list"),
    "still running": (lambda f: edit(f, status="running", ended="gone"), "train1: not finished: running"),
    "failed": (lambda f: edit(f, status="failed", ended="in two\n\n  lines"), "failed (in two lines)"),
    "no status": (lambda f: edit(f, status="gone"), "not finished: None"),
    "no numbers": (lambda f: edit(f, X="gone"), "X is missing"),
    "no model": (lambda f: edit(f, model="gone"), "model is missing"),
    "no history": (lambda f: edit(f, history=[]), "a history"),
    "history without losses": (
        lambda f: edit(f, history=[{"EMstep": 0, "E_steps": 0, "M_iterations": 9}]),
        "loss_M is missing",
    ),
    "model of words": (lambda f: edit(f, model={"names": ["E"]}), "expected the record of a training"),
    "model of nothing": (lambda f: edit(f, model=None), "expected the record of a training"),
    "too few numbers": (lambda f: edit(f, X=[1.0]), "X: expected 12 finite numbers, got [1.0]"),
    "words for numbers": (lambda f: edit(f, start=["a"] * 12), "start: expected a finite number, got 'a'"),
    "no loss": (lambda f: edit(f, loss=None), "expected the record of a training"),
    "odd correlation": (lambda f: edit(f, correlation={"fit": [1.0]}), "correlation: expected 3 numbers"),
    "no archive": (lambda f: (f / "minimizor_result_2").unlink(), "minimizor_result_2: cannot be read"),
    "half an archive": (lambda f: (f / "minimizor_result_2").write_bytes(b"PK\3\4half"), "whole NumPy archive"),
    "archive of another run": (
        lambda f: save_arrays(f / "minimizor_result_2", X=np.ones(12)),
        "expected the fitted numbers that stand in run.json",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_and_unfinished_runs_are_skipped(folder, what):
    break_it, words = BROKEN[what]
    break_it(folder / "train1")
    runs, skipped = load_runs(folder)
    assert [run.name for run in runs] == ["train2", "train10"]
    assert len(skipped) == 1 and words in skipped[0] and "train1" in skipped[0] and "\n" not in skipped[0]


def test_skipped_runs_are_reported(folder, capsys):
    edit(folder / "train1", status="running", ended="gone")
    assert summary.main([str(folder)]) == 0
    assert f"skipped: {folder}/train1: not finished: running\n" in capsys.readouterr().out


def test_runs_of_another_circuit_are_not_compared(folder):
    make_run(folder / "train11", circuit=four_populations())
    runs, skipped = load_runs(folder)
    assert len(runs) == 3 and "train11: other parameters than" in skipped[0]


BAD_INPUT = {
    "no folder": (["nowhere"], "expected a folder of trainings, found nothing"),
    "a file": (["file"], "expected a folder of trainings, found a file"),
    "no run": (["empty"], "expected at least one finished training, found none (no run.json in it)"),
    "no finished run": (["unfinished"], "found none; skipped unfinished/train1: not finished: failed (NaN)"),
    "no activity": (["silent"], "E2_est_param: cannot be read"),
    "odd activity": (["odd"], "Z_hist_est: expected (1, 3, 440) like the recorded spikes, got (1, 2, 440)"),
    "no start": (["headless", "--figures", "figs"], "init_param: cannot be read"),
    "broken simulation": (["simulated", "--figures", "figs"], "simulation: expected a NumPy archive"),
    "other simulation": (["simulated2", "--figures", "figs"], "activity, external_input: expected (1, bins)"),
    "negative time": (["good", "--switches", "-1"], "--switches: expected at least 0 s, got -1"),
    "no time": (["good", "--switches", "nan"], "--switches: expected at least 0 s, got nan"),
    "words for a time": (["good", "--switches", "long"], "invalid float value: 'long'"),
    "unknown option": (["good", "--figure", "figs"], "unrecognized arguments: --figure"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("unfinished", "silent", "odd", "headless", "simulated", "simulated2", "good"):
        make_run(tmp_path / name / "train1")
    edit(tmp_path / "unfinished" / "train1", status="failed", ended="NaN")
    (tmp_path / "silent" / "train1" / "E2_est_param").unlink()
    save_arrays(tmp_path / "odd" / "train1" / "E2_est_param", Z_hist_est=np.zeros((1, 2, A + T)))
    (tmp_path / "headless" / "train1" / "init_param").unlink()
    (tmp_path / "simulated" / "simulation").write_bytes(b"nothing")
    odd = {"activity": np.zeros((3, 9)), "spikes": np.zeros((3, 9, 1)), "external_input": np.zeros((3, 9))}
    save_arrays(tmp_path / "simulated2" / "simulation", **odd, dt=0.004, names=np.array(["E"]), run="train1")
    argv, words = BAD_INPUT[what]
    with pytest.raises(SystemExit) as left:
        run_script(lambda: summary.main(argv), "summary")
    said = capsys.readouterr()
    assert left.value.code == 2
    assert words in said.err and said.err.count("\n") == 1 and "Traceback" not in said.err
    assert not list(tmp_path.rglob("*.png"))


def cells(line):
    return [cell for cell in line.split("  ") if cell.strip()]


def test_parameter_table():
    names = ["membrane_rate E1", "coupling E1", "threshold E1"]
    numbers = np.array([50.0, 10.0, 3.7])
    fit = np.array([25.0, 20.0, 3.33])
    lines = parameter_table(names, 1.5 * numbers, fit, 0.4 * numbers, 2.0 * numbers, numbers).splitlines()
    assert lines[0].split() == ["parameter", "unit", "start", "fit", "true", "fit/true", "at", "bound"]
    assert lines[1].split() == ["membrane_rate", "E1", "1/s", "75.00", "25.00", "50.00", "0.50", "-"]
    assert lines[2].split() == ["coupling", "E1", "15.00", "20.00", "10.00", "2.00", "upper"]
    assert lines[3].split() == ["threshold", "E1", "5.550", "3.330", "3.700", "0.90", "-"]
    unknown = parameter_table(names, numbers, fit, 0.4 * numbers, 2.0 * numbers)
    assert "true" not in unknown and len(unknown.splitlines()) == 4


def test_bounds_reached():
    assert bound_reached([1.0, 1.0 + 1e-9, 1.5, 2.0 - 1e-9, 2.0], np.ones(5), np.full(5, 2.0)) == [
        "lower", "lower", "", "upper", "upper",
    ]  # fmt: skip


def test_table_columns_are_aligned():
    assert align([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"


def test_runs_table(folder):
    runs, _ = load_runs(folder)
    outcomes, parameters, notes = runs_table(runs).split("\n\n")
    lines = outcomes.splitlines()
    header = [cell.strip() for cell in cells(lines[0])]
    assert header[:4] == ["run", "loss", "seconds", "EM steps"] and header[-1] == "ended"
    assert "r(E1) 4 ms" in header and "r(I) 20 ms" in header
    assert lines[1].split() == ["(start)"] + 6 * ["0.80"]
    assert [line.split()[0] for line in lines[2:5]] == ["train1", "train2", "train10"]
    assert "*" not in lines[2] and lines[3].startswith("train2 *  -2.8500     31.5")
    rows = parameters.splitlines()
    assert len(rows) == 1 + 12
    assert [cell.strip() for cell in cells(rows[0])] == ["parameter", "unit", "true", "train1", "train2 *", "train10"]
    assert rows[1].count("20.00 <") == 3 and rows[2].count("100.0 >") == 3
    assert "lowest final loss" in notes


def test_runs_table_without_truth(tmp_path):
    make_run(tmp_path / "only", known=False)
    runs, _ = load_runs(tmp_path)
    table = runs_table(runs)
    assert "r(" not in table and "true" not in table and "switches" not in table and "only *" in table


def test_losses_that_agree_have_numbers_that_can_be_read(folder):
    for name, loss in (("train1", 0.35085), ("train2", 0.3507), ("train10", 0.35084)):
        edit(folder / name, loss=loss)
    figure = losses_figure(load_runs(folder)[0])
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) >= 2 and all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:], strict=False))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("number", [1, 3])
def test_summary_figure(tmp_path, known, number):
    for i in range(1, number + 1):
        make_run(tmp_path / f"train{i}", loss=-2.0 - i, seed=i, circuit=four_populations(), known=known)
    runs, _ = load_runs(tmp_path)
    best = best_run(runs)
    figure = summary_figure(runs, load_activity(best), "title")
    losses, history, parameters, *activity = figure.axes
    colours = population_colours(best.model.names)
    assert [line.get_xdata()[0] for line in losses.lines if line.get_marker() == "*"] == [best.loss]
    assert losses.get_title(loc="left") == f"Final loss; {best.name} has the lowest final loss"
    assert len(losses.lines) == len(history.lines) == number
    np.testing.assert_array_equal(max(history.lines, key=lambda line: line.get_linewidth()).get_ydata(), best.losses)
    assert len(parameters.patches) == 16
    labels = [label.get_text() for label in parameters.get_xticklabels()]
    assert labels[:5] == [rf"$\alpha$ {name}" for name in best.model.names] + ["$|J|$ I1"]
    stars = [line for line in parameters.lines if line.get_marker() == "*"]
    assert [to_hex(star.get_color()) for star in stars] == 4 * list(colours.values())
    scaled = best.X / best.true if known else (best.X - best.lower) / (best.upper - best.lower)
    np.testing.assert_allclose([star.get_ydata()[0] for star in stars], scaled, rtol=1e-12)
    others = [line for line in parameters.lines if line.get_marker() == "o"]
    assert len(others) == 16 * (number - 1)
    for ax, (name, colour) in zip(activity, colours.items(), strict=True):
        assert ax.get_ylabel() == f"{name} (Hz)"
        assert colour in [to_hex(line.get_color()) for line in ax.lines]
        assert len(ax.lines) == (3 if known else 1)
    save_figure(tmp_path / "summary.png", figure)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(texts) == len(set(texts)) == (3 if known else 1)
    inside = [text.get_text() for text in parameters.get_legend().get_texts()]
    assert len(inside) == len(set(inside))


def test_several_trials_show_the_first(tmp_path):
    run = load_run(make_run(tmp_path / "train1", trials=2))
    assert summary.main([str(tmp_path)]) == 0
    figure = summary_figure([run], load_activity(run), "title")
    assert "inferred by train1, trial 1 of 2: " in figure.axes[3].get_title(loc="left")
    assert load_activity(run, trial=1).trial == 1


def test_history_leaves_out_a_loss_of_the_spikes_alone(tmp_path):
    for name, objective in (("train1", "innovations"), ("train2", "joint")):
        edit(make_run(tmp_path / name), settings={"e_objective": objective})
    run, other = load_runs(tmp_path)[0]
    np.testing.assert_array_equal(run.history, [np.nan, *run.losses[1:]])
    figure = summary_figure([run], load_activity(run), "title")
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), run.history)
    np.testing.assert_array_equal(other.history, other.losses)


def test_figures_of_the_readme_come_from_one_command(folder, tmp_path, capsys):
    into = tmp_path / "new" / "fig"
    assert summary.main([str(folder), "--figures", str(into)]) == 0
    assert sorted(path.name for path in into.iterdir()) == ["inferred_Z.png", "init_Z.png", "llh_eq.png"]
    save_arrays(
        folder / "simulation",
        activity=np.full((3, 500), 0.04),
        spikes=np.zeros((3, 500, 1)),
        external_input=np.zeros((3, 500)),
        dt=0.004,
        names=np.array(["E1", "E2", "I"]),
        run="train2",
    )
    assert summary.main([str(folder), "--figures", str(into)]) == 0
    assert (into / "sim_Z.png").stat().st_size > 1000 and (folder / "summary.png").stat().st_size > 1000
    assert "sim_Z.png" in capsys.readouterr().out


def test_switches_are_counted_in_a_free_simulation(folder, monkeypatch, capsys):
    def simulate(parameters, model, n_bins, seed, *, initial_rate):
        assert n_bins == 5000 and seed == 3 and initial_rate.shape == (3,)
        first = np.arange(n_bins) % 2000 < 1000
        return 0.004 * np.stack([np.where(first, 20.0, 5.0), np.where(first, 5.0, 20.0), np.full(n_bins, 25.0)]), None

    monkeypatch.setitem(sys.modules, "src.LIFmesoCell", SimpleNamespace(simulate=simulate))
    assert summary.main([str(folder), "--switches", "20", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.split("switches in 100 s")[1].splitlines()
    assert lines[0].split() == ["inferred", "simulated", "winner/loser"]
    assert lines[1].startswith("(true)") and len(lines[1].split("[")) == 2
    for line, name in zip(lines[2:5], ("train1", "train2", "train10"), strict=True):
        # 4 switches in 20 s; the exact interval of a Poisson count of 4 is 1.09 to 10.24
        assert line.startswith(name) and line.count("20 [5.4, 51]") == 1 and "(19." not in line and "/5." in line


def test_switches_of_the_inferred_activity_need_no_simulation(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "src.LIFmesoCell", None)
    assert summary.main([str(folder)]) == 0
    said = capsys.readouterr().out.split("switches in 100 s")[1].splitlines()
    assert said[0].split() == ["inferred"] and len(said) > 5
