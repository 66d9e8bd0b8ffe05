"""Many jobs: one way, here or on a cluster, whatever happens to a process."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from src.utils import cluster
from src.utils.exceptions import FitError, InputError
from src.utils.jobs import KILLED, Where, results_of, run_jobs
from tests import job_functions

ROOT = Path(__file__).parents[2]
NAMES = [f"job {k}" for k in range(6)]
HERE, THERE = Where(1), Where(2)


def results(function, jobs, where, **given):
    return [outcome.result for outcome in run_jobs(function, jobs, NAMES[: len(jobs)], where, **given)]


@pytest.mark.parametrize("where", [HERE, THERE])
def test_results_come_in_the_order_of_the_jobs(where, capfd):
    heard = {}
    found = results(job_functions.square, range(6), where, told=lambda k, outcome: heard.update({k: outcome.result}))
    assert found == [0, 1, 4, 9, 16, 25] and heard == dict(enumerate(found))
    assert sorted(capfd.readouterr().out.splitlines()) == [f"[job {k}] of {k}" for k in range(6)]
    assert not multiprocessing.active_children()


def test_one_process_serves_many_jobs_and_has_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = results(job_functions.where_it_runs, range(6), THERE)
    pids, threads = zip(*found, strict=True)
    assert 1 <= len(set(pids)) <= 2 and os.getpid() not in pids and set(threads) == {"1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # what the user has set stays
    assert {threads for _, threads in results(job_functions.where_it_runs, range(2), THERE)} == {"4"}


@pytest.mark.parametrize("where", [HERE, THERE])
def test_a_failed_job_is_told_with_its_reason_and_the_others_go_on(where, capfd):
    outcomes = run_jobs(job_functions.fails, [None, "fit", "input", "memory", "mistake", "exit"], NAMES, where)
    reasons = ["", "no luck", "x: expected 1, got 2", "not enough memory", "KeyError: 'a'", "exit status 3"]
    assert [outcome.error for outcome in outcomes] == reasons
    assert "[job 4] KeyError: 'a'" in capfd.readouterr().err  # a mistake of ours has a traceback
    with pytest.raises(FitError, match="^job 1: no luck; job 2: x: expected 1, got 2; job 3"):
        results_of(outcomes, NAMES)
    assert results_of(outcomes[:1], NAMES[:1]) == ["done"]


def test_a_killed_process_costs_its_own_job_alone(tmp_path):
    """It gets another try, alone; those beside it go on."""
    jobs = [(tmp_path, "once"), (tmp_path, "always"), *[(tmp_path, str(k)) for k in range(3)]]
    outcomes = run_jobs(job_functions.killed, jobs, NAMES[:5], THERE)
    assert [outcome.error for outcome in outcomes] == ["", KILLED, "", "", ""]
    tries = [(tmp_path / name).read_text() for name in ("once", "always", "0", "1", "2")]
    assert tries == ["xx", "xx", "x", "x", "x"]
    assert not multiprocessing.active_children()


def test_the_second_try_may_be_another_job(tmp_path):
    given = {"again": lambda job: (tmp_path, "went on")}
    found = run_jobs(job_functions.killed, [(tmp_path, "always"), (tmp_path, "1")], NAMES[:2], THERE, **given)
    assert [one.result for one in found] == ["went on", "1"]


def test_a_process_may_die_while_the_end_of_another_job_is_being_told(tmp_path):
    def told(number, outcome):
        time.sleep(0.5)  # the other one kills itself meanwhile

    found = run_jobs(job_functions.killed, [(tmp_path, name) for name in ("1", "once", "2")], NAMES[:3], THERE, told)
    assert [one.result for one in found] == ["1", "once", "2"]


def test_what_cannot_be_sent_back_is_told(tmp_path):
    found = run_jobs(job_functions.not_to_be_sent, [0, 1], NAMES[:2], THERE)
    assert "pickle" in found[0].error and found[1].result == 1


def test_what_the_listener_raises_ends_all():
    def told(number, outcome):
        raise BrokenPipeError

    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        run_jobs(job_functions.sleeps, [0.0, 60.0, 60.0], NAMES[:3], THERE, told)
    assert time.monotonic() - began < 30 and not multiprocessing.active_children()


PARENT = """
from src.utils.jobs import Where, run_jobs
from tests import job_functions

if __name__ == "__main__":
    run_jobs(job_functions.says_who_then_sleeps, [60, 60], ["a", "b"], Where(2))
