"""The sweep on a real dask.distributed cluster of two worker processes on this machine."""

import os

import pytest
from test_montecarlo import assert_same_bits, sweep_and_kill

from attnlib import montecarlo
from attnlib.montecarlo import sweep

pytestmark = pytest.mark.needs_dask


@pytest.fixture
def client():
    from dask.distributed import Client, LocalCluster

    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        LocalCluster(
            **workers, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield client


def pids(client):
    """The process of each worker, by the worker's address."""
    return client.run(os.getpid)


def test_the_same_bits(client, monkeypatch):
    from dask.distributed import get_task_stream

    monkeypatch.setattr(montecarlo, "TASK", 2**16)
    assert len({os.getpid(), *pids(client).values()}) == 3
    grid = {
        "d_ks": [1, 64],
        "ns": [2, 100, 3000],
        "samples": 900,
        "seed": 0,
    }
    with get_task_stream(client) as stream:
        found = sweep(**grid, executor=client.get_executor())
    assert_same_bits(found, sweep(**grid))
    assert {task["worker"] for task in stream.data} == set(
        pids(client)
    )  # both took part


def test_a_worker_is_killed_and_nothing_is_lost(client, monkeypatch):
    monkeypatch.setattr(montecarlo, "TASK", 2**20)
    grid = {"d_ks": [4], "ns": [4096], "samples": 16_384, "seed": 1}
    before = list(pids(client).values())
    running = sweep_and_kill(
        monkeypatch, client.get_executor(), lambda: before, **grid
    )
    assert_same_bits(running.result(60), sweep(**grid))
    client.wait_for_workers(
        2, timeout=60
    )  # dask has started another in its place
    after = list(pids(client).values())
    assert before[0] not in after and before[1] in after


def test_the_client_in_place_of_its_executor(client):
    with pytest.raises(TypeError, match=r"client\.get_executor\(\)"):
        sweep([4], [4], samples=2, seed=0, executor=client)
