"""Parts of a package that is not this one: used by name through its entry points, or by `package.module:name`.

The package is tests/foreign_parts; what an installation would write beside it, its metadata, is made of its pyproject.toml.
What is installed runs in a process of its own, as it does for a user.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from replication.cli import main

PACKAGE = Path(__file__).parent / "foreign_parts"
TOML = """
title = "parts of another package"
papers = []

[profiles.cpu]
batch_size = 8
[profiles.cpu.recipe]
dataset = "foreign-shades"
network = { name = "foreign-convolutions", width = 4 }
schedule = { name = "foreign-parabola", T = 20 }
parameterization = "v"
objective = "simple"
training = { steps = 2, batch_size = 8, learning_rate = 1e-3, warmup = 1, ema_decay = 0.5, flip = false }
[profiles.cpu.protocol]
name = "foreign"
n = 16
seeds = [0]
quantizer = "round"
reference = "test"
extractor = "foreign-grid"
resamples = 5
[[profiles.cpu.rows]]
label = "by name"
sampler = "foreign-midpoint"
spacing = "uniform"
steps = [2]
clip = "none"
[[profiles.cpu.rows]]
label = "by module"
sampler = "foreign_parts.midpoint:Midpoint"
spacing = "uniform"
steps = [4]
clip = "none"
"""
NAMES = {
    "sampler": "foreign-midpoint",
    "schedule": "foreign-parabola",
    "model": "foreign-convolutions",
    "dataset": "foreign-shades",
    "extractor": "foreign-grid",
    "metric": "foreign_shift",
}
MODULES = {
    "sampler": "foreign_parts.midpoint:Midpoint",
    "schedule": "foreign_parts.schedule:Parabola",
    "model": "foreign_parts.network:Convolutions",
    "dataset": "foreign_parts.dataset:shades",
    "extractor": "foreign_parts.extractor:Grid",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH beside the package's: its metadata, with the entry points of its pyproject.toml."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("site")
    metadata = folder / "foreign_parts-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups]
    (metadata / "entry_points.txt").write_text("".join(lines))
    return folder


@pytest.mark.long
def test_foreign_parts_by_name(installed: Path, tmp_path: Path, copy_store: Callable[[Path], None]) -> None:
    """An experiment of them runs, each is listed with the others, and passes the contract tests; the metric is in the rows.

    Catches a registry that knows its own package alone, and parts that are found but not built.
    """
    (tmp_path / "foreign.toml").write_text(TOML)
    checks = [["check", kind, name] for kind, name in NAMES.items()]
    lists = [["list", f"{kind}s"] for kind in NAMES]
    commands = [*lists, *checks, ["run", "foreign.toml"]]
    copy_store(tmp_path / "runs")
    path = os.pathsep.join(map(str, (installed, PACKAGE, Path(__file__).parents[1])))
    environment = {**os.environ, "PYTHONPATH": path, "REPLICATION_HOME": str(tmp_path / "runs")}
    code = f"import sys; from replication.cli import main; sys.exit(max(map(main, {commands!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert all(f"\n{name} " in printed for name in NAMES.values())
    assert printed.count("\nok   ") >= 30
    rows = printed[printed.index("| sampler ") :]
    missing = [word for word in ("| by name ", "| by module ", "FD-grid", "Shift-grid") if word not in rows]
    assert missing == [], rows


def test_foreign_parts_by_module(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No metadata: nothing is installed. Catches names that need an entry point."""
    text = TOML
    for kind, module in MODULES.items():
        assert NAMES[kind] in text
        text = text.replace(NAMES[kind], module)
    (isolated / "foreign.toml").write_text(text)
    monkeypatch.syspath_prepend(PACKAGE)
    assert main(["run", str(isolated / "foreign.toml")]) == 0
    assert "FD-grid" in capsys.readouterr().out
