"""The report says what is in the runs, in one file that needs nothing else and runs nothing that is in them."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from src.model.containers import Model
from src.report import report
from src.report.cautions import cautions, disagreement, spoken
from src.report.page import PNG
from src.runs.load import load_runs
from src.utils.files import load_arrays, save_arrays
from src.utils.settings import run_script
from tests.fake_runs import A, T, edit, four_populations, make_run, three_populations

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PDFTOTEXT = shutil.which("pdftotext")


class Page(HTMLParser):
    """The elements of a page, its text, and its tables as rows of cells."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.tables, self.lines, self.within = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.within.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.lines.append("")

    def handle_endtag(self, tag):
        while self.within and self.within.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self.within[-1] if self.within else ""
        if inside in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif inside == "li":
            self.lines[-1] += data
        elif inside != "style":
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, corner, holds=""):
        """The table whose first header is `corner` and one of whose others begins with `holds`."""
        fits = [t for t in self.tables if t[0][0] == corner and any(cell.startswith(holds) for cell in t[0][1:])]
        return {row[0]: dict(zip(fits[0][0], row, strict=True)) for row in fits[0][1:]}


def written(folder):
    assert report.main([str(folder)]) == 0
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def save_simulation(folder):
    rng = np.random.default_rng(0)
    spikes = rng.random((3, 500, 1)) < 0.04
    arrays = {"activity": rng.random((3, 500)), "spikes": spikes, "external_input": np.zeros((3, 500))}
    save_arrays(folder / "simulation", **arrays, dt=0.004, names=np.array(["E1", "E2", "I"]), run="train2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three finished runs, the second the best, one that failed and one that was interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    for i, loss in ((1, -2.80), (2, -2.85), (10, -2.75), (11, -2.7), (12, -2.7)):
        settings = {"dataset": "dataset/mine", "train_Noinit": i, "lb": 0.4, "max_EMsteps": 20}
        edit(make_run(folder / f"train{i}", loss=loss, seed=i), settings=settings)
    edit(folder / "train11", status="failed", ended="M-step 3: a loss of\nnan", seconds=12.5)
    edit(folder / "train12", status="interrupted", ended="by the user", loss=None, history=[])
    save_simulation(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return written(folder)


def test_one_file_that_needs_no_network_and_runs_nothing(folder, page):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"data:image/png;base64,[\w+/=]*", "", text))
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in page.elements)
    pictures = page.all("img")
    assert len(pictures) == 5
    for picture in pictures:
        kind, content = picture["src"].split(",")
        assert kind == "data:image/png;base64" and base64.b64decode(content).startswith(PNG) and picture["alt"]


def test_contents_lead_to_every_section(page):
    links = [link["href"].removeprefix("#") for link in page.all("a")]
    assert links == [section["id"] for section in page.all("section")]
    assert links == [
        "warnings", "check", "parameters", "activity", "switching", "simulation", "heldout", "runs", "data", "circuit",
        "settings",
    ]  # fmt: skip


def test_results_stand_before_what_went_in_and_settings_are_folded_away(folder, page):
    (folded,) = page.all("details")
    assert "open" not in folded  # on the screen
    text = (folder / "report.html").read_text()
    inside = text[text.index("<details>") : text.index("</details>")]
    assert 'id="settings-title"' in inside and inside.count("<h2") == 1
    assert text.index('id="settings"') < text.index("<details>")  # the link of the contents leads there
    assert "details:not([open])::details-content { content-visibility: visible" in text  # on paper


def test_same_runs_give_the_same_page(folder, page):
    before = (folder / "report.html").read_bytes()
    written(folder)
    assert (folder / "report.html").read_bytes() == before


def test_how_each_run_ended(page):
    rows = page.table("run", "ended")
    assert list(rows) == ["train1", "train2 *", "train10", "train11", "train12"]
    assert rows["train1"]["ended"] == "the E-step brought nothing new" and rows["train1"]["loss"] == "-2.8000"
    assert rows["train11"]["ended"] == "not finished: failed (M-step 3: a loss of nan)"
    assert [rows["train11"][key] for key in ("loss", "seconds", "EM steps")] == ["-2.7000", "12.5", "3"]
    assert rows["train12"]["ended"] == "not finished: interrupted (by the user)"
    assert [rows["train12"][key] for key in ("loss", "EM steps")] == ["-", "0"]
    assert [line for line in page.lines if "train11" in line and line.startswith("Left out: ")]
    assert page.table("run", "r(E1)")["(start)"]["r(I) 20 ms"] == "0.80"


