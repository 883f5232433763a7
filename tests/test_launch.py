"""What launchers leave in the environment, and what it says about how many processes there are."""

from __future__ import annotations

import pytest

from llmrec.errors import RunFault
from llmrec.launch import RANKS, SIZES, expect_all_processes, processes, rank, refuse_launch
from llmrec.progress import leads

# As found in the started processes' environment, accelerate 1.15, without MPI.
ALONE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "True", "KMP_BLOCKTIME": "1"}
CAME_UP_SHORT = {**ALONE, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # --cpu --num_processes 2
SECOND_OF_TWO = {
    "ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "42967",
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
}  # fmt: skip
FIRST_OF_FOUR_BY_MPI = {**CAME_UP_SHORT, "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch):
    for name in [*SIZES, *RANKS, *CAME_UP_SHORT]:
        monkeypatch.delenv(name, raising=False)

    def by(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return by


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, (1, 0)), (ALONE, (1, 0)), (SECOND_OF_TWO, (2, 1)), (FIRST_OF_FOUR_BY_MPI, (4, 0)), ({"RANK": ""}, (1, 0))],
    ids=["no launcher", "one", "two", "mpi", "an empty rank"],
)
def test_processes_are_counted_and_numbered(launched, environment, expected) -> None:
    launched(environment)
    assert (processes(), rank()) == expected
    assert leads() == (expected[1] == 0)


@pytest.mark.parametrize("environment", [{}, ALONE, {"MASTER_ADDR": "node1"}, SECOND_OF_TWO, FIRST_OF_FOUR_BY_MPI])
def test_a_launch_with_all_its_processes_goes_on(launched, environment) -> None:
    launched(environment)
    expect_all_processes()


def test_a_launch_that_came_up_short_says_how_to_launch_two(launched) -> None:
    launched(CAME_UP_SHORT)
    with pytest.raises(RunFault, match=r"several processes were asked for and one was started.*cpu-2\.yaml") as fault:
        expect_all_processes()
    assert fault.value.exit_code == 2
    with pytest.raises(RunFault, match="one was started"):
        refuse_launch("run")


def test_only_training_is_shared(launched) -> None:
    launched(ALONE)
    refuse_launch("run")
    launched(SECOND_OF_TWO)
    with pytest.raises(RunFault, match="llmrec run runs in one process, and this is one of 2. Launch only `train`"):
        refuse_launch("run")
