"""Jobs on a Ray cluster: the rows and images of one process, whatever happens to a worker."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness.own_process import CHANGES, images, rows, started, weights
from harness.tiny import write_tiny

from replication.cli import main
from replication.files import Held
from replication.harness.cluster import RemoteWorker, Share, Worker, workers_on_ray
from replication.harness.computing import MOST_LOST
from replication.harness.store import Store
from replication.harness.workplace import Workplace
from replication.types import InputError, RunError


@pytest.mark.long
def test_a_cluster_has_the_rows_and_images_of_one_process_though_a_worker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact, on a real cluster of this machine: two workers, one of which is killed when it has begun to draw.

    Catches rows that workers write or that come twice, images drawn twice, another seed, a row lost with its worker, and a
    sample set that one worker draws alone.
    """
    pytest.importorskip("ray", reason="ray is not installed: the extra `cluster`")
    batches = ["--set", "batch_size=4"]
    with started(tmp_path / "ray", *batches, "--executor", "ray", "--worker-cpus", "1") as process:
        said, killed = _kill_one_that_draws(process, tmp_path / "ray" / "runs" / "samples")
    assert process.returncode == 0, said
    assert re.search(rf"lost worker {killed} on .*; another one goes on from what is written", said)
    assert len(re.findall(r"computed by worker \d+", said)) == 3
    monkeypatch.chdir(write_tiny(tmp_path / "one").parents[1])
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    monkeypatch.setattr(Store, "installed", False)
    assert main(["run", "tiny", *CHANGES, *batches]) == 0
    assert rows(tmp_path / "ray") == rows(tmp_path / "one")
    ours, theirs = images(tmp_path / "ray"), images(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    a, b = weights(tmp_path / "ray"), weights(tmp_path / "one")
    assert all(torch.equal(a[name], b[name]) for name in a)


def _kill_one_that_draws(process: subprocess.Popen[str], samples: Path) -> tuple[str, int]:
    """All that the run says, and the worker that was killed when the first chunk was there."""
    lines: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reading.start()
    while process.poll() is None and not list(samples.glob("*/*/*.safetensors")):
        time.sleep(0.05)
    workers = re.findall(r"worker (\d+) on .* has started", "".join(lines))
    assert workers, lines
    os.kill(int(workers[0]), signal.SIGKILL)
    reading.join()
    return "".join(lines), int(workers[0])


class Lost(Exception):
    """As Ray's for a worker that is gone."""


class Pretended:
    """Ray as far as a RemoteWorker needs it, in this process: each worker dies when it has answered `lives` times."""

    exceptions = SimpleNamespace(RayActorError=Lost)

    def __init__(self, lives: list[int], room: bool = True):
        self.lives, self.room, self.started, self.killed = lives, room, 0, 0

    def remote(self, **share: int) -> Any:
        def decorated(kind: type[Worker]) -> Any:
            return SimpleNamespace(remote=lambda *_: self._worker())

        return decorated

    def _worker(self) -> Any:
        self.started += 1
        left = iter(range(self.lives[self.started - 1]))

        def asked(*arguments: Any) -> Any:
            return ("greeted",) if not arguments else (arguments, left)

        method = SimpleNamespace(remote=asked)
        return SimpleNamespace(greeting=method, answer=method)

    def wait(self, promises: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return (promises, []) if self.room else ([], promises)

    def get(self, promise: Any) -> Any:
        if promise == ("greeted",):
            return f"worker {self.started}"
        if next(promise[1], None) is None:
            raise Lost
        return RunError("wrong") if promise[0][-1] == "wrong" else promise[0]

    def kill(self, actor: Any) -> None:
        self.killed += 1


def remote(ray: Pretended, tmp_path: Path) -> RemoteWorker:
    return RemoteWorker(ray, Workplace(tmp_path, torch.device("cpu"), 8), Share(0, 1), "cpu", torch.device)


def job(title: str = "a job") -> Any:
    return SimpleNamespace(title=title)


def test_a_lost_worker_is_replaced_and_one_job_loses_only_so_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted. Catches a job that kills workers for ever, one given up at the first loss, and losses that add up over jobs."""
    ray = Pretended([1, 0, 2, *[0] * MOST_LOST])
    worker = remote(ray, tmp_path)
    for _ in range(3):
        assert worker.compute(job(), None)[2:] == (job(), None)
    assert ray.started == 3
    assert capsys.readouterr().out.count("lost worker") == 2
    with pytest.raises(RunError, match=rf"a job: lost {MOST_LOST} workers on the way"):
        worker.compute(job(), None)


def test_what_a_job_raises_in_a_worker_is_raised_here(tmp_path: Path) -> None:
    """Catches an error of a job that is taken for a lost worker, and tried again."""
    ray = Pretended([5])
    with pytest.raises(RunError, match="wrong"):
        remote(ray, tmp_path).compute(job(), "wrong")  # type: ignore[arg-type]
    assert ray.started == 1


def test_a_worker_that_finds_no_room_leaves_its_job_to_others(tmp_path: Path) -> None:
    """Catches a run that waits for ever with a job in its hands for a node that has gone."""
    worker = remote(Pretended([1], room=False), tmp_path)
    with pytest.raises(Held, match="no room"):
        worker.compute(job(), None)
    assert worker.help(job()) is False


def test_stopping_ends_what_is_waited_for(tmp_path: Path) -> None:
    """Catches Ctrl-C that is answered by another worker."""
    ray = Pretended([0, 1])
    worker = remote(ray, tmp_path)
    worker.stop()
    with pytest.raises(KeyboardInterrupt):
        worker.compute(job(), None)
    assert (ray.killed, ray.started) == (1, 1)


@pytest.mark.parametrize(
    ("share", "node", "room"),
    [
        (Share(0, 1), {"CPU": 8.0}, 8),
        (Share(0, 3), {"CPU": 8.0}, 2),
        (Share(1, 1), {"CPU": 8.0, "GPU": 4.0}, 4),
        (Share(1, 1), {"CPU": 2.0, "GPU": 4.0}, 2),
        (Share(1, 1), {"CPU": 8.0}, 0),
    ],
)
def test_workers_fit_into_what_a_node_has(share: Share, node: dict[str, float], room: int) -> None:
    """Exact. Catches more workers than GPUs, which would wait for ever."""
    assert share.fitting(node) == room


def test_without_ray_the_way_on_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Catches a traceback, and a GPU that the command's own machine must have."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["run", "tiny", "--executor", "ray", "--device", "cuda"]) == 2
    assert "pip install ray, or diffusion-replication with its extra `cluster`" in capsys.readouterr().err
    for device, message in (("cdua", "did you mean 'cuda'"), ("cpu", "extra `cluster`")):
        with pytest.raises(InputError, match=message), _workers(tmp_path, device):
            pass


@pytest.mark.parametrize("cores", ["0", "-1"])
def test_a_worker_needs_a_core(cores: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback, and a number of workers below none."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda *_, **__: pytest.fail("Ray was asked")))
    assert main(["run", "ddpm", "--executor", "ray", "--worker-cpus", cores]) == 2
    assert f"--worker-cpus {cores}: a worker has at least one core" in capsys.readouterr().err


def test_an_address_where_no_cluster_is_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches the minutes after which Ray gives up."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **_: pytest.fail("Ray was asked")))
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=rf"RAY_ADDRESS={address}: no cluster answers"), _workers(tmp_path, "cpu"):
            pass


def _workers(state: Path, device: str) -> Any:
    return workers_on_ray([], Workplace(state, torch.device("cpu"), 8), device, torch.device, 1)


def test_a_worker_answers_with_what_goes_wrong_and_computes_within_the_time(tmp_path: Path) -> None:
    """Catches an exception of a class that the driver has not, and a deadline on another machine's clock."""

    class Foreign(Exception):
        pass

    def failing(place: Workplace) -> Any:
        assert 0 < place.deadline.left() <= 5.0
        raise Foreign("oh\nno")

    worker = Worker(Workplace(tmp_path, torch.device("cpu"), 8), Share(0, torch.get_num_threads()), "cpu", torch.device)
    answer = worker.answer("compute", 5.0, SimpleNamespace(compute=failing, title="a job"), None)
    assert (type(answer), str(answer)) == (RunError, "Foreign: oh")
