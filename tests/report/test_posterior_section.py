"""What report and summary say of a posterior that lies in the folder of runs, and of one that is broken."""

import json

import numpy as np
import pytest

from src.posterior.activity import ActivityBands, save_bands
from src.posterior.predictive import Predictive, save_predictive
from src.posterior.result import save_posterior
from src.posterior.summary import describe_posterior, load_outcome, outcome_as_dict
from src.report import report, summary
from src.utils.settings import run_script
from tests.fake_runs import make_run
from tests.report.test_report import written
from tests.ridge_posterior import on_ridge


def write_posterior(folder, all_of_it=True):
    posterior = on_ridge(about={"noise": 2.5})
    there = folder / "posterior"
    if all_of_it:
        rng, mean = np.random.default_rng(0), np.full((1, 3, 100), 0.08, np.float32)
        switching = (np.full(20, 10.0), np.full(20, 19.0), np.full(20, 6.0), rng.exponential(5, 9))
        rates = rng.normal(15, 1, (20, 3))
        known = Predictive(np.arange(20), 100.0, rates, *switching, rates.repeat(5, axis=0), np.array([15.0, 15, 30]))
        save_bands(there, ActivityBands(mean, 0 * mean, 2 * mean, mean, mean, np.arange(3)))
        save_predictive(there, known)
    save_posterior(there, posterior)
    return posterior


@pytest.fixture
def folder(tmp_path):
    for i in (1, 2):
        make_run(tmp_path / f"train{i}", seed=i)
    return tmp_path


def test_report_has_a_section_with_warnings_first(folder):
    write_posterior(folder)
    page = written(folder)
    assert [a["id"] for a in page.all("section")][:4] == ["warnings", "check", "posterior", "parameters"]
    said = [
        line for line in page.lines if line.startswith(("The prior decides", "The estimate of ln p", "No switching"))
    ]
    assert said[0] == (
        "The estimate of ln p(spikes) has a standard deviation of 2.5 nats, more than 2: walkers stick where it came "
        "out too high. More filter particles make it smaller."
    )
    assert any(line.startswith("The prior decides coupling of I: with uniform priors") for line in said)
    assert any(line.startswith("The recorded neurons of I fire at 30 Hz, outside") for line in page.lines)
    table = page.table("parameter", "median")
    assert table["coupling I"]["true"] == "19.97" and float(table["coupling I"]["width/prior"]) > 0.5
    assert page.table("rates (Hz)")["I"]["recorded neurons, observed"] == "30"
    text = " ".join(page.text)
    assert "a stronger inhibition is made up for by a higher resting potential" in text
    assert "10 [10, 10] switches in 100 s; winner 19 [19, 19] Hz" in text
    assert (
        len(
            [
                a
                for a in page.all("img")
                if a["alt"].startswith(("Draws of", "The numbers", "Free sim", "Activity given"))
            ]
        )
        == 4
    )


def test_report_without_a_posterior_is_as_before(folder):
    (folder / "posterior").mkdir()  # begun, and not finished
    (folder / "posterior" / "checkpoint").touch()
    page = written(folder)
    assert "posterior" not in [a["id"] for a in page.all("section")]


def test_summary_prints_the_table(folder, capsys):
    assert summary.main([str(folder)]) == 0
    before = capsys.readouterr().out
    posterior = write_posterior(folder, all_of_it=False)
    assert summary.main([str(folder)]) == 0
    after = capsys.readouterr().out
    said = describe_posterior(load_outcome(folder))
    assert said.startswith("Posterior: 1000 draws") and "warning: The prior decides coupling I: " in said
    table, end = before.split("\n\nwritten: ")
    assert after.endswith(f"\n\n{said}\n\nwritten: {end}")
    fits, posteriors = ([row.split() for row in text.splitlines() if "coupling I " in row] for text in (table, after))
    low, high = np.quantile(posterior.draws[:, 5], [0.05, 0.95])
    [fit], with_interval = fits, posteriors[0]
    assert with_interval == [*fit[:3], f"{low:.4g}", "to", f"{high:.4g}", *fit[3:]]
    assert f"{np.median(posterior.draws[:, 5]):.4g}" in said


def test_a_posterior_without_runs(tmp_path, capsys):
    write_posterior(tmp_path)
    assert summary.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{describe_posterior(load_outcome(tmp_path))}\n"
    page = written(tmp_path)
    assert [a["id"] for a in page.all("section")] == ["posterior"]


def test_runs_of_other_numbers_are_not_drawn_as_fits(tmp_path):
    from tests.fake_runs import four_populations

    make_run(tmp_path / "train1", circuit=four_populations())
    write_posterior(tmp_path, all_of_it=False)
    assert "posterior" in [a["id"] for a in written(tmp_path).all("section")]


BROKEN = {
    "record": (lambda there: (there / "posterior.json").write_text("{"), "posterior.json: expected JSON"),
    "samples": (lambda there: (there / "samples").write_bytes(b"PK"), "samples: expected a whole NumPy archive"),
    "activity": (lambda there: (there / "activity").write_bytes(b"PK"), "activity: expected a whole NumPy archive"),
    "predictive": (
        lambda there: (there / "predictive").unlink() or (there / "predictive").touch(),
        "predictive: expected",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("command", [summary, report])
def test_a_broken_posterior_is_one_line(folder, what, command, capsys):
    write_posterior(folder)
    break_it, words = BROKEN[what]
    break_it(folder / "posterior")
    with pytest.raises(SystemExit) as left:
        run_script(lambda: command.main([str(folder)]), "command")
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and said.count("\n") == 1
    assert not (folder / "report.html").exists() and not (folder / "summary.png").exists()


def test_all_of_it_as_JSON(tmp_path):
    write_posterior(tmp_path)
    content = json.loads(json.dumps(outcome_as_dict(load_outcome(tmp_path)), allow_nan=False))
    assert content["predictive"]["switches"] == [10, 10, 10]
    assert "noisy_ln_p" in [each["kind"] for each in content["findings"]]
    assert len(content["warnings"]) == len(content["findings"]) and len(content["table"]) == 12
    assert "activity" not in content  # no truth
