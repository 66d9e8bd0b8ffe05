"""What train_meso.py cannot use is refused in one line, before anything is computed or written."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import train_meso
from src.utils.files import save_arrays, save_json
from src.utils.settings import run_script

ROOT = Path(__file__).resolve().parent.parent
STEPS = 1000  # of 0.2 ms


class Opens:
    """Pickles as the making of a file in the working directory."""

    def __reduce__(self):
        return open, ("ran.txt", "w")


def arrays(M=3, steps=STEPS):
    rng = np.random.default_rng(0)
    return {
        "A_t_pop": rng.random((steps, M)),
        "sampled_spikes": (rng.random((M, steps, 4)) < 0.01).astype(np.uint8),
        "I_ext": np.zeros((steps, M)),
        "dt": 0.0002,
    }


def changed(name, index, value):
    data = arrays()
    data[name] = data[name].astype(float)
    data[name][index] = value
    return data


def make_files(folder):
    """Make the data sets and folders that the cases below name."""
    data = {
        "good": arrays(),
        "two": arrays(M=2),
        "short": {**arrays(), "I_ext": arrays()["I_ext"][:-1]},
        "nan": changed("A_t_pop", (5, 1), np.nan),
        "negative": changed("A_t_pop", (5, 1), -1),
        "half": changed("sampled_spikes", (1, 5, 1), 0.5),
        "incomplete": {"A_t_pop": arrays()["A_t_pop"]},
        "odd": {**arrays(), "dt": 0.0003},
        "stopped": {**arrays(), "dt": 0.0},
    }
    for name, content in data.items():
        save_arrays(folder / name, **content)
    whole = (folder / "good").read_bytes()
    (folder / "truncated").write_bytes(whole[: len(whole) // 2])
    (folder / "words").write_text("A_t_pop, sampled_spikes\n")
    (folder / "empty").touch()
    (folder / "malicious").write_bytes(pickle.dumps({**arrays(), "x": Opens()}))
    (folder / "objects").write_bytes(pickle.dumps({**arrays(), "I_ext": np.array([None])}))
    (folder / "folder").mkdir()
    save_json(folder / "done/data0.2/train1/run.json", {"status": "finished"})
    (folder / "broken/data0.2/train1").mkdir(parents=True)
    (folder / "broken/data0.2/train1/run.json").write_text('{"status": "fini')
    (folder / "list/data0.2/train1").mkdir(parents=True)
    (folder / "list/data0.2/train1/run.json").write_text("[]")


CASES = [
    # the command line
    ("--nonsense", "unrecognized arguments: --nonsense"),
    ("--end_timepiont 11", "unrecognized arguments: --end_timepiont 11"),
    ("--end_time 0.2", "unrecognized arguments: --end_time"),
    ("stray", "unrecognized arguments: stray"),
    ("--dt", "--dt: expected one argument"),
    ("--Nsampled three", "--Nsampled: invalid int value: 'three'"),
    ("--Nsampled 2.5", "--Nsampled: invalid int value: '2.5'"),
    ("--E_LR fast", "--E_LR: invalid float value: 'fast'"),
    ("--method Newton", "--method: invalid choice: 'Newton'"),
    ("--precision float16", "--precision: invalid choice: 'float16'"),
    ("--with_input yes", "unrecognized arguments: yes"),
    # numbers
    *[
        (f"--{name} {value}", f"--{name}: expected ")
        for name in ("end_timepoint", "trial_length", "t_perbatch", "dt", "a_cutoff", "E_LR", "lb", "ub")
        for value in ("0", "-1", "nan", "inf")
    ],
    *[
        (f"--{name} {value}", f"--{name}: expected at least 1, got {value}")
        for name in ("Nsampled", "max_EMsteps", "Mmaxiters", "Emaxiters", "E_itertol", "threads", "LOG_PER")
        for value in ("0", "-3")
    ],
    ("--sampled_spike_history_smoothed_w 0", "--sampled_spike_history_smoothed_w: expected above 0 s, got 0"),
    ("--sampled_spike_history_smoothed_w 1e9", "--sampled_spike_history_smoothed_w: expected at most 100 s"),
    ("--train_Noinit -1", "--train_Noinit: expected at least 0, got -1"),
    ("--param threshold", "--param: expected NAME POPULATION=NUMBER"),
    ("--param threshold=E1", "--param: expected NAME POPULATION=NUMBER"),
    ("--dt 0.1", "--dt: expected at most 0.01 s, got 0.1"),
    ("--dt 0.0001", "--dt: expected at least 0.0002 s, got 0.0001"),
    ("--lb 2 --ub 1", "--lb: expected less than ub, 1, got 2"),
    ("--lb 1 --ub 1", "--lb: expected less than ub, 1, got 1"),
    ("--ub 1e300", "--ub: expected at most 10, got 1e+300"),
    ("--lb 1e-300", "--lb: expected at least 0.01, got 1e-300"),
    # together with the data set
    ("--end_timepoint 0.3", "--end_timepoint: expected at most 0.2 s, the length of good, got 0.3"),
    ("--a_cutoff 0.2", "expected a window of 0.2 s and at least one trial of two bins or more before --end_timepoint"),
    ("--a_cutoff 0.004", "--a_cutoff 0.004 at dt 0.004: expected"),
    ("--trial_length 1", "--trial_length: expected 0.008 s, 2 bins, to 0.18 s, which is what the window of 0.02 s"),
    ("--trial_length 0.01", "--trial_length: expected a multiple of dt, 0.004 s, got 0.01"),
    ("--trial_length 1e-9", "--trial_length: expected 0.008 s, 2 bins"),
    ("--dt 0.0033", "--dt: expected a multiple of the data set's step of 0.0002 s, got 0.0033"),
    ("--Nsampled 5", "--Nsampled: expected at most 4, the neurons in good, got 5"),
    ("--Nsampled 1" + 400 * "0", "--Nsampled: expected at most 4, the neurons in good, got 1000"),
    # the data set
    ("--dataset missing", "missing: cannot be read (No such file or directory)"),
    ("--dataset folder", "folder: cannot be read (Is a directory)"),
    ("--dataset good/inside", "good/inside: cannot be read (Not a directory)"),
    ("--dataset truncated", "truncated: expected a whole NumPy archive"),
    ("--dataset words", "words: expected a NumPy archive or a pickled dictionary of arrays, got neither"),
    ("--dataset empty", "empty: expected a NumPy archive or a pickled dictionary of arrays, got neither"),
    ("--dataset malicious", "malicious: expected a pickled dictionary of NumPy arrays, but it asks for "),
    ("--dataset objects", "objects: expected a pickled dictionary of NumPy arrays, but it holds an array of object"),
    ("--dataset incomplete", "sampled_spikes, I_ext missing, found A_t_pop"),
    ("--dataset two", "two: A_t_pop: expected shape (1000, 3) for 3 populations, got (1000, 2)"),
    ("--dataset short", "short: I_ext: expected shape (1000, 3) for 3 populations, got (999, 3)"),
    ("--dataset nan", "nan: A_t_pop: expected finite numbers, got NaN or infinity"),
    ("--dataset negative", "negative: A_t_pop: expected rates of at least 0 Hz, got -1"),
    ("--dataset half", "half: sampled_spikes: expected 0 and 1"),
    ("--dataset odd", "--dt: expected a multiple of the data set's step of 0.0003 s, got 0.004"),
    ("--dataset stopped", "stopped: dt: expected one positive time step in s, got 0"),
    # where results go
    ("--SAVE_DIR good", "good/data0.2/train1: cannot be made a folder (Not a directory)"),
    ("--SAVE_DIR /proc/none", "/proc/none/data0.2/train1: cannot be made a folder"),
    ("--SAVE_DIR " + 300 * "x", "File name too long"),
    ("--SAVE_DIR done", "done/data0.2/train1: holds a finished training; give --overwrite to replace it"),
    ("--SAVE_DIR broken", "broken/data0.2/train1/run.json: expected JSON"),
    ("--SAVE_DIR list", "list/data0.2/train1/run.json: expected a JSON object, got list"),
]


def listing(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad input")
    make_files(folder)
    return folder, listing(folder)


def arguments(case):
    """Return a short training, changed by the case's options."""
    usual = {"--dataset": "good", "--end_timepoint": "0.2", "--a_cutoff": "0.02", "--SAVE_DIR": "out"}
    given = case.split()
    return [*(word for pair in usual.items() if pair[0] not in given for word in pair), *given]


