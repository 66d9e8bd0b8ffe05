"""The shell scripts, in a copy of the repository whose path holds a space and whose Python programs are stubs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from src.utils import environment
from src.utils.text import duration

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["3pop_neuLVM.sh", "run_tests.sh", "src/utils/environment.sh"]

# A training that does what the file behaviour.py of its folder says.
TRAIN = """
import pathlib, time
from src.runs.paths import data_folder

def main(argv):
    from behaviour import behave
    given = dict(zip(argv, argv[1:]))
    run, end = int(given["--train_Noinit"]), given.get("--end_timepoint")
    folder = data_folder(pathlib.Path(given["--SAVE_DIR"]), end and float(end), given.get("--data")) / f"train{run}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "argv").write_text("\\n".join(argv))
    (folder / "start").write_text(str(time.time()))
    behave(run)
"""
SUMMARY = """
def main(argv):
    print("table of", *argv)
"""


@pytest.fixture
def repo(tmp_path):
    """A copy of the scripts with stubs, empty requirements and an environment whose `python` is the one running now."""
    root = tmp_path / "the repo"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    for name in SCRIPTS[:2]:
        shutil.copy2(ROOT / name, root / name)
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "tests/requirements.txt").write_text("# nothing either\n")
    (root / "train_meso.py").write_text(TRAIN)
    (root / "src/report/summary.py").write_text(SUMMARY)
    behave(root, "print('hello')")
    command(tmp_path / "active/bin/python", f'exec "{sys.executable}" "$@"')
    return root


def behave(root, *lines):
    body = "\n    ".join(lines)
    imports = "import os, signal, sys, time\nfrom src.utils.exceptions import FitError, InputError"
    (root / "behaviour.py").write_text(f"{imports}\n\ndef behave(run):\n    {body}\n")


def command(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def surroundings(root, active=True, path=None):
    """Return environment variables: with an active environment, or with none and the tests' Python as `python3`."""
    misleading = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if key not in misleading}
    kept |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": root.as_uri()}
    bin_folder = root.parent / "active/bin" if active else root.parent / "plain"
    if not active and path is None:
        base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        command(bin_folder / "python3", f'exec "{base}" "$@"')
    kept["PATH"] = path or f"{bin_folder}{os.pathsep}{kept['PATH']}"
    return {**kept, **({"VIRTUAL_ENV": str(root.parent / "active")} if active else {})}