"""


def is_running(pid):
    """Whether there is such a process, other than one that waits for nothing but to be counted as ended."""
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(said.strip()) and not said.strip().startswith("Z")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    command, here = [sys.executable, str(tmp_path / "parent.py")], {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=here, **pipes) as parent:
        children = [int(parent.stdout.readline().split()[-1]) for _ in range(2)]
        assert all(map(is_running, children))
        parent.send_signal(number)
    end = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < end:
        time.sleep(0.05)
    left = list(filter(is_running, children))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_nothing_is_said_of_what_a_killed_command_leaves_behind():
    """What loky shares between processes is cleaned up by another one, which would warn of it."""
    code = "from src.utils.jobs import Where, run_jobs; from tests.job_functions import kill_parent; "
    code += "run_jobs(kill_parent, [1, 2], ['a', 'b'], Where(2))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (-signal.SIGKILL, "")


# --- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask():
    """Give the address of a scheduler with two workers on the loopback address, and what starts more."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    processes = []

    def start(what, *words, **environment):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *words, "--host", "127.0.0.1"]
        here = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, env={**here, **environment}, **quiet))
        return processes[-1]

    def work(*words, **environment):
        return start("worker", address, "--no-nanny", "--no-dashboard", *words, **environment)

    start("scheduler", "--port", address.rsplit(":", 1)[1], "--no-dashboard")
    for _ in range(2):
        work("--nthreads", "1")
    wait_for_workers(address, 2)
    yield address, work
    for process in processes:
        process.kill()
        process.wait()


def wait_for_workers(address, number):
    from distributed import Client

    end = time.monotonic() + 60
    while True:
        try:
            with Client(address, timeout=5, set_as_default=False) as client:
                client.wait_for_workers(number, timeout=30)
                return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_the_same_jobs_on_a_cluster_one_worker_of_which_is_killed(dask, tmp_path):
    """Every job ends, none twice. The job whose worker was killed is done again by the other."""
    address, work = dask
    jobs, heard = [(tmp_path, str(k)) for k in range(6)], []
    jobs[2] = (tmp_path, "once")
    there = run_jobs(job_functions.killed, jobs, NAMES, Where(1, address), told=lambda k, _: heard.append(k))
    assert [(outcome.result, outcome.error) for outcome in there] == [(str(k), "") for k in (0, 1, "once", 3, 4, 5)]
    assert sorted(heard) == list(range(6)) and (tmp_path / "once").read_text() == "xx"
    work("--nthreads", "1")
    wait_for_workers(address, 2)


def test_a_job_that_kills_its_workers_again_and_again_is_given_up(dask, tmp_path):
    address, work = dask
    for _ in range(4):
        work("--nthreads", "1")
    wait_for_workers(address, 6)
    outcomes = run_jobs(job_functions.killed, [(tmp_path, "always"), (tmp_path, "1")], NAMES[:2], Where(1, address))
    assert [outcome.error for outcome in outcomes] == [KILLED, ""]


def test_workers_that_cannot_be_used_are_refused(dask):
    from distributed import Client

    address, work = dask
    several = work("--nthreads", "2")
    with Client(address, timeout=5, set_as_default=False) as client:
        while 2 not in client.nthreads().values():
            time.sleep(0.1)
    with pytest.raises(InputError, match="^scheduler: expected workers of one thread .*, but tcp.* has 2$"):
        run_jobs(job_functions.square, [1], ["a"], Where(1, address))
    several.kill()
    several.wait()


def test_it_says_that_the_last_worker_is_gone(monkeypatch, capsys):
    """As the scheduler says, look after look: workers, none, none, some again, none; then it is gone itself."""
    monkeypatch.setattr(cluster, "LOOKS", 0.01)
    answers = iter([{"a": 1}, {}, {}, {"b": 1}, {}])
    cluster.tell_of_missing_workers(SimpleNamespace(nthreads=lambda: next(answers)), Event())
    said = capsys.readouterr().err.splitlines()
    assert said == ["note: the scheduler has no workers left; waiting for another one"] * 2


def test_a_folder_that_workers_do_not_see_is_refused(dask, tmp_path, monkeypatch):
    found = run_jobs(job_functions.square, [3], ["a"], Where(1, dask[0]), shared=tmp_path / "new")
    assert found[0].result == 9 and list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr("src.utils.cluster.os.path.exists", job_functions.sees_nothing)
    with pytest.raises(InputError, match=f"^scheduler: expected workers that see {tmp_path}, but tcp.* cannot"):
        run_jobs(job_functions.square, [3], ["a"], Where(1, dask[0]), shared=tmp_path)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:1", "tcp://127.0.0.1:one"])
def test_a_scheduler_that_does_not_answer(address):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=f"^scheduler: expected the address of a Dask .*, got '{address}'"):
        run_jobs(job_functions.square, [1], ["a"], Where(1, address))


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="^scheduler: expected Dask to be installed: python -m pip install"):
        run_jobs(job_functions.square, [1], ["a"], Where(1, "tcp://127.0.0.1:1"))


def test_where_in_words():
    assert Where(3).of(2).runs_where == "2 at a time" and "tcp://a:1" in Where(3, "tcp://a:1").runs_where


@pytest.mark.slow
def test_a_fit_is_the_same_here_in_processes_and_on_a_cluster(dask):
    """Three random starts of a small fit."""
    here, processes, there = (results(job_functions.fit, [1, 2, 3], to) for to in (HERE, THERE, Where(1, dask[0])))
    assert here == processes == there and here[0] != here[1]