def test_data_and_settings(folder, page):
    spikes = load_arrays(folder / "train2" / "init_param")["observed_spikes"][0, 0, A:]
    row, counts = page.table("population", "recorded")["E1"], spikes.sum(axis=0)
    assert row["neurons"] == "400" and row["recorded"] == "2" and row["spikes"] == str(counts.sum())
    assert row["mean rate (Hz)"] == f"{counts.mean() / (T * 0.004):.2f}"
    assert row["lowest"] == f"{counts.min() / (T * 0.004):.2f}"
    assert any(text.startswith("dataset/mine: 1 trial of 1.6 s") for text in page.text)
    settings = page.table("setting")
    assert settings["--lb"]["value"] == "0.4"
    assert settings["--train_Noinit"]["value"] == "train1: 1; train2: 2; train10: 10"
    assert page.table("from \\ to")["E1"] == {"from \\ to": "E1", "E1": "+", "E2": "0", "I": "+"}
    assert page.table("population", "synaptic")["I"]["synaptic time (ms)"] == "6"


def test_parameters(folder, page):
    rows, each = page.table("parameter", "disagreement"), page.table("parameter", "train1")
    best = json.loads((folder / "train2" / "run.json").read_text())
    assert list(rows) == best["parameter_names"]
    row = rows["membrane_rate E1"]
    assert [row[key] for key in ("unit", "bounds", "true", "train2 *", "disagreement")] == [
        "1/s", "20.00 to 100.0", "50.00", "20.00", "0.00",
    ]  # fmt: skip
    runs, _ = load_runs(folder)
    fits = [run.X[4] for run in runs]
    assert (
        rows["coupling E2"]["lowest"] == f"{min(fits):#.4g}" and rows["coupling E2"]["highest"] == f"{max(fits):#.4g}"
    )
    assert each["membrane_rate E2"]["train2 *"] == f"{best['start'][1]:#.4g} → 100.0 >"


def test_many_runs_are_shown_some_at_a_time(folder):
    runs, _ = load_runs(folder)
    tables = report._of_each(5 * runs)
    assert [len(table.rows[0]) - 1 for table in tables] == [6, 6, 3]


def test_priors_in_words(folder, tmp_path):
    make_run(tmp_path / "train1")
    record = json.loads((tmp_path / "train1" / "run.json").read_text())
    record["model"]["free"]["priors"][:3] = [
        {"kind": "gaussian", "mean": 50.0, "sd": 5.0},
        {"kind": "log-normal", "median": 50.0, "sigma": 0.3},
        {"kind": "uniform", "low": 20.0, "high": 90.0},
    ]
    held = {"kind": "held_by_prior", "subject": "membrane_rate I", "numbers": {"share": 0.75}}
    known = {"kind": "at_lower_bound", "subject": "membrane_rate I", "numbers": {"number": 20.0}}
    edit(tmp_path / "train1", model=record["model"], findings=[held, known])
    page = written(tmp_path)
    assert [row["prior"] for row in page.table("parameter", "disagreement").values()][:4] == [
        "Gaussian, mean 50, sd 5", "log-normal, median 50, sigma 0.3", "uniform, 20 to 90", "-",
    ]  # fmt: skip
    lines = [line for line in page.lines if "membrane_rate of I" in line]
    assert lines == ["train1: membrane_rate of I is held by its prior: the data leave 75% of the prior's variance."]
    assert "simulation" not in [section["id"] for section in page.all("section")]


def test_words_of_files_are_never_markup(tmp_path):
    evil = '<script>alert("1")</script>'
    model, reference = three_populations()
    circuit = Model(**{**vars(model), "names": ("<script>", "E&lt;", "I"), "free": None}), reference
    for i in (1, 2):
        folder = make_run(tmp_path / f"train{i}", circuit=circuit, seed=i)
        edit(
            folder,
            settings={evil: evil, "data": evil, "dataset": "not read"},
            ended=evil,
            findings=[{"kind": "held_by_prior", "subject": f"{evil} I", "numbers": {"share": 0.5}}],
            versions={evil: evil},
        )
    edit(make_run(tmp_path / "<b>train3", circuit=circuit), status="failed", ended=evil)
    page = written(tmp_path)
    assert {"script", "b"}.isdisjoint(tag for tag, _ in page.elements)
    assert list(page.table("population", "recorded")) == ["<script>", "E&lt;", "I"]
    assert page.table("run", "ended")["train2"]["ended"] == evil
    assert "--dataset" not in page.table("setting")
    assert page.table("setting")[f"--{evil}"]["value"] == evil
    assert any(line.startswith(f"train1: {evil} of I is held") for line in page.lines)


