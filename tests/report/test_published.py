"""Paper against measured: which differences are named, what the interval holds, and tables that can be read back."""

import cProfile
import csv
import io
import re
from pathlib import Path

import pytest
from harness.tiny import TOML, write_tiny

from replication.harness.experiment import experiment_names, load_experiment, published_tables
from replication.harness.home import catalogue
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.journal import Journal, Record
from replication.report.beside_papers import Comparison, comparisons, published_csv, published_table
from replication.report.claims import Evidence
from replication.report.page import write_page
from replication.report.rows import rows_of
from replication.report.tables import Table, latex_escaped, latex_report, latex_table, tables_of
from replication.report.write import write_report
from replication.types import InputError

PROTOCOL = next(line for line in TOML.splitlines() if line.startswith('protocol = { name = "theirs"'))
SAMPLING = next(line for line in TOML.splitlines() if line.startswith("sampling = "))
METRIC = next(line for line in TOML.splitlines() if line.startswith("metric = { eval"))
VALUES = "values = { fd = [6.84] }"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(folder: Path, *changes: tuple[str, str], **record: object) -> Comparison:
    """The one comparison of the tiny experiment, after changes to its text; its row holds `record`."""
    cells = cells_of(load_experiment(str(write_tiny(folder, *changes))), "cpu")
    rows = {cells[1].key: {"cell": cells[1].key, **record}} if record else {}
    (found,) = comparisons(cells, rows)
    return found


def stated(change: tuple[str, str] = ("", "")) -> tuple[str, str]:
    """A change to the published protocol."""
    assert change[0] in PROTOCOL
    return PROTOCOL, PROTOCOL.replace(*change, 1)


def test_equal_protocols_agree(folder: Path) -> None:
    """The row's protocol is called "tiny", the paper's "theirs". Catches: agreement by name."""
    found = compared(folder)
    assert (found.agree, found.all_differences) == ("yes", "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("n = 16", "n = 50000"), "n 16 for 50000"),
        (("seeds = [0]", "seeds = [0, 1, 2]"), "seeds 1 for 3"),
        (('"round"', '"none"'), "quantizer round for none"),
        (('"test"', '"train"'), "reference test for train"),
        (('"digits-cnn"', '"inception-v3-compat"'), "extractor digits-cnn for inception-v3-compat"),
        ((" }", ", ema = false }"), "ema true for false"),
        ((" }", ", drop_last = 256 }"), "drop_last 0 for 256"),
        ((" }", ', precision = "bf16" }'), "precision float32 for bf16"),
    ],
)
def test_a_difference_of_one_field_is_that_field_and_no_other(
    folder: Path, change: tuple[str, str], named: str
) -> None:
    """Catches: a field that is left out, a second one that comes along, both values the wrong way round."""
    found = compared(folder, stated(change))
    assert found.differs == (named,)
    assert found.agree == "no"


def test_all_test_images_are_called_so(folder: Path) -> None:
    """0 stands for all of them. Catches: "nll_images 4 for 0"."""
    found = compared(folder, (VALUES, "values = { nll = [3.75] }"))
    assert found.differs == ("nll_images 4 for all",)


def test_labels_count_where_the_network_knows_classes(folder: Path) -> None:
    """Catches: a label policy that sets two unconditional rows apart."""
    random = stated((" }", ', labels = "random" }'))
    assert compared(folder, random).agree == "yes"
    conditional = (('network = "ddpm-digits"', 'network = "ddpm-digits-label"\ncondition = "label"'), ('nll = "fixed-large"', ""), ("n = 16\n", "n = 20\n"))  # fmt: skip
    found = compared(folder, *conditional, (PROTOCOL, random[1].replace("n = 16", "n = 20")))
    assert found.differs == ("labels balanced for random",)


def test_other_seeds_and_resamples_are_no_difference(folder: Path) -> None:
    """Only how many blocks there are: seed 5 of another generator means nothing here."""
    assert compared(folder, stated(("seeds = [0]", "seeds = [5], resamples = 7"))).agree == "yes"