def start(root, script, *arguments, env=None, **options):
    """Start a script from another folder than its own."""
    return subprocess.Popen(
        ["bash", str(root / script), *arguments],
        cwd=options.pop("cwd", root.parent),
        env=env or surroundings(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def call(root, script, *arguments, env=None):
    """Run a script; return its exit status and what it printed, standard error included."""
    with start(root, script, *arguments, env=env) as process:
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def setup(root, env=None, then="command -v python"):
    """Set up as the scripts do; return exit status and output, whose last line names the Python in use."""
    (root / "setup.sh").write_text(
        f'cd "$(dirname "$0")"; source src/utils/environment.sh; use_environment requirements.txt || exit; {then}\n'
    )
    return call(root, "setup.sh", env=env or surroundings(root, active=False))


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_valid_bash(script):
    assert subprocess.run(["bash", "-n", ROOT / script], capture_output=True).stderr == b""


# --- five trainings ---------------------------------------------------------------------------------------------------


def test_five_trainings_then_the_table(repo):
    status, output = call(repo, "3pop_neuLVM.sh")
    assert status == 0
    for run in range(1, 6):
        assert f"[train {run}] hello\n" in output
        assert re.search(rf"^\[train {run}\] finished after \d+ s$", output, re.MULTILINE)
    assert output.index("table of result/3pop example/data11") > output.index("[train 5] finished")
    assert "Results: result/3pop example/data11" in output
    assert "Next" in output and output.endswith("python simulate_with_trainedparams.py\n")
    assert not (repo / ".venv").exists()


@pytest.mark.parametrize(
    "form", [["--SAVE_DIR", "my results", "--end_timepoint", "6"], ["--SAVE_DIR=my results", "--end_timepoint=6.0"]]
)
def test_options_reach_every_training(repo, form):
    status, output = call(repo, "3pop_neuLVM.sh", *form, "--lb", "0.5", "--labels", "a b")
    folder = repo.parent / "my results/data6"  # beside the caller, who is not in the repository
    assert status == 0 and f"table of {folder}\n" in output
    assert output.endswith(f"simulate_with_trainedparams.py --folder '{folder}'\n")
    for run in range(1, 6):
        given = (folder / f"train{run}/argv").read_text().split("\n")
        assert given[:2] == ["--train_Noinit", str(run)] and given[-4:] == ["--lb", "0.5", "--labels", "a b"]


def test_relative_paths_are_the_callers(repo):
    elsewhere = repo.parent / "else where"
    elsewhere.mkdir()
    options = ["--runs", "1", "--dataset", "mine", "--SAVE_DIR", "out"]
    for folder, seen in ((elsewhere, [elsewhere / "mine", elsewhere / "out"]), (repo, ["mine", "out"])):
        with start(repo, "3pop_neuLVM.sh", *options, cwd=folder) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and f"results go to {seen[1]}/data11\n" in output
        given = (folder / "out/data11/train1/argv").read_text().split("\n")
        assert given[given.index("--dataset") + 1] == str(seen[0])
    call(repo, "3pop_neuLVM.sh", "--runs", "1", "--dataset", "/some/where")
    assert (repo / "result/3pop example/data11/train1/argv").read_text().endswith("\n--dataset\n/some/where")


def test_a_recording_of_the_caller(repo):
    elsewhere = repo.parent / "else where"
    elsewhere.mkdir()
    (elsewhere / "go.csv").touch()
    files = {"--data": "my.nwb", "--unit_map": "map.csv", "--circuit": "my.toml"}
    options = ["--runs", "1", *sum(files.items(), ()), "--SAVE_DIR", "out", "--burn_in", "0.1"]
    for trials, end, folder in (("go.csv", [], "my"), ("epochs", ["--end_timepoint", "7.5"], "my_7.5s")):
        either = ["--trials", trials, "--stimulus", trials]
        with start(repo, "3pop_neuLVM.sh", *options, *either, *end, cwd=elsewhere) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and f"results go to {elsewhere}/out/{folder}\n" in output
        words = (elsewhere / f"out/{folder}/train1/argv").read_text().split("\n")
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert given.get("--end_timepoint") == (end[1] if end else None) and given["--burn_in"] == "0.1"
        assert {option: given[option] for option in files} == {
            key: f"{elsewhere}/{name}" for key, name in files.items()
        }
        assert given["--trials"] == (str(elsewhere / trials) if trials.endswith("csv") else trials)
        assert given["--stimulus"] == given["--trials"]


def test_the_end_of_the_data_is_passed_with_all_its_digits(repo):
    status, output = call(repo, "3pop_neuLVM.sh", "--runs", "1", "--end_timepoint", "1234.5678")
    assert status == 0 and "table of result/3pop example/data1234.57\n" in output
    given = (repo / "result/3pop example/data1234.57/train1/argv").read_text().split("\n")
    assert given[given.index("--end_timepoint") + 1] == "1234.5678"


def test_a_failed_training_is_reported_and_the_others_go_on(repo):
    behave(
        repo,
        "if run == 2: raise FitError('no luck')",
        "if run == 4: os.kill(os.getpid(), signal.SIGKILL)",
        "if run == 5: return 1 / 0",
        "print('done')",
    )
    status, output = call(repo, "3pop_neuLVM.sh", "--overwrite")
    assert status == 1
    assert "[train 2] failed: no luck after" in output and "\ntrain 2 failed: no luck\n" in output
    assert "\ntrain 4 failed: its process was killed from outside, perhaps for want of memory\n" in output
    assert "[train 5] Traceback" in output and "\ntrain 5 failed: ZeroDivisionError: division by zero\n" in output
    assert all(f"[train {run}] done" in output for run in (1, 3))
    assert "table of" in output and "Next" not in output


def test_resume_reaches_every_training(repo):
    status, _ = call(repo, "3pop_neuLVM.sh", "--runs", "2", "--resume")
    assert status == 0
    for run in (1, 2):
        given = (repo / f"result/3pop example/data11/train{run}/argv").read_text().split("\n")
        assert given[:2] == ["--train_Noinit", str(run)] and given[-1] == "--resume"


def test_a_scheduler_that_is_not_there(repo):
    status, output = call(repo, "3pop_neuLVM.sh", "--scheduler", "nowhere")
    said = (
        "error: --scheduler: expected the address of a Dask scheduler that answers, such as tcp://127.0.0.1:8786, got"
    )
    assert status == 2 and said in output and "Traceback" not in output
    assert not (repo / "result").exists()


def test_a_failed_table_is_a_failure(repo):
    fails = "from src.utils.exceptions import InputError\n\ndef main(argv):\n    raise InputError('no table')\n"
    (repo / "src/report/summary.py").write_text(fails)
    status, output = call(repo, "3pop_neuLVM.sh")
    assert status == 1 and "\ntable failed: no table\n" in output and "Next" not in output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--train_Noinit", "3"], "--train_Noinit"),
        (["--train_Noinit=3"], "--train_Noinit"),
        (["--end_timepoint", "eleven"], "--end_timepoint: invalid float value: 'eleven'"),
        (["--SAVE_DIR"], "--SAVE_DIR: expected one argument"),
        (["--runs", "0"], "--runs: expected at least 1, got 0"),
        (["--at_once", "-1"], "--at_once: expected at least 1, got -1"),
        (["--method", "a b"], "3pop_neuLVM.sh: error: argument --method: invalid choice: 'a b'"),
        (["--lb", "-0.5"], "3pop_neuLVM.sh: error: --lb: expected at least 0.01, got -0.5"),
    ],
)
def test_bad_options_are_one_line_and_nothing_runs(repo, arguments, words):
    status, output = call(repo, "3pop_neuLVM.sh", *arguments)
    assert status == 2 and words in output and output.count("\n") == 1
    assert not (repo / "result").exists()


