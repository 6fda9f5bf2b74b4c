"""The wheel: what is in it, and that it works in an empty folder, without the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked() -> list[str]:
    """What belongs to the project: leftovers of other builds, and files in the making, stay out."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("a wheel is built from the files that git tracks, and this is no checkout")
    kept = [name for name in filter(None, listed.stdout.split("\0")) if (ROOT / name).exists()]
    return [name for name in kept if name.startswith(("replication/", "experiments/")) or "/" not in name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="built offline, with the setuptools of this environment")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(built), "."]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(built.glob("*.whl"))


@pytest.mark.long
def test_it_carries_every_file_of_the_package_and_every_experiment(wheel: Path) -> None:
    """Catches a template, weights or a table that package-data forgot, and anything outside the package."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = [name if name.startswith("replication/") else f"replication/{name}" for name in tracked() if "/" in name]
    assert packed == set(wanted)


@pytest.mark.long
def test_it_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """`plan` reads experiments, protocols and published tables from the wheel; results/ and runs/ belong to the folder."""
    installed, here = tmp_path / "installed", tmp_path / "empty"
    here.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    code = f"""
import sys; sys.path.insert(0, {str(installed)!r})
from pathlib import Path
from replication.cli import main
from replication.harness.home import project, state
assert main(["list", "samplers"]) == main(["plan", "ddpm", "--profile", "paper"]) == 0
assert project() == Path.cwd() and state() == Path.cwd() / "runs"
"""
    clean = {"PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=here, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    assert "ddim" in done.stdout
    assert "3.17" in done.stdout  # the paper's value for DDPM at 1000 steps