@pytest.mark.parametrize(
    ("metric", "fields"),
    [("fd", {"n", "reference"}), ("precision", {"n", "reference"}), ("is", {"n"}), ("nll", {"nll_images"})],
)
def test_only_what_the_metric_depends_on_counts(folder: Path, metric: str, fields: set[str]) -> None:
    """The inception score knows no reference, the NLL no samples. Catches: one list of fields for all metrics."""
    change = stated(('n = 16, seeds = [0], quantizer = "round", reference = "test"', 'n = 99, nll_images = 9, seeds = [0], quantizer = "round", reference = "train"'))  # fmt: skip
    found = compared(folder, change, (VALUES, f"values = {{ {metric} = [0.5] }}"))
    assert {text.split()[0] for text in found.differs} == fields


def test_what_the_source_leaves_open_is_not_guessed(folder: Path) -> None:
    """Catches: an unknown field that counts as equal, or as different."""
    found = compared(folder, stated(("seeds = [0]", 'seeds = [0], ema = "unknown", precision = "unknown"')))
    assert (found.agree, found.differs, found.unknown) == ("as far as stated", (), ("ema", "precision"))
    assert found.all_differences == "not stated: ema, precision"
    assert "ema = unknown" in found.published.protocol.title


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('clip = "none"', 'clip = "x0+eps"', "clip none for x0+eps"),
        ("eta = 0.0", "eta = 1.0", "sampler ddim(eta=0.0) for ddim(eta=1.0)"),
        ('{ name = "ddim", eta = 0.0 }', '{ other = "iPNDM of order 4" }', "sampler ddim(eta=0.0) for iPNDM of order 4"),
        ('"quadratic"', '"uniform"', "spacing quadratic for uniform"),
        ('last_alpha = "1"', 'last_alpha = "alphas_cumprod[0]"', "last alpha 1 for alphas_cumprod[0]"),
        ('first_stage = "none"', 'first_stage = "none", decoder = "kl-f8-mse"', "decoder none for kl-f8-mse"),
        ('selection = "none"', 'selection = "minimum of 3"', "selection none for minimum of 3"),
        ('"torch-fidelity"', '"ADM"', "evaluator torch-fidelity for ADM"),
        ('selection = "none"', 'selection = "none", reference_images = 300', "reference images 359 for 300"),
        ('selection = "none"', 'selection = "none", features = "VGG16"', "extractor digits-cnn for VGG16"),
        ('selection = "none"', 'selection = "none", resize = "OpenCV bilinear"', "preprocessing none for OpenCV bilinear"),
    ],
)  # fmt: skip
def test_how_images_were_drawn_and_a_value_was_chosen_is_compared(
    folder: Path, before: str, after: str, named: str
) -> None:
    """One change of the tables that are stated as ours, and the one difference. Catches: "agree: yes" for another clip."""
    line = SAMPLING if before in SAMPLING else METRIC
    found = compared(folder, (line, line.replace(before, after)))
    assert found.differs == (named,)
    assert (found.agree, found.unknown) == ("no", ())


def test_a_value_of_other_features_is_another_quantity(folder: Path) -> None:
    """tqch's precision is of VGG16's features. Catches: the difference to a figure of another network."""
    other = (METRIC, METRIC.replace('selection = "none"', 'selection = "none", features = "VGG16"'))
    assert compared(folder, other, **{"metric.fd": 2.0}).measured is None


@pytest.mark.parametrize("field", ["sampler", "spacing", "clip", "last_alpha", "first_stage", "evaluator", "selection"])
def test_protocols_do_not_agree_while_a_field_is_open(folder: Path, field: str) -> None:
    """Catches: a field that is not asked for, and silence that counts as agreement."""
    line = SAMPLING if field in SAMPLING else METRIC
    stated = re.sub(rf"{field} = (\{{[^}}]*\}}|\"[^\"]*\")", f'{field} = "not stated"', line)
    assert stated != line
    found = compared(folder, (line, stated))
    assert (found.agree, found.differs) == ("as far as stated", ())
    assert found.unknown[0] == field.replace("_", " ")