@pytest.mark.parametrize("at_once", [1, 2])
def test_as_many_run_at_a_time_as_asked(repo, at_once):
    # Each training waits until it has company, if it is to have any, and notes how much it saw.
    behave(
        repo,
        "pathlib = __import__('pathlib')",
        "mine = pathlib.Path(f'{run}.on')",
        "mine.touch()",
        f"end = time.time() + (20 if {at_once} > 1 else 0.1)",
        "seen = 0",
        f"while time.time() < end and seen < {at_once}:",
        "    seen = len(list(pathlib.Path('.').glob('*.on')))",
        "time.sleep(0.2)",
        "seen = max(seen, len(list(pathlib.Path('.').glob('*.on'))))",
        "mine.unlink()",
        "print('saw', seen)",
    )
    status, output = call(repo, "3pop_neuLVM.sh", "--runs", "4", "--at_once", str(at_once))
    assert status == 0 and f"4 trainings, {at_once} at a time" in output
    assert output.count(f"saw {at_once}\n") >= 3 and f"saw {at_once + 1}\n" not in output


def test_lines_come_while_the_training_runs_and_bars_end_as_one_line(repo):
    behave(repo, "print('first')", "sys.stderr.write('10 %\\r100 %\\n')", "time.sleep(60)")
    with start(repo, "3pop_neuLVM.sh", "--runs", "1") as process:
        assert "1 training, 1 at a time" in process.stdout.readline()
        begun = time.monotonic()
        assert [process.stdout.readline() for _ in range(2)] == ["[train 1] first\n", "[train 1] 100 %\n"]
        assert time.monotonic() - begun < 30
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_script_leaves_no_training_running(repo, number):
    behave(
        repo,
        "try:",
        "    print(os.getpid(), flush=True)",
        "    time.sleep(60)",
        "except KeyboardInterrupt:",
        "    print('saved')",
        "    raise",
    )
    with start(repo, "3pop_neuLVM.sh", "--at_once", "2") as process:
        process.stdout.readline()
        pids = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert (
        process.returncode == 130
        and output.count("saved\n") == 2
        and output.endswith("3pop_neuLVM.sh: interrupted; to go on: ./3pop_neuLVM.sh --at_once 2 --resume\n")
    )
    assert "[train 3]" not in output
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("seconds, words", [(0.4, "0 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s")])
def test_duration(seconds, words):
    assert duration(seconds) == words


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A .venv made by the scripts, with a package `tiny` that the requirements name; made once, to be copied."""
    root = tmp_path_factory.mktemp("made") / "the repo"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    for name in SCRIPTS[:2]:
        shutil.copy2(ROOT / name, root / name)
    with zipfile.ZipFile(root / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "size = 1\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    (root / "requirements.txt").write_text("tiny>=1.0,<2\n")
    (root / "tests/requirements.txt").write_text("# nothing\n")
    status, output = setup(root)
    assert status == 0, output
    assert output.startswith("Making .venv with ") and "The environment is ready" in output
    return root


@pytest.fixture
def again(made, tmp_path):
    """A copy of the repository with its finished .venv."""
    return Path(shutil.copytree(made, tmp_path / "the repo", symlinks=True))


def has_tiny(root):
    found = subprocess.run([root / ".venv/bin/python", "-c", "import tiny; print(tiny.size)"], capture_output=True)
    return found.stdout == b"1\n"


def test_the_second_time_is_silent_and_quick(again):
    assert has_tiny(again)
    begun = time.monotonic()
    assert setup(again) == (0, f"{again}/.venv/bin/python\n")
    assert time.monotonic() - begun < 5


def test_an_activated_venv_of_ours_is_kept_up_to_date(again):
    (again / "requirements.txt").write_text("# now without\n")
    env = surroundings(again, active=False) | {"VIRTUAL_ENV": str(again / ".venv")}
    status, output = setup(again, env)
    assert status == 0 and "Installing" in output and "Making" not in output
    assert setup(again, env)[1].count("\n") == 1


@pytest.mark.parametrize("activated", [False, True])
def test_a_broken_off_installation_is_made_anew(again, activated):
    """Even by the Python that goes with it, where it was activated."""
    (again / ".venv/requirements.stamp").write_text(environment.UNFINISHED)
    next((again / ".venv").rglob("tiny.py")).unlink()
    env = surroundings(again, active=False)
    if activated:
        env |= {"VIRTUAL_ENV": str(again / ".venv"), "PATH": f"{again}/.venv/bin{os.pathsep}{env['PATH']}"}
    status, output = setup(again, env)
    assert status == 0 and "Making .venv anew" in output and has_tiny(again)


def test_a_venv_whose_python_vanished_is_made_anew(again):
    (again / ".venv/bin/python").unlink()
    (again / ".venv/bin/python").symlink_to("/nowhere/python")
    status, output = setup(again)
    assert status == 0 and "Making .venv anew" in output and has_tiny(again)


def test_a_killed_set_up_is_marked_unfinished(repo):
    stamp = repo / ".venv/requirements.stamp"
    with start(repo, "run_tests.sh", env=surroundings(repo, active=False), start_new_session=True) as process:
        while not stamp.exists() or not stamp.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert stamp.read_text() == environment.UNFINISHED


def test_two_at_once_set_up_once(repo):
    env = surroundings(repo, active=False)
    setup_script = 'cd "$(dirname "$0")"; source src/utils/environment.sh; use_environment requirements.txt'
    (repo / "setup.sh").write_text(setup_script)
    both = [start(repo, "setup.sh", env=env) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("Making" in output for output in outputs) == [False, True]
    assert sorted("waiting" in output for output in outputs) == [False, True]


def test_a_failing_pip_is_one_line(again):
    (again / "requirements.txt").write_text("./absent.whl\n")
    status, output = setup(again)
    assert status == 1
    assert output.splitlines()[-1].startswith("error: pip could not install the requirements (exit status 1")
    assert "absent.whl" in output and "Traceback" not in output and len(output.splitlines()) == 2


def test_run_tests_reports_every_part_that_failed(repo):
    command(
        repo.parent / "active/bin/python",
        f'''
case "$2" in
ruff) echo "ruff $3 ran"; [ "$3" = format ] ;;
mypy) echo "mypy ran" ;;
pytest) shift 2; echo "pytest ran: $*"; exit 5 ;;
*) exec "{sys.executable}" "$@" ;;
esac''',
    )
    status, output = call(repo, "run_tests.sh", "-k", "two words")
    assert status == 1
    assert all(f"{part} ran" in output for part in ("ruff check", "ruff format", "mypy"))
    pytest_words = "-n auto --maxprocesses 4 --dist worksteal -k two words"
    assert f"pytest ran: {pytest_words}\n" in output
    assert f"Failed: python -m ruff check ., python -m pytest {pytest_words}\n" in output


# --- the active environment -------------------------------------------------------------------------------------------

ACTIVE = pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
OLD = "echo 'it is Python 3.8' >&2; exit 1"  # what the script's question makes an old Python say
NO_VENV = "echo 'its venv module is missing' >&2; exit 1"
NOWHERE = "/nowhere/at all"


def within(root, variable, body=f'exec "{sys.executable}" "$@"'):
    """Return surroundings with a virtual environment or conda's active, whose Python does this."""
    env = surroundings(root, active=False)
    env["PATH"] = f"{root.parent / 'active/bin'}{os.pathsep}{env['PATH']}"
    for name in ("python", "python3"):
        command(root.parent / "active/bin" / name, body)
    return env | {variable: str(root.parent / "active")}


