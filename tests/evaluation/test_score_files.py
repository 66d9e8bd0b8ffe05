"""Held-out scores are read back from their files, and stand in the table of runs and in the report."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from src.evaluation import co_smoothing
from src.evaluation.duels import verdicts
from src.evaluation.figure_heldout import heldout_figure
from src.evaluation.score_files import bits_of_all, load_heldout, of_best
from src.plots.style import population_colours
from src.report import report, summary
from src.report.cautions import cautions
from src.report.heldout import heldout_section
from src.runs.load import load_run, load_runs
from src.utils.exceptions import InputError
from src.utils.files import save_json
from src.utils.settings import run_script
from tests.fake_runs import edit, make_run, write_scores
from tests.report.test_report import written

UNITS = {
    "from the others": [0.05, 0.07, 0.2, 0.3, -0.03, 0.01],
    "with own past": [0.9, 0.7, 0.8, 0.6, 1.2, 1.3],
}
RIVALS = {
    "from the others": {
        "smoothed mean": [0.04, 0.08, 0.19, 0.3, -0.01, 0.0],
        "2 states": [0.08, 0.11, 0.23, 0.33, -0.01, 0.04],
    },
    "with own past": {"own history": [0.5, 0.3, 0.4, 0.2, 0.8, 0.9]},
}
TIME = {
    "forecast": [0.01, -0.02, 0.03, -0.04, 0.0, -0.01],
    "filtered rate": [0.05, -0.07, 0.1, 0.2, 0.01, 0.03],
    "filtered": [0.5, 0.4, 0.3, 0.2, 1.0, 1.1],
}


@pytest.fixture
def folder(tmp_path):
    """Three runs without scores, the second the best."""
    for i, loss in ((1, -2.80), (2, -2.85), (3, -2.75)):
        make_run(tmp_path / f"train{i}", loss=loss, seed=i)
    return tmp_path


@pytest.fixture
def scored(folder):
    """The worse two have scores of units, the worst of time as well."""
    write_scores(folder / "train1", UNITS, parameters="of the run, which was fitted to all units")
    write_scores(folder / "train3", {name: np.array(bits) - 0.5 for name, bits in UNITS.items()})
    write_scores(folder / "train3", TIME, what="heldout_time", parameters="fitted to what comes before")
    return folder


# --- files ----------------------------------------------------------------------------------------------------------


def test_what_the_command_writes_is_read(folder, monkeypatch, capsys):
    rates = np.array([0.08, 0.03, 0.06])[:, None]
    monkeypatch.setattr(
        co_smoothing, "infer", lambda X, recording, *_: (rates + 0 * recording.external_input, recording)
    )
    co_smoothing.main(None, [str(folder / "train1"), "--folds", "2"])
    found = load_heldout(load_run(folder / "train1"))["units"]
    content = json.loads((folder / "train1" / "heldout.json").read_text())
    assert found.predictions == ("from the others", "with own past") and found.parameters == co_smoothing.OF_THE_RUN
    assert [one.unit for one in found.units] == ["E1.0", "E1.1", "E2.0", "E2.1", "I.0", "I.1"]
    assert [one.population for one in found.populations] == ["E1", "E2", "I"]
    assert found.all_units.unit == "all 6" and found.all_units.spikes == sum(one.spikes for one in found.units)
    for one, there in zip((*found.units, *found.populations), content["units"] + content["together"], strict=False):
        assert list(one.bits.values()) == [
            there[f"bits_per_spike_{key}"] for key in ("from_the_others", "with_own_past")
        ]
    said = capsys.readouterr().out
    assert f"{found.all_units.bits['from the others']:+.3f}" in said
    assert {which: list(each) for which, each in found.all_units.rivals.items()} == {
        "from the others": ["smoothed mean", "2 states", "3 states"],
        "with own past": ["own history", "2 states, history", "3 states, history"],
    }
    for one, there in zip((*found.units, *found.populations), content["units"] + content["together"], strict=False):
        for which, each in one.rivals.items():
            for name, bits in each.items():
                key = f"{which.replace(' ', '_')}: {name}"
                assert bits == there[f"rival_bits_per_spike_{key}"]
                nats = there[f"rival_ln_p_{key}"] - there["ln_p_constant"]
                assert bits == pytest.approx(nats / one.spikes / np.log(2))
                assert f"{bits:+.3f}" in said or one in found.units
    assert verdicts(found.units, found.all_units)[0] in said


def test_units_without_spikes_have_no_bits(folder):
    write_scores(folder / "train1", UNITS, spikes=0)
    found = load_heldout(load_run(folder / "train1"))["units"]
    assert np.isnan(found.units[0].bits["from the others"]) and np.isnan(found.all_units.bits["with own past"])
    runs, _ = load_runs(folder)
    assert said(folder) == []
    assert heldout_section(runs).parts[2].rows[-1] == ["all 6", "", "0", "0.00", "-", "-"]


def test_best_of_the_runs_that_have_scores(scored):
    runs, _ = load_runs(scored)
    assert {what: run.name for what, (run, _) in of_best(runs).items()} == {"units": "train1", "time": "train3"}
    assert list(bits_of_all(runs)) == ["train1", "train3"]
    assert bits_of_all(runs)["train3"]["filtered"] == pytest.approx(np.mean(TIME["filtered"]))


def changed(**changes):
    """Change entries of the file; ``units__0__rate`` is the rate of its first unit."""

    def change(path):
        content = json.loads(path.read_text())
        for key, value in changes.items():
            place, *way = content, *key.split("__")
            while len(way) > 1:
                step = way.pop(0)
                place = place[int(step)] if isinstance(place, list) else place[step]
            if value == "gone":
                del place[way[0]]
            else:
                place[way[0]] = value
        save_json(path, content)

    return change


def old(path):
    """Date the file to before the fit, which took 31.5 s."""
    fitted = (path.parent / "minimizor_result_2").stat().st_mtime
    os.utime(path, (fitted - 40, fitted - 40))


BROKEN = {
    "not JSON": (lambda path: path.write_text("{"), "expected JSON, but"),
    "too deep": (lambda path: path.write_text("[" * 100_000), "expected JSON, but maximum recursion depth"),
    "a list": (lambda path: path.write_text("[]"), "expected a JSON object, got list"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    "empty": (lambda path: path.write_text("{}"), "expected held-out scores, but together is missing"),
    "no units": (changed(units="gone"), "expected held-out scores, but units is missing"),
    "no unit": (changed(units=[]), "expected units that all have the same bits_per_spike_..., got others"),
    "units of words": (changed(units="all"), "expected held-out scores, but"),
    "no sums": (changed(together=[]), "expected held-out scores, but"),
    "no sum of a population": (
        lambda path: changed(together=json.loads(path.read_text())["together"][1:])(path),
        "and a sum of each, got units of E1, E2, I and sums of E2, I",
    ),
    "no parameters": (changed(parameters=None), "but None is no text"),
    "words for bits": (changed(units__1__bits_per_spike_from_the_others="many"), "but 'many' is no finite number"),
    "true for bits": (changed(units__1__bits_per_spike_from_the_others=True), "but True is no finite number"),
    "endless bits": (
        lambda path: path.write_text(path.read_text().replace('"spikes": 100', '"spikes": Infinity')),
        "inf is no finite",
    ),
    "huge rate": (changed(units__0__rate=10**400), "expected held-out scores, but"),
    "no spikes": (changed(units__2__spikes="gone"), "expected held-out scores, but spikes is missing"),
    "a prediction less": (
        changed(units__0__bits_per_spike_from_the_others="gone"),
        "expected units that all have the same bits_per_spike_..., got others",
    ),
    "units of another circuit": (
        changed(units__0__population="L4e"),
        "expected units of E1, E2, I, the populations of its run, and a sum of each, got units of L4e, E1, E2, I and",
    ),
    "of an earlier fit": (old, "expected scores of the fit beside it, got a file that is older than that"),
}


@pytest.mark.parametrize("name", ["heldout", "heldout_time"])
@pytest.mark.parametrize("what", BROKEN)
def test_broken_scores_are_one_line_and_nothing_is_written(folder, capsys, what, name):
    write_scores(folder / "train1", UNITS, what=name)
    path = folder / "train1" / f"{name}.json"
    break_it, words = BROKEN[what]
    break_it(path)
    for script, main in (("report", report.main), ("summary", summary.main)):
        with pytest.raises(SystemExit) as left:
            run_script(lambda main=main: main([str(folder)]), script)
        said = capsys.readouterr().err
        assert left.value.code == 2 and said.count("\n") == 1
        assert said.startswith(f"{script}: error: {path}: ") and words in said
    assert not list(folder.rglob("*.html")) and not list(folder.rglob("*.png"))


def test_scores_of_a_copied_folder_are_not_taken_for_old(folder):
    write_scores(folder / "train1", UNITS)
    path = folder / "train1" / "heldout.json"
    fitted = (path.parent / "minimizor_result_2").stat().st_mtime
    os.utime(path, (fitted - 20, fitted - 20))
    assert load_heldout(load_run(folder / "train1"))
    edit(folder / "train1", seconds=10.0)
    with pytest.raises(InputError, match="older"):
        load_heldout(load_run(folder / "train1"))


def test_old_files_have_no_rivals(scored):
    found = load_heldout(load_run(scored / "train1"))["units"]
    assert found.all_units.rivals == {} and found.units[0].rivals == {}
    tables = [part for part in heldout_section(load_runs(scored)[0]).parts if part.kind == "table"]
    assert not any("simple models" in table.caption for table in tables)


@pytest.mark.parametrize("value", ["gone", "many"])
def test_rivals_of_some_units_only_or_of_words_are_refused(folder, value):
    write_scores(folder / "train1", UNITS, rivals=RIVALS)
    key = "rival_bits_per_spike_from_the_others: 2 states"
    changed(**{f"units__1__{key}": value})(folder / "train1" / "heldout.json")
    words = "expected units that all have the same rival_bits" if value == "gone" else "'many' is no finite number"
    with pytest.raises(InputError, match=words):
        load_heldout(load_run(folder / "train1"))


# --- table of runs ----------------------------------------------------------------------------------------------------


def outcomes(folder, capsys):
    assert summary.main([str(folder)]) == 0
    return capsys.readouterr().out.split("\n\n")[0].splitlines()


def test_table_has_columns_where_runs_have_scores(scored, capsys):
    lines = outcomes(scored, capsys)
    predictions = "from the others  with own past  forecast  filtered rate  filtered"
    assert predictions in lines[0] and lines[0].endswith("ended")
    numbers = {line.split()[0]: [word for word in line.split() if word[0] in "+-"] for line in lines[2:5]}
    assert numbers["train1"] == ["-2.8000", "+0.100", "+0.917", "-", "-", "-"]
    assert numbers["train2"] == ["-2.8500", *5 * ["-"]]
    assert numbers["train3"] == ["-2.7500", "-0.400", "+0.417", "-0.005", "+0.053", "+0.583"]
    ends = {line.rindex("the E-step brought") for line in lines[2:5]}
    assert len(ends) == 1 and lines[1].startswith("(start)")
    assert lines[-1].startswith("from the others, with own past, forecast, filtered rate, filtered: held-out bits per")


def test_table_without_scores_is_as_ever(folder, capsys):
    before = outcomes(folder, capsys)
    assert before[0].split() == (
        "run loss seconds EM steps r(E1) 4 ms r(E2) 4 ms r(I) 4 ms r(E1) 20 ms r(E2) 20 ms r(I) 20 ms ended".split()
    )
    assert len(before) == 6 and before[-1].startswith("r: correlation")


# --- report -----------------------------------------------------------------------------------------------------------


def test_report_without_scores_says_how_to_get_them(folder):
    page = written(folder)
    assert f"python -m src.heldout {folder}/train2" in " ".join(page.text)
    assert not any("bits" in cell for table in page.tables for cell in table[0])


def test_report_shows_scores(scored):
    page = written(scored)
    titles = [section["id"] for section in page.all("section")]
    assert titles[titles.index("heldout") + 1] == "runs"
    units, time = page.table("unit", "from the others"), page.table("unit", "forecast")
    assert list(units) == ["E1.0", "E1.1", "E2.0", "E2.1", "I.0", "I.1", "all 2", "all 6"]
    row = units["I.0"]
    assert [row[key] for key in ("population", "spikes", "rate (Hz)", "from the others", "with own past")] == [
        "I", "100", "62.50", "-0.030", "+1.200",
    ]  # fmt: skip
    assert time["all 6"]["forecast"] == "-0.005" and time["E2.1"]["filtered"] == "+0.200"
    words = " ".join(page.text)
    assert "(ln p(spikes | model) − ln p(spikes | constant rate)) / (number of spikes · ln 2)" in words
    assert "Parameters: of the run, which was fitted to all units." in words
    assert "Parameters: fitted to what comes before." in words
    runs = page.table("run", "from the others")
    assert list(runs) == ["train1", "train2 *", "train3"]
    assert runs["train3"]["from the others"] == "-0.400" and runs["train2 *"]["forecast"] == "-"
    pictures = [picture["alt"] for picture in page.all("img")]
    assert "Units left out of the inference, train1: bits per spike of every unit." in pictures
    assert "The last part of the recording, kept out of the fit, train3: bits per spike of every unit." in pictures


def test_report_and_figure_have_room_for_the_names_of_units(folder):
    write_scores(folder / "train1", UNITS)
    path, long = folder / "train1" / "heldout.json", [f"{k}: {'a long name ' * 9}" for k in range(5)]
    content = json.loads(path.read_text())
    for one, name in zip(content["units"], ["<17>", *long], strict=True):
        one["unit"] = name
    save_json(path, content)
    shown = ["<17>", *(f"{name[:14]}...{name.strip()[-13:]}" for name in long)]
    assert list(written(folder).table("unit", "from the others"))[:6] == shown
    axes = heldout_figure(load_heldout(load_run(folder / "train1"))["units"], ("E1", "E2", "I")).axes
    assert [(label.get_text(), label.get_rotation()) for label in axes[-1].get_xticklabels()] == [
        (name, 90) for name in shown
    ]


LOST = "two-state hidden Markov model predicts these units better: 0.130 against 0.100 bits per spike"


def test_report_and_summary_show_rivals_and_who_is_beaten(folder, capsys):
    write_scores(folder / "train2", UNITS, rivals=RIVALS)
    page = written(folder)
    (header, *rows) = next(table for table in page.tables if "fit ahead by" in table[0])
    table = {tuple(row[:2]): dict(zip(header, row, strict=True)) for row in rows}
    shared, past = "from the others", "with own past"
    assert list(table) == [
        (shared, "the fit"), (shared, "smoothed mean"), (shared, "2 states"), (past, "the fit"), (past, "own history"),
    ]  # fmt: skip
    row = table[shared, "2 states"]
    assert [row[key] for key in ("E1", "I", "all units", "fit ahead by")] == ["+0.095", "+0.015", "+0.130", "-0.030"]
    assert LOST in " ".join(page.text) and "the fit is better than its rivals" in " ".join(page.text)
    (line,) = [line for line in cautions(load_runs(folder)[0]) if "hidden Markov" in line]
    assert line.startswith(f"From the others: a {LOST}") and line.endswith(" (train2 (the best)).")
    summary.main([str(folder)])
    said = capsys.readouterr().out
    assert f"train2: from the others: a {LOST}" in said and "train2: with own past: the fit is better than" in said


def test_one_scored_run_alone_has_no_table_of_runs(folder):
    write_scores(folder / "train1", UNITS)
    parts = heldout_section(load_runs(folder)[0]).parts
    assert [part.rows[0][0] for part in parts if part.kind == "table"] == ["unit"]


def test_figure_has_a_bar_for_every_unit_and_a_line_for_every_population(scored):
    run = load_run(scored / "train1")
    figure = heldout_figure(load_heldout(run)["units"], run.model.names)
    colours = population_colours(run.model.names)
    for ax, (which, bits) in zip(figure.axes, UNITS.items(), strict=True):
        assert ax.get_title(loc="left") == which
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], bits, atol=1e-12)
        levels = [line.get_ydata()[0] for line in ax.lines]
        np.testing.assert_allclose(levels, [*np.reshape(bits, (3, 2)).mean(axis=1), 0], atol=1e-12)
        assert [list(line.get_xdata()) for line in ax.lines[:3]] == [[-0.45, 1.45], [1.55, 3.45], [3.55, 5.45]]
        assert ax.patches[2].get_facecolor()[:3] == pytest.approx(
            tuple(int(colours["E2"][k : k + 2], 16) / 255 for k in (1, 3, 5))
        )
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == [
        "E1.0", "E1.1", "E2.0", "E2.1", "I.0", "I.1",
    ]  # fmt: skip


def test_figure_of_many_units_names_populations(folder):
    write_scores(folder / "train1", UNITS)
    found = load_heldout(load_run(folder / "train1"))["units"]
    many = replace(found, units=tuple(one for one in found.units for _ in range(8)))
    axes = heldout_figure(many, ("E1", "E2", "I")).axes
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == ["E1", "E2", "I"]
    assert list(axes[-1].get_xticks()) == [7.5, 23.5, 39.5]


# --- warnings ---------------------------------------------------------------------------------------------------------


def said(folder):
    words = ("The other units say", "Earlier spikes say", "Forecast")
    return [line for line in cautions(load_runs(folder)[0]) if line.startswith(words)]


def test_populations_that_are_not_predicted_are_named(scored):
    assert said(scored) == [
        "The other units say nothing about I: left out, its units are predicted no better than by their mean rates: "
        "-0.010 bits per spike, train1.",
        "Earlier spikes say nothing about E1: in the time kept out of the fit, its units are predicted "
        "no better than by their mean rates: -0.010 bits per spike, train3.",
        "Forecast: the fit is worse than a constant rate by 0.005 bits per spike (train3).",
    ]


def test_good_predictions_are_no_reason_to_warn(folder):
    write_scores(folder / "train2", {name: np.abs(bits) + 0.01 for name, bits in (UNITS | TIME).items()})
    assert said(folder) == []
    write_scores(folder / "train2", {"from the others": [0.1, -0.2, 0.1, -0.1, 1, 1]})
    assert [line.split(":")[0].split()[-1] for line in said(folder)] == ["E1", "E2"]
    assert said(folder)[1].endswith("rates: +0.000 bits per spike, train2 (the best).")