def test_rules_that_visit_the_same_times_are_one_spacing(folder: Path) -> None:
    """All 20 steps of T = 20 are the same under every name. Catches: spacings compared by name."""
    steps = ('spacing = "quadratic"\nsteps = [2]', 'spacing = "leading"\nsteps = [20]')
    value = ("steps = [2], values", "steps = [20], values")
    found = compared(folder, steps, ('label = "DDIM", steps = 2', 'label = "DDIM", steps = 20'), value)
    assert found.differs == ("spacing leading for quadratic",)
    alike = (SAMPLING, SAMPLING.replace('"quadratic"', '"uniform"'))
    assert (
        compared(folder, steps, ('label = "DDIM", steps = 2', 'label = "DDIM", steps = 20'), value, alike).agree
        == "yes"
    )


def test_guidance_counts_where_the_network_knows_classes(folder: Path) -> None:
    """Catches: a weight that nobody compares, and guidance that is missed where nothing could be guided."""
    assert "guidance" not in compared(folder).unknown
    conditional = (('network = "ddpm-digits"', 'network = "ddpm-digits-label"\ncondition = "label"'), ('nll = "fixed-large"', ""), ("n = 16\n", "n = 20\n"), (PROTOCOL, PROTOCOL.replace("n = 16", "n = 20")))  # fmt: skip
    assert compared(folder, *conditional).unknown == ("guidance",)
    stated = (SAMPLING, SAMPLING.replace("sampling = {", "sampling = { guidance = { weight = 1.5 },"))
    assert compared(folder, *conditional, stated).differs == ("guidance none for 1.5",)


def test_evaluations_are_compared_where_the_source_counts_them(folder: Path) -> None:
    counted = (VALUES, VALUES + ", nfe = [3]")
    assert compared(folder, counted, **{"sampling.nfe": 2}).differs == ("NFE 2 for 3",)
    assert compared(folder, counted, **{"sampling.nfe": 3}).agree == compared(folder, counted).agree == "yes"


def test_a_bound_has_no_evaluator_of_features(folder: Path) -> None:
    """Catches: TFGAN as a difference of an NLL, which no Inception network has a part in."""
    of_another = (METRIC, METRIC.replace('"torch-fidelity"', '"TFGAN"'))
    found = compared(folder, of_another, (VALUES, "values = { nll = [3.75] }"))
    assert found.differs == ("nll_images 4 for all",)


def test_dataset_and_training_steps_are_named(folder: Path) -> None:
    """Another dataset is another protocol; other training steps are said, but are not the protocol's."""
    assert compared(folder, ('dataset = "digits"\nprotocol', 'dataset = "cifar10"\nprotocol')).differs == (
        "dataset digits for cifar10",
    )
    longer = compared(folder, ('dataset = "digits"\nprotocol', 'dataset = "digits"\ntraining_steps = 800000\nprotocol'))
    assert (longer.agree, longer.all_differences) == ("yes", "training steps 2 for 800000")


def test_distance_by_other_inception_weights_is_told(folder: Path) -> None:
    """Catches: FD-inception-<hash> that passes for FID beside the paper's."""
    cells = cells_of(load_experiment("ddpm"), "paper")
    rows = {cells[0].key: {"protocol.extractor_sha256": "ab" * 32, "metric.fd": 3.0}}
    assert "extractor weights abababab for 6726825d" in comparisons(cells, rows)[0].differs


def test_interval_of_the_difference(folder: Path) -> None:
    """2 in [1.9, 2.2] against 2.5: -0.5 in [-0.6, -0.3]; max-abs 1e-12. Catches: paper minus measured, ends swapped."""
    row = {"metric.fd": 2.0, "metric.fd_low": 1.9, "metric.fd_high": 2.2}
    found = compared(folder, ("6.84", "2.5"), **row)
    assert (found.difference, *found.bounds) == pytest.approx((-0.5, -0.6, -0.3), abs=1e-12)
    assert found.inside == "no"
    assert compared(folder, ("6.84", "2.1"), **row).inside == "yes"