def test_recording_without_truth_and_with_gaps(tmp_path):
    run = make_run(tmp_path / "train1", circuit=four_populations(), known=False, trials=2)
    judged = (np.arange(T) >= 10) & (np.arange(T) < np.array([[T - 150], [T]]))
    recorded = np.array([[True, False], [False, False], [True, True], [True, True]])
    arrays = load_arrays(run / "init_param")
    arrays["observed_spikes"][:, 3, :, 1] = 0
    for edge in (A, A + T - 150):  # a spike on each side of where the fitted time begins and ends
        arrays["observed_spikes"][:, 0, edge - 1 : edge + 1, 0] = 1
    arrays["I_ext"][:, 0] = 1
    save_arrays(run / "init_param", **{**arrays, "judged": judged, "recorded": recorded})
    page = written(tmp_path)
    rows = page.table("population", "recorded")
    spikes = arrays["observed_spikes"]
    count = spikes[0, 0, A : A + T - 150, 0].sum() + spikes[1, 0, A:, 0].sum()
    assert rows["I1"]["recorded"] == "1" and rows["I1"]["spikes"] == str(count)
    assert rows["I1"]["mean rate (Hz)"] == f"{count / ((2 * T - 150) * 0.004):.2f}"
    assert [rows["E1"][key] for key in ("recorded", "mean rate (Hz)", "highest")] == ["0", "-", "-"]
    assert rows["I2"]["silent"] == "1"
    words = " ".join(page.text)
    assert "2 trials of 1 s to 1.6 s" in words and f"{judged.sum()} bins" in words and "An external input was" in words
    said = [line for line in page.lines if line.startswith(("No neuron of E1 was", "I2 has 1 of 2"))]
    assert len(said) == 4  # both among the warnings, and beside the table
    assert "true" not in page.tables[3][0] and not any("r(" in cell for table in page.tables for cell in table[0])


# --- warnings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def some(tmp_path):
    """Three runs that agree, inside their bounds."""
    for i in (1, 2, 3):
        make_run(tmp_path / f"train{i}", loss=-2.8 - (i == 2), at_bound=False)
        edit(tmp_path / f"train{i}", settings={"train_Noinit": i, "lb": 0.4, "max_EMsteps": 20})
    return tmp_path


def change(folder, **numbers):
    """Change fitted numbers of a run, by their place."""
    X = np.array(json.loads((folder / "run.json").read_text())["X"])
    for place, value in numbers.items():
        X[int(place[1:])] = value
    edit(folder, X=X.tolist())
    save_arrays(folder / "minimizor_result_2", X=X)


def said(folder):
    return [line for line in cautions(load_runs(folder)[0]) if not line.startswith("The history window")]


def test_no_warning_without_reason(some):
    assert said(some) == []


def test_bounds_are_named_with_the_runs_that_end_there(some):
    change(some / "train1", _2=20.0)
    change(some / "train2", _2=20.0)
    assert "membrane_rate of I ends at its lower bound, 20 1/s, in train1, train2 (the best)." in said(some)
    for name in ("train1", "train2", "train3"):
        change(some / name, _2=100.0)
    assert said(some) == ["membrane_rate of I ends at its upper bound, 100 1/s, in all 3 runs."]


def test_disagreement_is_the_spread_in_units_of_that_of_the_starts(some):
    ends = np.array([30.0, 50.0, 55.0])
    for i, end in enumerate(ends):
        change(some / f"train{i + 1}", _2=end)
    runs, _ = load_runs(some)
    expected = np.sqrt(((ends - ends.mean()) ** 2).sum() / 2) / (80 / np.sqrt(12))  # starts are drawn from 20 to 100
    np.testing.assert_allclose(disagreement(runs), np.eye(12)[2] * expected, rtol=1e-12, atol=1e-12)
    assert said(some) == [
        f"Restarts disagree on membrane_rate of I: they end between 30 and 55, with {expected:.0%} of the spread of "
        "their starts."
    ]
    for i, end in enumerate(45 + (ends - 45) * 0.24 / expected):
        change(some / f"train{i + 1}", _2=end)
    assert said(some) == []