def tools_only(root):
    """Return a folder with the commands that the scripts need, and no Python."""
    folder = root.parent / "tools"
    folder.mkdir(exist_ok=True)
    for tool in ("bash", "dirname"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


@ACTIVE
def test_an_active_environment_that_has_everything_is_used(repo, variable):
    (repo / "requirements.txt").write_text("numpy>=1,<99\npytest>=1,<99  # a reason\n")
    assert setup(repo, within(repo, variable)) == (0, f"{repo.parent}/active/bin/python\n")
    assert call(repo, "3pop_neuLVM.sh", "--runs", "1", env=within(repo, variable))[0] == 0
    assert not (repo / ".venv").exists()


def test_an_active_environment_with_another_version_is_used_and_told(repo):
    (repo / "requirements.txt").write_text("numpy>=1,<1.1\n")
    status, output = call(repo, "3pop_neuLVM.sh", "--runs", "1")
    assert status == 0 and re.search(r"^note: numpy \S+ of the active environment is outside", output)


@ACTIVE
@pytest.mark.parametrize(
    ("python", "words"),
    [
        ({}, "it lacks tiny"),
        ({"body": OLD}, "it is Python 3.8"),
        ({"body": "exit 1"}, "it does not run"),
    ],
)
def test_an_active_environment_that_will_not_do_is_named_and_not_used(again, variable, python, words):
    """And a Python of it that is of no use does not hide another of the same name."""
    say = 'command -v python; echo "$VIRTUAL_ENV, ${CONDA_PREFIX:-no conda}"; python -c "import tiny; print(tiny.size)"'
    env = within(again, variable, **python)
    path = again.parent / "active/bin", again.parent / "plain", tools_only(again)
    status, output = setup(again, env | {"PATH": os.pathsep.join(map(str, path))}, say)
    assert status == 0 and output.splitlines() == [
        f"note: .venv is used instead of the active environment ({again.parent}/active): {words}",
        f"{again}/.venv/bin/python",
        f"{again}/.venv, no conda",
        "1",
    ]


def test_a_conda_environment_without_python_is_not_used(again):
    env = surroundings(again, active=False) | {"CONDA_PREFIX": NOWHERE}
    python = str(tools_only(again)), str(again.parent / "plain")  # where there is `python3` and no `python`
    said = f"note: .venv is used instead of the active environment ({NOWHERE}): it has no Python\n"
    assert setup(again, env | {"PATH": os.pathsep.join(python)}) == (0, f"{said}{again}/.venv/bin/python\n")


@ACTIVE
def test_an_environment_that_lacks_something_can_make_ours_which_does_without_it(made, tmp_path, variable):
    """Its Python is the only one on the path."""
    root, active = tmp_path / "the repo", tmp_path / "active"
    shutil.copytree(made, root, ignore=shutil.ignore_patterns(".venv"))
    env = within(root, variable, f'exec "{Path(sys.base_prefix, "bin/python3")}" "$@"')
    if variable == "VIRTUAL_ENV":
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", active], check=True)
    env["PATH"] = f"{active / 'bin'}{os.pathsep}{tools_only(root)}"
    status, output = setup(root, env)
    said = output.splitlines()
    assert status == 0 and said[0].endswith(f"({active}): it lacks tiny") and said[1].startswith("Making .venv with ")
    assert said[-1] == f"{root}/.venv/bin/python"
    shutil.rmtree(active)
    assert has_tiny(root)


def test_variables_that_lead_python_elsewhere_do_not_reach_ours(again, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/tiny.py").write_text("size = 2\n")
    for misleading in ({"PYTHONPATH": str(tmp_path / "other")}, {"PYTHONHOME": NOWHERE}):
        env = surroundings(again, active=False) | misleading
        assert setup(again, env, 'python -c "import tiny; print(tiny.size)"') == (0, "1\n")


def installed(folder, name, version, module):
    """Make a distribution with one module, as pip would."""
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (information / "RECORD").write_text(f"{module}.py,,\n")
    (information / "top_level.txt").write_text(f"{module}\n")
    (folder / f"{module}.py").touch()


def test_what_is_installed_is_known_by_its_distribution(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    installed(tmp_path, "test_plug.in", "1.5", "plug")
    installed(tmp_path, "made_up_cpu", "2.0", "made_up")
    (tmp_path / "left_over").mkdir()
    (tmp_path / "half_gone-1.0.dist-info").mkdir()
    (tmp_path / "bare_module.py").touch()
    for name, version in {
        "test-plug-in": "1.5",  # its module has another name
        "Test.Plug_In": "1.5",  # and its own can be spelled in many ways
        "made-up": "2.0",  # the module of this name comes with another distribution
        "bare-module": "",
        "left-over": None,  # a folder
        "half-gone": None,
    }.items():
        assert environment.installed_version(name) == version, name
    (tmp_path / "all.txt").write_text("Test-Plug-In>=1,<2\nmade_up>=3,<4\nbare_module>=1,<2\n")
    (tmp_path / "more.txt").write_text("left_over>=1,<2  # a reason\nhalf-gone>=1,<2\npytest>=1,<99\n")
    assert environment.check([tmp_path / "all.txt"]) == ""
    said = "note: made_up 2.0 of the active environment is outside the tried range >=3,<4\n"
    assert capsys.readouterr().err == said
    assert environment.check([tmp_path / "all.txt", tmp_path / "more.txt"]) == "it lacks left_over, half-gone"
    assert capsys.readouterr().err == ""


def test_the_tests_own_requirements_are_found_where_they_are_installed(tmp_path):
    pytest.importorskip("xdist")
    lines = (ROOT / "tests/requirements.txt").read_text().splitlines()
    (tmp_path / "some.txt").write_text("\n".join(line for line in lines if line.startswith("pytest")))
    assert list(environment.requirements([tmp_path / "some.txt"])) == ["pytest", "pytest-xdist"]
    assert environment.check([tmp_path / "some.txt"]) == ""


@pytest.mark.parametrize("body, words", [(OLD, "it is Python 3.8"), (NO_VENV, "python3: its venv module is missing")])
def test_no_usable_python_is_one_line(repo, body, words):
    command(repo.parent / "poor/python3", body)
    path = f"{repo.parent / 'poor'}{os.pathsep}{tools_only(repo)}"
    status, output = setup(repo, surroundings(repo, active=False, path=path))
    assert status == 1 and output.count("\n") == 1
    assert output.startswith("error: Python 3.10 to 3.13 with its venv module is needed") and words in output
    assert not (repo / ".venv").exists()


def test_requirements_are_read_without_comments():
    found = environment.requirements([ROOT / "requirements.txt", ROOT / "tests/requirements.txt"])
    assert {"numpy", "scipy", "tensorflow", "keras", "matplotlib", "tqdm", "pytest", "ruff", "mypy"} <= set(found)
    assert "tomli" in environment.requirements([ROOT / "requirements.txt"], (3, 10))
    assert "tomli" not in environment.requirements([ROOT / "requirements.txt"], (3, 11))
    for name, specifier in found.items():
        assert re.fullmatch(r">=[\d.]+,<[\d.]+", specifier), f"{name}: a range with an upper bound"