def test_printed_error_widens_the_interval(folder: Path) -> None:
    """Half-widths 0.1 and 0.2 and 1.96 x 0.3 / sqrt(10), for ten splits, add in quadrature: 0.2111, 0.2731; max-abs 1e-4.
    Catches: error ignored, or added, or the scatter of the splits taken for it."""
    row = {"metric.is": 2.0, "metric.is_low": 1.9, "metric.is_high": 2.2}
    found = compared(folder, (VALUES, "values = { is = [2.5] }, errors = { is = [0.3] }"), **row)
    assert found.bounds == pytest.approx((-0.7111, -0.2269), abs=1e-4)
    assert found.inside == "no"
    assert "2.5 ± 0.3" in published_table([found]).lines[0]


def test_interval_from_a_standard_error_alone(folder: Path) -> None:
    """3.7 ± 1.96 x 0.05 against 3.75, max-abs 1e-4: the NLL has no bootstrap."""
    change = (VALUES, "values = { nll = [3.75] }")
    found = compared(folder, change, **{"metric.nll": 3.7, "metric.nll_se": 0.05})
    assert found.bounds == pytest.approx((-0.148, 0.048), abs=1e-4)
    without = compared(folder, change, **{"metric.nll": 3.7})
    assert (without.difference, without.bounds, without.inside) == (pytest.approx(-0.05), None, "")


