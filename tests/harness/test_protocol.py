"""Named protocols, what an experiment changes in them, and which rows may be compared."""

from pathlib import Path

import pytest
from harness.tiny import TOML, write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.protocol import named_protocol, protocol_names
from replication.report.compare import compared, differences
from replication.report.tables import MARK
from replication.types import InputError

TABLE = TOML[TOML.index("[profiles.cpu.protocol]") : TOML.index("[[profiles.cpu.rows]]")]
ROW = {
    "experiment": "ddpm", "profile": "cpu", "label": "DDIM", "sampling.steps": 20, "protocol.n": 500,
    "protocol.extractor": "digits-cnn", "protocol.extractor_sha256": "ab", "protocol.reference": "digits train",
    "protocol.drop_last": "0", "metric.fd": 1.0, "metric.fd_se": 0.1,
}  # fmt: skip


def protocol(folder: Path, text: str):
    path = write_tiny(folder, (TABLE, f"[profiles.cpu.protocol]\n{text}\n"))
    return load_experiment(str(path)).profile("cpu").protocol


def test_every_named_protocol_is_whole_and_says_where_it_comes_from() -> None:
    assert {"ddpm-2020", "ddim-2021", "ldm-2022", "dit-2023", "edm-2022", "suite", "suite-digits"} <= set(
        protocol_names()
    )
    for name in protocol_names():
        named = named_protocol(name)
        assert named.source
        assert named.title == name


def test_the_ddpm_reference_lacks_its_last_partial_batch() -> None:
    """Catches a remainder that is kept, and one that is taken from the wrong number."""
    assert named_protocol("ddpm-2020").reference_count(50_000) == 49_920
    assert named_protocol("ddim-2021").reference_count(50_000) == 50_000


def test_three_seed_blocks_unless_the_experiment_says_otherwise(tmp_path: Path) -> None:
    assert protocol(tmp_path, 'name = "suite-digits"').seeds == [0, 1, 2]


def test_what_is_changed_stands_beside_the_name(tmp_path: Path) -> None:
    """Catches an override that hides behind the protocol's name, and one that repeats its value and is no change."""
    changed = protocol(tmp_path, 'name = "suite-digits"\nn = 50\nseeds = [0, 1]\nquantizer = "round"')
    assert (changed.n, changed.quantizer) == (50, "round")
    assert changed.changed == {"n": 50, "seeds": [0, 1]}
    assert changed.title == "suite-digits (n = 50, seeds = 0 1)"


def test_a_row_changes_keys_of_its_own(tmp_path: Path) -> None:
    path = write_tiny(
        tmp_path,
        (TABLE, '[profiles.cpu.protocol]\nname = "suite-digits"\nn = 16\n'),
        ('label = "DDIM"\n', 'label = "DDIM"\nprotocol = { seeds = [4] }\n'),
    )
    cells = {cell.label: cell for cell in cells_of(load_experiment(str(path)), "cpu")}
    assert cells["DDPM"].protocol.seeds == [0, 1, 2]
    assert cells["DDIM"].protocol.changed == {"n": 16, "seeds": [4]}


def test_set_changes_a_protocol_that_is_given_by_name_alone(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, (TABLE, ""), ("batch_size = 8\n", 'batch_size = 8\nprotocol = "suite-digits"\n'))
    assert load_experiment(str(path), {"protocol.n": "40"}).profile("cpu").protocol.title == "suite-digits (n = 40)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "ddpm-2021"', "profiles.cpu.protocol: unknown protocol 'ddpm-2021'; did you mean 'ddpm-2020'"),
        ('name = "suite"\nlabels = "equal"', "protocol.labels"),
        ('name = "suite"\nseeds = [0, 0]', "named twice"),
        ('name = "suite"\ndrop_last = -1', "drop_last"),
        ('name = "suite"\nquantiser = "round"', "did you mean 'quantizer'"),
    ],
)
def test_what_no_protocol_can_be_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        protocol(tmp_path, text)


def test_rows_of_equal_protocol_are_compared_without_a_mark() -> None:
    assert MARK not in str(compared(ROW, {**ROW, "label": "DDPM", "protocol.seeds": "0 1"}, {"fd": "FD"}))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("protocol.n", 1000, "n 500 against 1000"),
        ("protocol.extractor", "inception-v3-compat", "extractor digits-cnn against inception-v3-compat"),
        ("protocol.extractor_sha256", "cd", "extractor weights ab against cd"),
        ("protocol.reference", "digits test", "reference digits train against digits test"),
        ("protocol.preprocessing", "crop, bicubic", "preprocessing None against crop, bicubic"),
        ("protocol.drop_last", "256", "reference batches 0 against 256"),
    ],
)
def test_rows_that_differ_are_refused_unless_asked_for_and_then_marked(key: str, value: object, named: str) -> None:
    """Catches a field that is left out of the comparison, and a mark that is lost."""
    other = {**ROW, key: value}
    assert differences([ROW, other]) == [named]
    with pytest.raises(InputError, match=named):
        str(compared(ROW, other, {"fd": "FD"}))
    assert f"FD{MARK}" in str(compared(ROW, other, {"fd": "FD"}, unequal=True))


def test_a_reference_that_cannot_be_prepared_as_stated_is_refused(tmp_path: Path) -> None:
    """Catches a row that names LDM's protocol on images that were never cropped."""
    path = write_tiny(
        tmp_path, (TABLE, '[profiles.cpu.protocol]\nname = "ldm-2022"\nn = 20\nextractor = "digits-cnn"\n')
    )
    with pytest.raises(InputError, match="preprocessing = 'crop, bicubic': digits is stored at 8x8"):
        cells_of(load_experiment(str(path)), "cpu")


def test_other_weights_make_another_protocol_and_their_place_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches rows measured with some weights that pass for rows measured with the published ones."""
    published = named_protocol("suite").identity()
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    found = []
    for name in "abc":
        monkeypatch.setenv("REPLICATION_INCEPTION_WEIGHTS", str(tmp_path / name))
        found.append(named_protocol("suite").identity())
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert published not in found


def test_a_table_has_one_extractor(tmp_path: Path) -> None:
    """Catches another extractor's distance in the FID column."""
    path = write_tiny(tmp_path, ('label = "DDIM"\n', 'label = "DDIM"\nprotocol = { extractor = "cifar10-resnet" }\n'))
    with pytest.raises(InputError, match="cifar10-resnet"):
        cells_of(load_experiment(str(path)), "cpu")
