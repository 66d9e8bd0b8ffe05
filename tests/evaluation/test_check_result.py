"""What a check says: findings and warnings, tables, its file, its figure, and the command that makes it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from src.evaluation import check_command, check_fit
from src.evaluation.check_command import main
from src.evaluation.check_findings import check_findings, check_lines, check_table, check_warnings, statistic_rows
from src.evaluation.check_fit import Example
from src.evaluation.check_result import CHECK, FIGURE, Checked, FitCheck, load_check, save_check
from src.evaluation.figure_check import check_figure
from src.report.cautions import cautions
from src.report.check import check_section
from src.report.page import Picture, Table, Text
from src.report.report import sections_of
from src.report.summary import main as sum_up
from src.runs.load import load_runs
from src.runs.record import Finding
from src.statistics.recorded import KINDS
from src.utils.exceptions import InputError
from tests.fake_runs import make_run
from tests.training import argv
from train_meso import main as train


def one(kind="rate", about=("E1",), recording=15.0, mean=14.0, low=8.0, high=20.0):
    return Checked(kind, about, not low <= recording <= high, recording, mean, mean, mean - 1, mean + 1, low, high)


def check_of(*statistics, p=0.4):
    return FitCheck(p, 299, 1, 10.0, 10.0, statistics)


FINE = check_of(one(), one("cross", ("E1", "E2"), 0.0, 0.1, -0.3, 0.4))
WRONG = check_of(
    one("rate", ("I",), 5.0, 121.0, 90.0, 130.0),
    one("rate", ("E1",), 6.0, 13.0, 5.0, 20.0),
    one("rate", ("E2",), 25.0, 15.0, 8.0, 20.0),
    one("variation", ("I",), 1.2, 0.3, 0.2, 0.4),
    p=0.0033,
)


def test_a_fit_that_passes_has_no_warnings():
    assert check_findings(FINE) == [] and check_warnings(FINE) == []
    assert check_lines(FINE) == [
        "Check against 299 free simulations of 10 s: p = 0.4; none of 2 statistics of the recording outside.",
        "Rates (Hz), recorded and simulated: E1 15, 14 [8, 20].",
    ]


def test_rates_off_by_two_are_told_from_those_that_scatter():
    found = check_findings(WRONG)
    assert [(each.kind, each.subject) for each in found] == [
        ("rate_off", "I"),
        ("rate_scatters", "E1"),
        ("outside_simulations", "CV of intervals of I"),
        ("outside_simulations", "rate of E2"),
    ]
    assert check_warnings(WRONG) == [
        "I fires at 121 Hz when the fitted circuit runs freely, and at 5 Hz in the recording: more than a factor of "
        "two.",
        "E1 fires at 13 Hz in the mean of free simulations, and at 6 Hz in the recording: more than a factor of two. "
        "Simulations as short as the recording scatter that much, from 5 to 20 Hz.",
        "The recording lies outside 99% of free simulations of the fit, as long as it is: CV of intervals of I (1.2, "
        "simulated 0.2 to 0.4), rate of E2 (25, simulated 8 to 20).",
    ]


def test_a_circuit_that_explodes_in_some_simulations_is_not_called_chance():
    explodes = one("rate", ("P",), 5.4, 27.6, 5.2, 120.0)
    assert check_warnings(check_of(explodes)) == [
        "P fires at 5.4 Hz in the recording, and at 27.6 Hz in the mean of free simulations, with an interval up to "
        "120 Hz: the fitted circuit has a state that was not recorded."
    ]
    assert [each.kind for each in check_findings(check_of(replace(explodes, high=53.0)))] == ["rate_scatters"]
    assert [each.kind for each in check_findings(check_of(replace(explodes, outside=True)))] == ["rate_off"]


def test_only_the_farthest_are_named():
    many = [one("variation", (f"P{k}",), 1.0 + k, 0.3, 0.2, 0.4) for k in range(9)]
    (line,) = check_warnings(check_of(*many, p=0.003))
    assert "as it is: CV of intervals of P8 (9," in line and line.endswith(", and 5 more.") and "P4" not in line


def test_a_silent_population_is_off():
    assert [each.kind for each in check_findings(check_of(one("rate", ("I",), 0.0, 3.0, 1.0, 5.0)))] == ["rate_off"]
    assert check_findings(check_of(one("rate", ("I",), 0.0, 0.0, 0.0, 0.0))) == []


def test_part_of_a_recording_is_called_so():
    assert "of 60 s of 3600 s: p" in check_lines(replace(FINE, seconds=60.0, of_seconds=3600.0))[0]


def test_places_are_those_of_the_interval():
    here = one(mean=10.0, low=8.0, high=20.0)
    assert [here.place(x) for x in (10, 8, 20, 4, 15)] == [0, -1, 1, -3, 0.5]
    assert one(mean=0.0, low=0.0, high=0.0).place(0.1) == np.inf
    assert one(mean=0.0, low=-np.inf, high=np.inf).place(3.0) == 0


def test_table_of_all_runs():
    lines = check_table({"train1": FINE, "train2": WRONG}).splitlines()
    assert lines[1].split() == ["(recording)", "6", "5", "25"]
    assert lines[2].split() == ["train1", "14", "[8,", "20]", "-", "-", "0.4", "0", "of", "2"]
    assert "121 [90, 130]!" in lines[3] and lines[3].endswith("0.0033   3 of 4")
    assert lines[5].startswith("train2: I fires at 121 Hz")


def test_all_statistics_have_words():
    about = {"cross": ("A", "B")}
    everything = check_of(*(one(kind, about.get(kind, ("A",))) for kind in KINDS))
    assert len({row[0] for row in statistic_rows(everything)}) == len(KINDS) + 1


# --- its file ---------------------------------------------------------------------------------------------------------


def test_a_check_is_read_back_as_it_was(tmp_path):
    assert load_check(tmp_path) is None
    endless = check_of(one(low=-np.inf, high=np.inf), one("refractory", ("I",), 0.0, 0.0, 0.0, 0.0))
    save_check(tmp_path, endless)
    assert load_check(tmp_path) == endless


def test_bins_that_are_too_coarse_are_a_warning_that_is_kept(tmp_path):
    numbers = {"rate": 6.18, "finer": 3.9, "dt": 4.0, "finer_dt": 1.0}
    check = replace(FINE, coarse_bins=(Finding("coarse_bins", "E1", numbers),))
    save_check(tmp_path, check)
    assert load_check(tmp_path) == check
    assert check_warnings(check) == [
        "E1 fires at 6.18 Hz in bins of 4 ms, and the same circuit at 3.9 Hz in bins of 1 ms: the bins are too coarse "
        "for it. A fit with a smaller --dt can give other numbers."
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(coarse_bins=[{"kind": "volleys"}]), "missing"),
        (lambda content: content.update(coarse_bins=[{"kind": "weather", "subject": "", "numbers": {}}]), "weather"),
        (
            lambda content: content.update(coarse_bins=[{"kind": "volleys", "subject": "", "numbers": []}]),
            "share is missing",
        ),
        (lambda content: content.pop("p"), "p is missing"),
        (lambda content: content["statistics"][0].update(kind="weather"), "kind: expected a statistic of this version"),
        (lambda content: content["statistics"][0].update(mean=None), "is no finite number"),
        (lambda content: content["statistics"][0].update(mean=True), "is no finite number"),
        (lambda content: content.update(statistics=3), "statistics: expected a list, got 3"),
    ],
)
def test_a_broken_file_is_named(tmp_path, change, said):
    save_check(tmp_path, FINE)
    content = json.loads((tmp_path / CHECK).read_text())
    change(content)
    (tmp_path / CHECK).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"check.json: expected the check of a fit, but.*{said}"):
        load_check(tmp_path)


# --- figure, report, summary, command ---------------------------------------------------------------------------------


def test_the_figure_shows_recording_simulation_and_every_statistic():
    rng = np.random.default_rng(0)
    recording, simulation = rng.random((2, 3, 500, 2)) < 0.05
    watched = np.ones((3, 500, 2), bool)
    watched[2] = False  # a population without recorded neurons
    check = check_of(*WRONG.statistics, one("cross", ("E1", "E2"), 0.0, 0.1, -0.3, 0.4))
    figure = check_figure(check, Example(recording, simulation, watched), ("E1", "E2", "I"), 0.004)
    top, *below = figure.subfigs
    assert [ax.get_title("left") for ax in top.axes[:2]] == ["recording", "free simulation of the fit"]
    fired = [sum(len(part.get_segments()) for part in ax.collections) for ax in top.axes[:2]]
    assert fired == [recording[:2].sum(), simulation[:2].sum()]
    panels = {ax.get_title("left"): ax for part in below for ax in part.axes if ax.axison}
    assert list(panels) == ["I", "E1", "E2", "together"]
    rows = [label.get_text() for label in panels["I"].get_yticklabels()]
    assert rows == ["rate", "CV of intervals"]
    dots = [line for line in panels["I"].lines if line.get_marker() in ("o", "<", ">")]
    assert [dot.get_marker() for dot in dots] == ["<", ">"] and {dot.get_color() for dot in dots} == {"#d1242f"}
    assert "3 of 5 statistics of the recording outside" in figure.get_suptitle()


def test_nothing_to_draw_is_drawn():
    silent = np.zeros((1, 50, 0), bool)
    check_figure(check_of(), Example(silent, silent, silent), ("A",), 0.004)


@pytest.fixture
def folder(tmp_path):
    make_run(tmp_path / "train1", loss=-2.8)
    make_run(tmp_path / "train2", loss=-2.9, seed=1)
    return tmp_path


def test_the_report_opens_with_the_warnings_of_the_best_run(folder):
    save_check(folder / "train1", WRONG)
    save_check(folder / "train2", FINE)
    runs, _ = load_runs(folder)
    assert not any("free" in line for line in cautions(runs))
    save_check(folder / "train2", WRONG)
    warnings = sections_of(folder)[0].parts[0].lines
    assert warnings[0] == f"train2: {check_warnings(WRONG)[0]}"


def test_the_report_has_a_section(folder):
    runs, _ = load_runs(folder)
    (missing,) = check_section(runs).parts
    assert isinstance(missing, Text) and f"python -m src.check {folder / 'train2'}" in missing.words
    save_check(folder / "train1", FINE)
    save_check(folder / "train2", WRONG)
    (folder / "train2" / FIGURE).write_bytes(b"\x89PNG\r\n\x1a\n...")
    parts = check_section(runs).parts
    assert [type(part).__name__ for part in parts] == ["Text", "Lines", "Picture", "Table", "Table"]
    assert isinstance(parts[2], Picture) and isinstance(parts[3], Table)
    assert [row[0] for row in parts[3].rows] == ["free rates (Hz)", "(recording)", "train1", "train2"]


def test_the_summary_prints_the_rates_of_checked_runs(folder, capsys):
    sum_up([str(folder)])
    assert "free rates" not in capsys.readouterr().out
    save_check(folder / "train1", WRONG)
    sum_up([str(folder)])
    said = capsys.readouterr().out
    assert "free rates (Hz)" in said and "train1: I fires at 121 Hz when the fitted circuit runs freely" in said


def test_the_command_checks_a_finished_run(folder, monkeypatch, capsys):
    monkeypatch.setattr(check_fit, "SIMULATIONS", {True: 99, False: 99})
    main([str(folder / "train1")])
    said = capsys.readouterr().out
    check = load_check(folder / "train1")
    assert check is not None and check.simulations == 99 and (folder / "train1" / FIGURE).exists()
    assert f"p = {check.p:.2g}" in said and "statistic " in said and f"written: {folder / 'train1' / CHECK}" in said
    with pytest.raises(InputError, match="run.json: cannot be read"):
        check_command.main([str(folder / "train9")])


def copies(parameters, model, recording, n_copies, seed):
    """Stand for free simulations: the spikes of the recording, each bin shifted by another number."""
    for k in range(n_copies):
        yield np.roll(recording.observed_spikes[:, :, model.window_bins :] > 0, k, axis=2)


def test_a_training_is_checked_unless_it_asks_for_no_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_fit, "SIMULATIONS", {True: 99, False: 99})
    monkeypatch.setattr(check_fit, "simulate_recording", copies)  # the published scheme takes its time
    train([word for word in argv(tmp_path / "one") if word != "--no_check"])
    run = next((tmp_path / "one").glob("data*/train*"))
    assert "Check against 99 free simulations of 0.5 s: p = " in capsys.readouterr().out
    assert load_check(run) is not None and (run / FIGURE).exists()
    train([*argv(tmp_path / "one"), "--overwrite"])
    assert load_check(run) is None and not (run / FIGURE).exists()  # it was that of the fit before
    assert "Check against" not in capsys.readouterr().out