def test_not_run_and_not_measured_are_two_things(folder: Path) -> None:
    """The protocols are compared all the same. Catches: an empty line, a crash without rows."""
    for record, word in (({}, "not run"), ({"metric.is": 8.0}, "not measured")):
        table = published_table([compared(folder, stated(("n = 16", "n = 17")), **record)])
        shown = dict(zip(table.columns, table.lines[0], strict=True))
        assert (shown["measured"], shown["difference [our 95 %]"], shown["inside"]) == (word, "", "")
        assert (shown["paper"], shown["differs in"], shown["source"]) == ("6.84", "n 16 for 17", "p, Table 1, r [C]")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "C"', 'source = "M"', r"tables\.t\.source: a number from memory is never a target.*the value is 'M'"),
        ('source = "C"', 'source = "X"', r"tables\.t\.source: .*'R', 'I' or 'C'"),
        ('source = "C"\n', "", r"tables\.t\.source: this key is missing"),
        ('published = [{ table = "t"', 'published = [{ table = "tt"', r"rows\[1\] \(DDIM\): unknown published table 'tt'; did you mean 't'"),
        ('table = "t", row = "r"', 'table = "t", row = "rr"', r"unknown row of p, Table 1 'rr'; did you mean 'r'"),
        ('table = "t", row = "r"', 'tabel = "t", row = "r"', r"unknown key 'tabel'; did you mean 'table'"),
        ("steps = [2], values", "steps = [3], values", r"published t, r: has values at 3 steps, none of this row's"),
        ("steps = [2], values", "steps = [2, 3], values", r"tables\.t\.rows\.0: r has 1 values of fd for 2 step counts"),
        (VALUES, "values = { fid = [1.0] }", r"tables\.t\.rows\.0\.values\.fid"),
        (VALUES, "values = { recall = [54.4] }", "recall is a share"),
        (VALUES, VALUES + ", errors = { is = [0.1] }", "errors but no values of is"),
        (VALUES, VALUES + ", error = { fd = [0.1] }", r"tables\.t\.rows\.0: unknown key 'error'; did you mean 'errors'"),
        (PROTOCOL, "", r"tables\.t: row 'r' has no protocol; name one"),
        (VALUES, VALUES + ", nfe = [2, 3]", r"tables\.t\.rows\.0: r has 2 evaluations of nfe for 1 step counts"),
        ('name = "ddim", eta = 0.0 }, spacing', 'name = "ddmi" }, spacing', r"tables\.t\.rows\.0\.sampling\.sampler.*unknown sampler 'ddmi'; did you mean 'ddim'"),
        ("eta = 0.0 }, spacing", "ate = 0.0 }, spacing", r"sampling\.sampler.*unknown option 'ate' \(valid: eta\)"),
        ('spacing = "quadratic", clip', 'spacing = "quadratisch", clip', r"sampling\.spacing.*did you mean 'quadratic'"),
        ('clip = "none", last', 'clip = "x_0", last', r"sampling\.clip.*unknown clip 'x_0'; did you mean 'x0'"),
        ('first_stage = "none" }', 'first_stage = "kl-f9" }', r"sampling\.first_stage.*did you mean 'kl-f"),
        ("last_alpha", "last_alhpa", r"tables\.t\.rows\.0\.sampling: unknown key 'last_alhpa'; did you mean 'last_alpha'"),
        ("selection", "selektion", r"tables\.t\.rows\.0\.metric: unknown key 'selektion'; did you mean 'selection'"),
        (PROTOCOL, 'protocol = "ddpm-2021"', r"tables\.t\.rows\.0\.protocol.*: unknown protocol 'ddpm-2021'; did you mean 'ddpm-2020'"),
        (PROTOCOL, 'protocol = { name = "ddpm-2020", n = "unknwon" }', r"protocol\.n: "),
        (PROTOCOL, 'protocol = { name = "ddpm-2020", quantiser = "unknown" }', r"unknown key 'quantiser'; did you mean 'quantizer'"),
        (PROTOCOL, 'protocol = { name = "ddpm-2020", quantiser = "none" }', r"unknown key 'quantiser'; did you mean 'quantizer'"),
    ],
)  # fmt: skip
def test_what_no_published_value_can_be_is_refused_by_name(folder: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compared(folder, (old, new))


AWAITED = {  # tables that no experiment's row names yet: their networks or datasets are not in a profile
    "adm-evaluator", "ddpmx-frameworks", "diff-sampler-cifar10", "dit-2350k", "dit-table-5", "edm2-imagenet-512", "flow-matching-issues", "flow-matching-readme",
    "ldm-table-1", "ldm-table-8",
}  # fmt: skip


def test_every_committed_table_is_typed_and_beside_a_cell_or_awaited() -> None:
    """Catches: a table that is not read, one that no experiment uses without anybody noticing, a table in the wrong list."""
    experiments = [e for e in map(load_experiment, experiment_names()) if "paper" in e.profiles]
    beside = {
        (p.paper, p.table)
        for experiment in experiments
        for cell in [*cells_of(experiment, "paper"), *first_stage_cells(experiment, "paper")]
        for p in cell.published
    }
    tables = published_tables()
    assert set(tables) == set(catalogue("published"))
    assert {name for name, table in tables.items() if (table.paper, table.table) not in beside} == AWAITED
    printed = [v for table in tables.values() for row in {r.row for r in table.rows} for v in table.values(row)]
    assert len(printed) > 480
    assert {v.metric for v in printed} >= {"fd", "is", "sfd", "nll", "psnr", "ssim", "adm_precision", "adm_recall"}


@pytest.mark.parametrize(
    ("table", "row", "steps", "metric", "value"),
    [
        ("dit-512-3m", "DiT-XL/2 at 512x512", 250, "fd", 11.93),
        ("dit-table-3", "DiT-XL/2 at 512x512", 250, "fd", 12.03),
        ("dit-appendix-a", "cfg 1.375 on 4 channels", 250, "fd", 2.20),
        ("dit-pull-12", "cfg 1.375 on 4 channels", 250, "fd", 2.23),
        ("dit-table-5", "DiT-XL/2-G, ft-MSE", 250, "is", 276.09),
        ("ldm-table-3", "LDM-4-G", 250, "is", 247.67),
        ("xyfjason-samplers", "DDIM (eta=0)", 20, "is", 8.4744),
        ("xyfjason-predictions", "pred-x0, fixed-large", 1000, "fd", 13.331),
        ("ddim-table-3", "Church, eta 1.0", 100, "fd", 8.27),
        ("diff-sampler-cifar10", "iPNDM-4", 10, "fd", 2.77),
        ("edm2-imagenet-512", "EDM2-XXL, autoguided, FD-DINOv2", 32, "fd", 24.18),
    ],
)
def test_values_that_were_wrong_or_missing_stand_as_printed(
    table: str, row: str, steps: int, metric: str, value: float
) -> None:
    """Exact, by the audit of the published data. Catches: a value of another decoder, a sources' dispute that one side won."""
    values = published_tables()[table].values(row)
    assert [v.value for v in values if (v.steps, v.metric) == (steps, metric)] == [value]


def test_precision_and_recall_of_papers_are_those_of_their_evaluator() -> None:
    """Catches: VGG16's precision beside Inception's, and ADM's against 50,000 images in place of its 10,000 (1,000 at 512)."""
    tables = published_tables()
    of_adm = [
        v for t in tables.values() for r in {r.row for r in t.rows} for v in t.values(r) if v.metric.startswith("adm_")
    ]
    assert {v.measured.evaluator for v in of_adm} == {"ADM"}
    assert {v.measured.reference_images for v in of_adm if "512" not in f"{v.dataset}{v.row}"} == {10_000}
    assert {v.measured.reference_images for v in of_adm if "512" in f"{v.dataset}{v.row}"} == {1_000}
    cells = [c for c in cells_of(load_experiment("dit"), "paper") if c.label.startswith("DiT-XL/2 at 512, 3M, ft-EMA")]
    (precision,) = [c for c in comparisons(cells, {}) if c.published.metric == "adm_precision"]
    assert precision.differs == ("reference images 10000 for 1000",)
    (own,) = [v for v in tables["tqch"].values("CIFAR-10, 795.6k training steps") if v.metric == "precision"]
    assert own.measured.features == "VGG16"


def test_a_decoder_is_stated_where_the_source_states_it() -> None:
    """Table 5 is of three decoders; what the text and the issue thread print has none. Catches: that of another table."""
    tables = published_tables()
    of = {row.row: row.sampling.decoder for row in tables["dit-table-5"].rows}
    assert list(of.values()) == ["kl-f8", "kl-f8-mse", "kl-f8-ema"]
    for table in ("dit-2350k", "dit-appendix-a", "dit-pull-12"):
        assert {row.sampling.decoder for row in tables[table].rows} == {"not stated"}
    cells = [c for c in cells_of(load_experiment("dit"), "paper") if c.label == "DiT-XL/2, 7M, guidance 1.375"]
    for found in comparisons(cells, {}):
        assert "decoder" in found.unknown


def test_several_measurements_of_one_cell_are_a_line_each() -> None:
    """DDPM-1000: two papers, and four projects that measured it again, raw weights once."""
    cells = cells_of(load_experiment("ddpm"), "paper")
    of_ddpm = [c for c in comparisons(cells, {}) if c.cell == cells[0] and c.published.metric == "fd"]
    assert [c.published.value for c in of_ddpm] == [3.17, 3.17, 3.171527, 3.249, 3.21, 8.06, 3.188, 3.0459]
    chosen = "selection none for best over training"
    assert of_ddpm[0].differs == ("quantizer round for none", "drop_last 0 for 256", "evaluator torch-fidelity for TFGAN", chosen)  # fmt: skip
    assert of_ddpm[5].differs == ("ema true for false", "quantizer round for none", "evaluator torch-fidelity for its own port", "clip x0 for none")  # fmt: skip
    assert (of_ddpm[7].agree, of_ddpm[7].unknown) == ("as far as stated", ("ema", "precision", "reference"))


# ---------------------------------------------------------------- the files


def test_csv_comes_back_as_it_was(folder: Path) -> None:
    """Exact. Catches: rounding, a comma in a citation that splits a cell."""
    found = compared(folder, ('table = "Table 1"', 'table = "Table 1, \\"CIFAR\\""'), **{"metric.fd": 0.1 + 0.2})
    (line,) = csv.DictReader(io.StringIO(published_csv([found])))
    assert float(line["measured"]) == 0.1 + 0.2
    assert float(line["difference"]) == 0.1 + 0.2 - 6.84
    assert line["table"] == 'Table 1, "CIFAR"'
    assert (line["cell"], line["protocols_agree"], line["published_protocol"]) == (found.cell.key, "yes", "theirs")
    assert line["difference_low"] == ""


def test_page_prints_a_papers_value_once(folder: Path) -> None:
    """Catches: the column of the main table that says it again."""
    experiment = load_experiment(str(write_tiny(folder)))
    evidence = Evidence(experiment, "cpu", cells_of(experiment, "cpu"), {})
    (path,) = write_report(evidence, Journal(folder / "journal"), folder)
    page = path.read_text()
    assert page.count("6.84") == 1
    assert "## Paper against measured" in page


def plain(latex: str) -> str:
    """What LaTeX would print of one table cell, by a reader that knows only what `escaped` writes."""
    for command, text in (("textbackslash", "\\"), ("textasciitilde", "~"), ("textasciicircum", "^"), ("textless", "<"), ("textgreater", ">"), ("textbar", "|"), ("textdagger", "†")):  # fmt: skip
        latex = latex.replace(rf"\{command}{{}}", f"\0{text}")
    latex = latex.replace("$-$", "-").replace(r"$\pm$", "±").replace(r"$\times$", "×")
    latex = re.sub(r"(?<![\\\0])\{(.)\}", r"\1", latex)
    latex = re.sub(r"\\([{}&%$#_])", "\0\\1", latex)
    assert not re.search(r"(?<!\0)[\\{}&%$#_~^<>]", latex), latex
    return latex.replace("\0", "")


@pytest.mark.parametrize(
    "text",
    [r"a\b", "50 % & more", "x_T^2 {set} #1 $", "~home <b> | c", "[1.2, 3.4]", "* starred", "9.46 ± 0.11", "-0.04 [-1, +2] to -3", "DDIM, eta 0.0", "2006.11239 †", r"\input{/etc/passwd}"],
)  # fmt: skip
def test_latex_prints_the_text_and_runs_nothing(text: str) -> None:
    """Catches: a character left out, escapes of escapes, and a bracket that becomes an option of the line before."""
    assert plain(latex_escaped(text)) == text
    assert not latex_escaped(text).startswith(("[", "*"))


def test_latex_tables_are_whole(folder: Path) -> None:
    """Braces and environments close, every line has as many cells as the head. Catches: an unescaped & or %."""
    experiment = load_experiment(str(write_tiny(folder, ('label = "DDIM"\nsampler', 'label = "50 % & {x_T}"\nsampler'), ('label = "DDIM", steps', 'label = "50 % & {x_T}", steps'))))  # fmt: skip
    cells = cells_of(experiment, "cpu")
    tables = {**tables_of(cells, {}), "x_T": published_table(comparisons(cells, {}))}
    text = latex_report("a & b", "tiny-cpu", tables)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text.replace("\\\\", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    tables = text.split(r"\begin{longtable}")[1:]
    assert len(tables) == 2
    for table in tables:
        spec = re.match(r"\{@\{\}(.*)@\{\}\}\n", table)
        assert spec is not None
        lines = [line for line in table.splitlines() if line.endswith(r" \\")]
        columns = len(re.sub(r"\{.*?\}", "", spec[1]))
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
    assert not [line for line in text.splitlines()[1:] if re.search(r"(?<!\\)%", line)]


def test_latex_head_comes_again_on_each_page() -> None:
    text = latex_table(Table(["a", "b"], [["1", "2"]]), "c_1", "l")
    assert text.count(r"a & b \\") == 2
    assert r"\caption{c\_1}\label{tab:l}" in text


# ---------------------------------------------------------------- ten thousand rows

BIG = """title = "big"
papers = []
[tables.big]
paper = "p"
table = "Table 1"
source = "C"
dataset = "digits"
protocol = "suite-digits"
"""


def big(folder: Path, labels: int, per_label: int) -> Path:
    """An experiment of labels x per_label cells, each with a published value."""
    profile = TOML[TOML.index("[profiles.cpu]") : TOML.index("[[profiles.cpu.rows]]")].replace("T = 20,", "T = 1000,")
    steps, text = list(range(1, per_label + 1)), BIG
    for i in range(labels):
        text += f'[[tables.big.rows]]\nrow = "{i}"\nsteps = {steps}\nvalues = {{ fd = {[1.5] * per_label} }}\n'
    for i in range(labels):
        text += f'[[profiles.cpu.rows]]\nlabel = "rule {i}"\nsampler = {{ name = "ddim", eta = {i / labels} }}\nspacing = "uniform"\n'
        text += f'steps = {steps}\nclip = "none"\npublished = [{{ table = "big", row = "{i}" }}]\n'
    path = folder / "big.toml"
    path.write_text(text.replace("[[profiles.cpu.rows]]", profile + "[[profiles.cpu.rows]]", 1))
    return path


def synthetic(cells: list[Cell]) -> dict[str, Record]:
    """A row for every cell, as wide as real ones: some sixty columns, a fifth of them numbers."""
    rows = {}
    for i, cell in enumerate(cells):
        fd, n = 1 + i % 97 / 7, cell.sampling.steps
        row: Record = {"cell": cell.key, "label": cell.label, "sampling.nfe": n, "checkpoint.sha256": cell.key}
        row |= {"metric.fd": fd, "metric.fd_low": fd - 0.1, "metric.fd_high": fd + 0.1, "metric.kid": fd / 90}
        row |= {f"metric.other_{j}": fd / (j + 3) for j in range(10)} | {f"recipe.key_{j}": "value" for j in range(20)}
        row |= {f"env.key_{j}": f"value {j}" for j in range(20)} | {"timing.seconds_per_image": n / 100 + fd / 1000}
        rows[cell.key] = row
    return rows


def calls_of_a_report(folder: Path, labels: int, per_label: int) -> tuple[int, int]:
    """(functions called to write every file of so many rows, functions called to read the rows back)."""
    folder.mkdir()
    experiment = load_experiment(str(big(folder, labels, per_label)))
    cells = cells_of(experiment, "cpu")
    evidence, journal = Evidence(experiment, "cpu", cells, synthetic(cells)), Journal(folder / "journal")
    writing, reading = cProfile.Profile(), cProfile.Profile()
    with writing:
        files = [*write_report(evidence, journal, folder / "results"), write_page([evidence], folder / "results")]
    with reading:
        rows = rows_of(cells, journal, folder / "results" / "big-cpu.csv")
    assert len(rows) == labels * per_label
    assert {file.suffix for file in files} == {".md", ".csv", ".tex", ".png", ".html"}
    assert files[-1].stat().st_size < 3e5 + 500 * len(rows)
    written, read = (sum(entry.callcount for entry in profile.getstats()) for profile in (writing, reading))
    return written, read


def test_four_times_the_rows_are_four_times_the_work(folder: Path) -> None:
    """Counted in calls, which no other process disturbs. Catches whatever is quadratic in rows or in labels.

    A legend of 400 names is one that nobody reads: beyond 40 the plot shows points.
    """
    quarter = calls_of_a_report(folder / "quarter", labels=100, per_label=5)
    whole = calls_of_a_report(folder / "whole", labels=400, per_label=5)
    assert whole[0] < 4.5 * quarter[0]
    assert whole[1] < 4.5 * quarter[1]
