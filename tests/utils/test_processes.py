"""How much memory there is: in a container or a job of a cluster, less than the machine has."""

import pytest

from src.utils import processes
from src.utils.processes import memory_there

MACHINE = memory_there()


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write control groups: what /proc/self/cgroup says, and the limits by their files."""

    def write(lines, limits):
        (tmp_path / "of_this").write_text(lines)
        for path, limit in limits.items():
            (tmp_path / "groups" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / path).write_text(f"{limit}\n")

    monkeypatch.setattr(processes, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(processes, "GROUPS_OF_THIS", tmp_path / "of_this")
    return write


@pytest.mark.parametrize(
    ("lines", "limits", "there"),
    [
        ("0::/slurm/job7\n", {"slurm/job7/memory.max": 2**28, "slurm/memory.max": "max"}, 2**28),
        ("0::/slurm/job7\n", {"slurm/job7/memory.max": "max", "slurm/memory.max": 2**27}, 2**27),
        ("0::/not/seen/here\n", {"memory.max": 2**28}, 2**28),  # within a container
        ("0::/\n", {"memory.max": "max"}, MACHINE),
        ("9:cpu,cpuacct:/a\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": 2**28}, 2**28),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": 2**63 - 4096}, MACHINE),
        ("9:cpu:/a\n1:name=systemd:/a\n", {"memory/a/memory.limit_in_bytes": 2**28, "a/memory.max": 1}, MACHINE),
    ],
)
def test_memory_of_a_container_or_job(groups, lines, limits, there):
    groups(lines, limits)
    assert memory_there() == there


def test_without_control_groups_it_is_that_of_the_machine(groups):
    assert memory_there() == MACHINE