def test_disagreement_without_a_range_of_starts_is_in_units_of_the_bounds(tmp_path):
    for i in (1, 2):
        make_run(tmp_path / f"train{i}", circuit=four_populations(), seed=i)
    runs, _ = load_runs(tmp_path)
    expected = np.abs(runs[0].X - runs[1].X) / np.sqrt(2) / ((runs[0].upper - runs[0].lower) / np.sqrt(12))
    np.testing.assert_allclose(disagreement(runs), expected, rtol=1e-12)
    assert np.isnan(disagreement(runs[:1])).all()


CHANGES = {
    "one run": (lambda f: [shutil.rmtree(f / f"train{i}") for i in (2, 3)], "Only one run finished"),
    "other setting": (
        lambda f: edit(f / "train3", settings={"lb": 0.5, "train_Noinit": 3, "max_EMsteps": 20}),
        "The runs differ in --lb: their losses may not compare.",
    ),
    "used up": (
        lambda f: edit(f / "train2", settings={"lb": 0.4, "train_Noinit": 2, "max_EMsteps": 3}),
        "All allowed EM iterations were used by train2 (the best): more may help.",
    ),
    "a finding": (
        lambda f: edit(
            f / "train2", findings=[{"kind": "far_from_prior", "subject": "threshold I", "numbers": {"distance": -3.0}}]
        ),
        "train2: threshold of I ends 3.0 standard deviations below",
    ),
    "not recovered": (
        lambda f: edit(f / "train2", correlation={"fit_20ms": [0.9, None, 0.18]}),
        "The activity of I is not recovered in train2: its correlation with the truth is 0.18 after smoothing.",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_warnings(some, what):
    change_it, words = CHANGES[what]
    change_it(some)
    assert len([line for line in said(some) if line.startswith(words)]) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("coupling I->E1", "coupling I→E1"), ("coupling I", "coupling of I"), ("threshold shared", "shared threshold")],
)
def test_names_in_words(name, words):
    assert spoken(name) == words


# --- bad input ------------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "no folder": (["nowhere"], "expected a folder of trainings, found nothing"),
    "empty folder": (["empty"], "found none (no run.json in it)"),
    "broken run": (["broken"], "init_param: cannot be read"),
    "other spikes": (["odd"], "observed_spikes: expected (trials, 3, more than 40, neurons), got (1, 3, 9, 2)"),
    "no seconds": (["timeless"], "expected the record of a training, but seconds is missing"),
    "broken simulation": (["simulated"], "simulation: expected a NumPy archive"),
    "unknown option": (["empty", "--figures", "x"], "unrecognized arguments: --figures"),
}


def fails(argv, capsys):
    with pytest.raises(SystemExit) as left:
        run_script(lambda: report.main(argv), "report")
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("broken", "odd", "timeless", "simulated"):
        make_run(tmp_path / name / "train1")
    edit(tmp_path / "timeless" / "train1", seconds="gone")
    (tmp_path / "broken" / "train1" / "init_param").unlink()
    arrays = load_arrays(tmp_path / "odd" / "train1" / "init_param")
    save_arrays(
        tmp_path / "odd" / "train1" / "init_param", **{**arrays, "observed_spikes": np.zeros((1, 3, 9, 2), np.uint8)}
    )
    (tmp_path / "simulated" / "simulation").write_bytes(b"nothing")
    argv, words = BAD_INPUT[what]
    assert words in fails(argv, capsys)
    assert not list(tmp_path.rglob("*.html")) and not list(tmp_path.rglob("*.part"))


def test_without_jinja_the_message_says_how_to_get_it(folder, tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "train1")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "a report needs Jinja2 (import of jinja2" in (line := fails([str(tmp_path)], capsys))
    assert 'python -m pip install "jinja2>=3.1,<4"' in line and not (tmp_path / "report.html").exists()


# --- browser --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser_in_light_and_dark_and_on_paper(folder, page, tmp_path):
    def browse(*options):
        base = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        address = (folder / "report.html").as_uri()
        subprocess.run([*base, *options, address], check=True, timeout=120, capture_output=True)

    corners = []
    for name, scheme in (("light", "1"), ("dark", "0")):
        path = tmp_path / f"{name}.png"
        browse(f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1200,1500", f"--screenshot={path}")
        image = imread(path)[..., :3]
        corners.append(image[2, 2].mean())
        assert image.std() > 0.02  # there is something on it
    assert corners[0] > 0.95 and corners[1] < 0.15
    browse(f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    if PDFTOTEXT:  # what is folded away is open on paper
        words = subprocess.run(
            [PDFTOTEXT, tmp_path / "page.pdf", "-"], check=True, capture_output=True, text=True
        ).stdout
        assert "Options of train_meso.py" in words or "have not written down their settings" in words