@pytest.mark.parametrize(("case", "words"), CASES, ids=[case[:60] for case, _ in CASES])
def test_one_line_and_nothing_written(surroundings, monkeypatch, capsys, case, words):
    folder, before = surroundings
    monkeypatch.chdir(folder)
    monkeypatch.setattr(train_meso, "use_tensorflow", lambda threads: pytest.fail("it went on"))
    with pytest.raises(SystemExit) as end:
        run_script(lambda: train_meso.main(arguments(case)), "train_meso.py")
    said = capsys.readouterr()
    assert end.value.code not in (0, None)
    assert words in said.err
    assert said.err.count("\n") == 1 and said.err.endswith("\n")
    assert "Traceback" not in said.err
    assert said.out == "" or ("SAVE_DIR" in case and said.out.startswith("Recorded: "))  # what was read comes first
    assert listing(folder) == before


def test_the_usual_arguments_of_these_cases_are_fine(surroundings, monkeypatch, tmp_path):
    folder, _ = surroundings
    monkeypatch.chdir(folder)
    reached = []
    monkeypatch.setattr(train_meso, "use_tensorflow", reached.append)
    monkeypatch.setattr(train_meso, "train", lambda *_: sys.exit(7))
    with pytest.raises(SystemExit, match="7"):
        train_meso.main(arguments(f"--threads 2 --SAVE_DIR {tmp_path}/out"))
    assert reached == [2]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(surroundings, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(surroundings[0])
    (tmp_path / "out/data0.2/train1").mkdir(parents=True)
    (tmp_path / "out/data0.2/train1").chmod(0o555)
    with pytest.raises(SystemExit, match="2"):
        run_script(lambda: train_meso.main(arguments(f"--SAVE_DIR {tmp_path}/out")), "train_meso.py")
    assert "expected a folder to write to, got one that is read-only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("--nonsense", "train_meso.py: error: unrecognized arguments: --nonsense"),
        ("--dataset malicious", "malicious: expected a pickled dictionary"),
        ("--SAVE_DIR done", "train_meso.py: error: done/data0.2/train1: holds a finished training"),
    ],
)
def test_as_a_program(surroundings, case, words):
    folder, before = surroundings
    command = [sys.executable, ROOT / "train_meso.py", *arguments(case)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 2
    assert words in run.stderr and run.stderr.count("\n") == 1 and ("Fitted" in run.stdout) == ("done" in case)
    assert listing(folder) == before


def test_refused_before_tensorflow_is_loaded(surroundings):
    folder, before = surroundings
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); import train_meso\n"
        "from src.utils.settings import run_script\n"
        "try: run_script(lambda: train_meso.main(sys.argv[1:]), 'train_meso.py')\n"
        "finally: print(*[name for name in ('tensorflow', 'keras') if name in sys.modules], time.process_time())"
    )
    began = time.perf_counter()
    command = [sys.executable, "-c", code, *arguments("--SAVE_DIR good")]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    elapsed = time.perf_counter() - began
    assert run.returncode == 2 and "cannot be made a folder" in run.stderr
    *_, last = run.stdout.splitlines()
    assert float(last) < 3, f"{last} s of CPU, {elapsed:.1f} s in all"  # no module, and soon
    assert listing(folder) == before
