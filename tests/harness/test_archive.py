"""Export and import: rows arrive byte for byte, again and again, and nothing of an archive that was tampered with does."""

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from harness.tiny import write_tiny

from replication.cli import main
from replication.harness.archive import MANIFEST, export_archive, import_archive
from replication.harness.journal import Computed, Journal, unsealed
from replication.report.rows import csv_text, read_csv
from replication.training.loop import CURVE
from replication.types import InputError

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny experiment that was run and reported, and its archive with samples and weights."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.delenv("REPLICATION_HOME", raising=False)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_tiny(folder)
        assert main(["run", "tiny", "--device", "cpu"]) == 0
        curve = {"experiment": "tiny", "profile": "cpu", "training": "ab" * 32, "title": "DDPM"}
        Journal(folder / "runs" / "journal" / "tiny-cpu").write_curve({**curve, **{key: [1.0, 2.0] for key in CURVE}})
        assert main(["report", "tiny"]) == 0
        assert main(["export", "all.zip", "--samples", "*", "--weights", "DDIM x 2"]) == 0
        assert main(["export", "rows.zip", "tiny"]) == 0
    return folder


@pytest.fixture
def other(tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine: the same experiment, no state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(exported / "experiments", tmp_path / "experiments")
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_tables_after_an_import_are_those_of_the_other_machine(
    exported: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, strips, replicates and curves byte by byte, tables and plots too; nothing is left to run. Catches a row
    that is written anew on its way, and an import that drops what a table is made from."""
    assert main(["import", str(exported / "rows.zip")]) == 0
    journal = {n: c for n, c in tree(exported / "runs" / "journal").items() if not n.endswith(".mlflow")}
    assert tree(other / "runs" / "journal") == journal
    assert main(["report", "tiny"]) == 0
    assert tree(other / "results") == tree(exported / "results")
    capsys.readouterr()
    assert main(["plan", "tiny"]) == 0
    assert capsys.readouterr().out.count("done") == 3
    assert main(["sync"]) == 0
    assert "rows are in MLflow" in capsys.readouterr().out


def test_importing_again_changes_nothing(exported: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(exported / "all.zip")]) == 0
    printed = capsys.readouterr().out
    assert "3 rows" in printed.partition(";")[0]
    assert "2 weights" not in printed
    first = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (other / "runs").rglob("*") if p.is_file()}
    assert main(["import", str(exported / "all.zip")]) == 0
    assert "taken in: nothing" in capsys.readouterr().out
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (other / "runs").rglob("*") if p.is_file()} == first
    assert not list((other / "runs").glob(".import-*"))


def test_imported_samples_and_weights_serve(
    exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stored images are measured again without a model, and another row is drawn with the weights, without training."""
    assert main(["import", str(exported / "all.zip")]) == 0
    capsys.readouterr()
    assert main(["measure", "tiny:DDIM:2"]) == 0
    monkeypatch.setattr("replication.harness.workplace.train", lambda *_, **__: pytest.fail("trained again"))
    path = other / "experiments" / "tiny.toml"
    path.write_text(path.read_text().replace("steps = [2]", "steps = [2, 3]", 1))
    assert main(["run", "tiny", "--device", "cpu"]) == 0
    rows = [json.loads(p.read_text()) for p in (other / "runs" / "journal" / "tiny-cpu").glob("*.json")]
    (new,) = (row for row in rows if row["label"] == "DDIM" and row["sampling.steps"] == 3)
    (trained,) = (exported / "runs" / "checkpoints").glob("*.safetensors")
    assert new["checkpoint.given"] == hashlib.sha256(trained.read_bytes()).hexdigest()


def test_a_row_that_is_here_stays_as_it_is(exported: Path, other: Path) -> None:
    """Catches an import that writes over another measurement of the same cell, or over its strip alone."""
    assert main(["import", str(exported / "rows.zip")]) == 0
    row = next((other / "runs" / "journal" / "tiny-cpu").glob("*.json"))
    own = json.dumps({**unsealed(row.read_bytes()), "timing.seconds_per_image": 1.0})
    row.write_text(own)
    row.with_suffix(".png").write_bytes(b"own")
    assert main(["import", str(exported / "all.zip")]) == 0
    assert row.read_text() == own
    assert row.with_suffix(".png").read_bytes() == b"own"


def rewritten(source: Path, out: Path, change: Change, manifest: bool = True) -> Path:
    """The archive with changed members; the manifest states what they are now, unless it is to stay."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stated = members.pop(MANIFEST)
    change(members)
    if manifest:
        of = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in members.items()}
        stated = json.dumps({"format": 1, "members": of}).encode()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {MANIFEST: stated, **members}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out


def of_kind(members: dict[str, bytes], begins: str, ends: str) -> str:
    """The first name of that kind; of a row's, none of a curve."""
    named = (name for name in sorted(members) if name.startswith(begins) and name.endswith(ends))
    return next(name for name in named if "/curves/" in begins or "/curves/" not in name)


def changed(begins: str, ends: str, work: Callable[[bytes], bytes]) -> Change:
    def change(members: dict[str, bytes]) -> None:
        name = of_kind(members, begins, ends)
        members[name] = work(members[name])

    return change


def moved(to: str) -> Change:
    def change(members: dict[str, bytes]) -> None:
        members[to] = members.pop(of_kind(members, "samples/", ".safetensors"))

    return change


def edited(**columns: object) -> Callable[[bytes], bytes]:
    return lambda row: json.dumps({**unsealed(row), **columns}).encode()


ROW = ("journal/tiny-cpu/", ".json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved("../../evil.safetensors"), "the name of nothing"),
        (moved("/etc/evil.safetensors"), "the name of nothing"),
        (moved("samples/../../../evil.safetensors"), "the name of nothing"),
        (moved(f"samples/{'0' * 64}/seed-0/../../0000000-0000008.safetensors"), "the name of nothing"),
        (moved(f"journal/../{'0' * 64}.safetensors"), "the name of nothing"),
        (moved("locks/train"), "the name of nothing"),
        (moved(f"samples/{'0' * 64}/seed-0/0000000-0000009.safetensors"), "8 images"),
        (moved(f"checkpoints/{'0' * 64}-2.safetensors"), "not what its name says"),
        (moved(f"journal/tiny-cpu/{'0' * 64}.safetensors"), "belongs to no row"),
        (changed(*ROW, edited(setting="0" * 64)), "does not make its key"),
        (changed(*ROW, edited(**{"version.fd": 9})), "does not make its key"),
        (changed(*ROW, edited(cell="0" * 64)), "not the row of its key"),
        (changed(*ROW, edited(experiment="other")), "of another table"),
        (changed(*ROW, lambda _: b"[" * 100_000), "no row and no curve"),
        (changed(*ROW, lambda _: b"[]"), "no row and no curve"),
        (changed("journal/tiny-cpu/curves/", ".json", edited(training="0" * 64)), "the curve of another training"),
        (changed("journal/tiny-cpu/curves/", ".json", edited(loss=[1.0])), "not equally long"),
        (changed("journal/tiny-cpu/curves/", ".json", edited(loss=["x", "2"])), "'x' is no number"),
        (changed("journal/", ".png", lambda png: png[:40]), "not what its name says"),
        (changed("journal/", ".safetensors", lambda file: file[:-8]), "not what its name says"),
        (changed("samples/", ".safetensors", lambda file: file[:100]), "not what its name says"),
        (changed("checkpoints/", ".safetensors", lambda file: b"\xff" * 16 + file), "not what its name says"),
    ],
)
def test_nothing_is_taken_of_an_archive_in_which_one_member_is_wrong(
    exported: Path, other: Path, change: Change, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its manifest agrees with it. Catches a member that leaves the state folder, and half an import."""
    archive = rewritten(exported / "all.zip", other / "bad.zip", change)
    before = tree(other.parent)
    assert main(["import", str(archive)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    left = {name for name in tree(other.parent).keys() - before.keys() if "/locks/" not in name}
    assert not left


def test_a_flipped_byte_a_missing_and_an_added_member_are_found(exported: Path, other: Path) -> None:
    """The manifest as it was. Catches content that is not compared with it."""
    flip = changed("samples/", ".safetensors", lambda file: file[:-1] + bytes([file[-1] ^ 1]))
    longer = changed("journal/", ".png", lambda png: png + b"x")
    for change, message in [
        (flip, "is damaged"),
        (longer, "is damaged"),
        (lambda members: members.pop(of_kind(members, "journal/", ".png")), "is missing"),
        (lambda members: members.update({f"journal/tiny-cpu/{'0' * 64}.png": b""}), "is not in its manifest"),
    ]:
        archive = rewritten(exported / "all.zip", other / "bad.zip", change, manifest=False)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=message):
            import_archive(archive, other / "runs")


def test_links_devices_repeated_and_compressed_members_are_refused(exported: Path, other: Path) -> None:
    """A bomb is small because it is compressed; a link or a device is more than a file."""
    name = f"journal/tiny-cpu/{'0' * 64}.png"
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR):
        shutil.copy(exported / "rows.zip", other / "bad.zip")
        link = zipfile.ZipInfo(name)
        link.external_attr = (mode | 0o777) << 16
        with zipfile.ZipFile(other / "bad.zip", "a") as archive:
            archive.writestr(link, "/etc/passwd")
        with pytest.raises(InputError, match="no plain file"):
            import_archive(other / "bad.zip", other / "runs")
    for times, how, message in (
        (1, zipfile.ZIP_DEFLATED, "is compressed"),
        (2, zipfile.ZIP_STORED, "is in it 2 times"),
    ):
        shutil.copy(exported / "rows.zip", other / "bad.zip")
        with (
            zipfile.ZipFile(other / "bad.zip", "a") as archive,
            pytest.warns(UserWarning, match="Duplicate") if times > 1 else nullcontext(),
        ):
            for _ in range(times):
                archive.writestr(zipfile.ZipInfo(name), bytes(1 << 20), compress_type=how)
        with pytest.raises(InputError, match=message):
            import_archive(other / "bad.zip", other / "runs")


def test_what_is_no_archive_is_said_in_one_message(exported: Path, other: Path) -> None:
    """Catches an exception of zipfile, and a file of another version that is read as one of this."""
    whole = (exported / "rows.zip").read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], whole.replace(b'"members"', b'"numbers"')):
        (other / "bad.zip").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.zip"):
            import_archive(other / "bad.zip", other / "runs")
    with zipfile.ZipFile(other / "bad.zip", "w") as archive:
        archive.writestr("\u00e9", "a name in UTF-8")
    (other / "bad.zip").write_bytes((other / "bad.zip").read_bytes().replace(b"\xc3\xa9", b"\xf7\xa9"))
    with pytest.raises(InputError, match="no archive of `replicate export`"):
        import_archive(other / "bad.zip", other / "runs")
    with pytest.raises(InputError, match=r"absent\.zip"):
        import_archive(other / "absent.zip", other / "runs")
    with zipfile.ZipFile(other / "bad.zip", "w") as archive:
        archive.writestr(MANIFEST, json.dumps({"format": 2, "members": {}}))
    with pytest.raises(InputError, match="its format is 2"):
        import_archive(other / "bad.zip", other / "runs")


def test_rows_of_a_changed_experiment_take_their_samples_and_weights_along(
    exported: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawn with --set, and the experiment has another name by now. Catches an export that looks for rows by its file."""
    shutil.copytree(exported / "runs", other / "runs")
    assert main(["run", "tiny", "--device", "cpu", "--row", "DDIM", "--set", "recipe.training.steps=3"]) == 0
    (other / "experiments" / "tiny.toml").rename(other / "experiments" / "another.toml")
    capsys.readouterr()
    assert main(["export", "set.zip", "--samples", "DDIM x 2", "--weights", "DDIM x 2"]) == 0
    assert "4 chunks, 1 curves, 4 replicates, 4 rows, 4 strips, 2 weights" in capsys.readouterr().out


def test_what_is_damaged_or_foreign_stays_at_home(
    exported: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a row that cannot be read nothing travels, nor does a sync tool's copy of a curve. Catches: an archive that the
    other machine refuses."""
    journal = Journal(shutil.copytree(exported / "runs", other / "from") / "journal" / "tiny-cpu")
    (curve,) = (journal.folder / "curves").glob("*.json")
    shutil.copy(curve, curve.with_stem(f"{curve.stem} (conflicted copy)"))
    (journal.folder / f"{journal.done()[0]}.json").write_text("{}")
    export_archive(other / "some.zip", other / "from", [journal], [], [])
    assert "not a row" in capsys.readouterr().err
    taken = import_archive(other / "some.zip", other / "runs")
    assert taken.new == {"rows": 2, "strips": 2, "replicates": 2, "curves": 1}


def test_a_disk_that_is_too_small_for_an_archive_is_said_first(
    exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert main(["import", str(exported / "rows.zip")]) == 1
    assert "MB are needed" in capsys.readouterr().err
    assert not (other / "runs" / "journal").exists()


def test_what_is_asked_for_and_not_there_is_said(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported)
    assert main(["export", "x.zip", "tny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
    assert main(["export", "x.zip", "--samples", "DIM x *"]) == 2
    assert "no row 'DIM x *'" in capsys.readouterr().err


# ---------------------------------------------------------------- rows alone, as a table


def test_rows_alone_leave_as_csv_and_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a column that is lost, an interval or a commit among them, a figure that JSON has no number for, rows of one's
    own doubled by the committed ones, and committed ones doubled where another experiment's name begins theirs."""
    write_tiny(project)
    figures = {
        "metric.fd": 1.5,
        "metric.fd_low": 1.25,
        "metric.fd_high": 1.75,
        "metric.is": float("inf"),
        "env.commit": "1e5",
    }
    rows = [{"experiment": "tiny", "profile": "cpu", "cell": digit * 64, "label": "DDIM", **figures} for digit in "ab"]
    (project / "results").mkdir()
    (project / "results" / "tiny-cpu.csv").write_text(csv_text(rows))
    assert main(["export", "rows.json", "tiny"]) == 0
    assert json.loads((project / "rows.json").read_text()) == [{**row, "metric.is": "inf"} for row in rows]
    assert main(["export", "rows.csv"]) == 0
    assert read_csv(project / "rows.csv") == rows
    (project / "experiments" / "tiny-mine.toml").write_text("")
    (project / "results" / "tiny-mine-cpu.csv").write_text(
        csv_text([{**row, "experiment": "tiny-mine"} for row in rows])
    )
    assert main(["export", "rows.json", "tiny-mine"]) == 0
    assert [row["cell"][0] for row in json.loads((project / "rows.json").read_text())] == ["a", "b"]
    Journal(project / "runs" / "journal" / "tiny-cpu").write(Computed({**rows[0], "cell": "c" * 64}, b""))
    assert main(["export", "rows.json", "tiny"]) == 0
    assert [row["cell"][0] for row in json.loads((project / "rows.json").read_text())] == ["c"]
    capsys.readouterr()
    for command, message in (
        (["rows.json", "tyni"], "unknown experiment with rows 'tyni'; did you mean 'tiny'"),
        (["rows.xml"], "rows.xml: unknown ending '.xml' (valid: .zip, .csv, .json)"),
        (
            ["rows.csv", "--samples", "*"],
            "rows.csv: --samples and --weights travel in an archive, whose name ends in .zip",
        ),
    ):
        assert main(["export", *command]) == 2
        assert message in capsys.readouterr().err
