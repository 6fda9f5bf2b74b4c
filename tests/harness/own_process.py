"""`replicate run tiny` in a process of its own, and what it leaves, to be compared with what another run leaves."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from harness.tiny import write_tiny

from replication.checkpoint import load_checkpoint
from replication.harness.journal import unsealed
from replication.sampling.chunks import chunks_in

CHANGES = ["--device", "cpu", "--set", "protocol.n=64"]
OF_THE_RUN = ("timing.", "env.", "measured.")  # columns that two runs of the same need not agree in
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
import torch
from replication.cli import main
from replication.harness import companions
from replication.harness.store import Store
Store.installed = False
torch.set_num_threads({threads})
companions.PAYS, companions.LEAST, companions.STEP = 1e-9, 1, 0.0
sys.exit(main(["run", "tiny", *sys.argv[1:]]))
"""


def started(folder: Path, *options: str, threads: int = 1) -> "subprocess.Popen[str]":
    """In a project of its own, where any work is enough for a companion to each thread, and which tells MLflow nothing."""
    write_tiny(folder)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("REPLICATION_", "MLFLOW_"))}
    path = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    return subprocess.Popen(
        [sys.executable, "-u", "-c", RUN.format(threads=threads), *CHANGES, *options],
        env=own
        | {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": str(threads),
            "RAY_worker_niceness": "0",
        },  # of 15, or tests beside it starve it
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """By key, what does not hang on the run; a snapshot's header has the seconds that it took."""
    paths = (folder / "runs" / "journal" / "tiny-cpu").glob("*.json")
    return {
        path.stem: {
            column: value
            for column, value in unsealed(path.read_bytes()).items()
            if not column.startswith(OF_THE_RUN) and column != "checkpoint.sha256"
        }
        for path in paths
    }


def images(folder: Path) -> dict[str, torch.Tensor]:
    """By sample set."""
    sets = (path for path in (folder / "runs" / "samples").glob("*/seed-0"))
    return {path.parent.name: torch.cat([chunk.images() for chunk in chunks_in(path)]) for path in sets}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = (folder / "runs" / "checkpoints").glob("*.safetensors")
    return {name: tensor for name, tensor in load_checkpoint(path)[0].items() if name != "curve"}
