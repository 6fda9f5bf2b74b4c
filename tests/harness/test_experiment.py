"""Experiment files: what is wrong is said in one sentence with file, key, value and the nearest valid name."""

from pathlib import Path

import pytest
from harness.tiny import write_tiny

from replication.harness.experiment import experiment_names, load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import claims_of
from replication.report.claims.evidence import Evidence
from replication.settings import merged
from replication.types import InputError


def plan(path: Path, **settings: str) -> list:
    return cells_of(load_experiment(str(path), settings), "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size = 8\n[prof", "batchsize = 8\n[prof"), r"profiles\.cpu: unknown key 'batchsize'; did you mean 'batch_size'"),
        (("warmup = 1", "warmpu = 1"), r"training: unknown key 'warmpu'; did you mean 'warmup'"),
        (('name = "ancestral"', 'name = "ancestrla"'), r"rows\[0\] \(DDPM\): unknown sampler 'ancestrla'; did you mean 'ancestral'"),
        (('spacing = "uniform"', 'spacing = "unifrom"'), "unknown spacing 'unifrom'; did you mean 'uniform'"),
        (('dataset = "digits"', 'dataset = "digit"'), "unknown dataset 'digit'; did you mean 'digits'"),
        (('quantizer = "round"', 'quantizer = "runde"'), "unknown quantizer 'runde'; did you mean 'round'"),
        (('clip = "x0"', 'clip = "x1"'), "unknown clip 'x1'; did you mean 'x0'"),
        (('nll = "fixed-large"', 'nll = "fixed"'), "unknown variance 'fixed'; did you mean 'fixed-"),
        (('parameterization = "eps"', 'parameterization = "epsilon"'), "unknown parameterization 'epsilon'; did you mean 'eps'"),
        (('variance = "fixed-large" }\nspacing', 'varience = "fixed-large" }\nspacing'), "unknown option 'varience'; did you mean 'variance'"),
        (("eta = 0.0", "eta = 2.0"), r"eta must be in \[0, 1\], not 2\.0"),
        (("n = 16", 'n = "sixteen"'), r"protocol\.n: .*integer.*'sixteen'"),
        (("n = 16", "n = 9"), r"protocol\.n: .*greater than or equal to 10.*9"),
        (("learning_rate = 1e-3", "learning_rate = inf"), "learning_rate: .*finite"),
        (("n = 16", "n = 16.5"), r"protocol\.n: .*integer.*16\.5"),
        (("steps = [4]", "steps = [-4]"), r"rows\.0\.steps\.0: .*greater than 0.*-4"),
        (("steps = [4]", "steps = [0]"), r"rows\.0\.steps\.0: .*greater than 0.*0"),
        (("steps = [4]", "steps = [21]"), r"21 steps are more than the schedule's T = 20"),
        (("flip = false", "flip = true"), "images of digits mean something else when mirrored"),
        (('network = "ddpm-digits"', 'network = "ddpm-cifar10"'), "network ddpm-cifar10 does not take images of digits"),
        (("T = 20", "T = 0"), "T must be a positive whole number of steps, not 0"),
        (('title = "tiny"', "title = tiny"), "this is not valid TOML"),
        (('title = "tiny"', 'title = "a\\nb"'), "title: must be one line of text"),
        (('title = "tiny"', 'title = "a\\u202eb"'), "title: must be one line of text"),
        (('title = "tiny"', 'title = "tiny"\nname = "other"'), "name: an experiment is called as its file is"),
        (('label = "sigma-hat"\nsampler', 'label = " sigma-hat"\nsampler'), "label: must be one line of text, .* spaces at its ends"),
        (('label = "sigma-hat"\nsampler', 'label = "a\\u0000b"\nsampler'), r"rows\.2\.label: 'a\\x00b' holds a control character"),
        (("seeds = [0]", "seeds = [-1]"), r"protocol\.seeds\.0: .*greater than or equal to 0.*-1"),
        (("seeds = [0]", "seeds = [0, 18446744073709551616]"), r"seeds\.1 = 18446744073709551616: a whole number of TOML"),
        (("seeds = [0]", f"seeds = [{'9' * 5000}]"), "this is not valid TOML"),
        (("seeds = [0]", f"seeds = {'[' * 5000}"), "this is not valid TOML"),
        (("beta_end = 0.3", "beta_end = nan"), "schedule.options: option 'beta_end' is no number, text, list or table, but nan"),
        (("T = 20, beta_end = 0.3", "T = 20, beta_start = -1.0"), "a schedule needs at least one beta"),
        (('objective = "simple"', 'objective = "simple"\nfirst_stage = "a"\n[profiles.cpu.first_stages.a]\nautoencoder = { name = "kl-f2", width = "x" }\n'
          'loss = { perceptual = "none", regularizer_weight = 1e-6 }\ntraining = { base = "x" }\n[bases.x]\nsteps = 2\nbatch_size = 8\nlearning_rate = 1e-3\n'
          'warmup = 1\nema_decay = 0.5\nflip = false'), r"tiny\.toml: profiles\.cpu\.first_stages\.a: autoencoder 'kl-f2': option 'width'"),
        (('network = "ddpm-digits"', 'network = { name = "dit", depth = 1000000000, width = 8, heads = 1, patch = 4 }'), "a network of more than 1,000 layers"),
        (('network = "ddpm-digits"', 'network = { name = "dit", depth = 1, width = 4611686018427387904, heads = 1, patch = 4 }'), "model 'dit': "),
        (("T = 20, beta_end", "T = 2000000000, beta_end"), "T = 2000000000: tables of more than 1,000,000 steps"),
        (("resamples = 5", "resamples = 5000000"), r"protocol\.resamples: .*less than or equal to 100000"),
        (("beta_end = 0.3", "beta_end = 1979-05-27"), "option 'beta_end' is no number, text, list or table"),
        (('name = "tiny"\nn = 16', 'name = "suite-digits"\nchanged = {}\nn = 16'), "what is changed in a named protocol is found, not"),
        (("seeds = [0]", "seeds = [0]\ndrop_last = 2000"), "drop_last = 2000 leaves 0 of the 359 images of the reference"),
        (("seeds = [0]", "seeds = [0]\ndrop_last = 355"), None),
        (("[tables.t]", "[tables.ddpm-table-1]"), "tables.ddpm-table-1: there is a published table of that name"),
        (('title = "tiny"', ""), "title: this key is missing"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(
    project: Path, change: tuple[str, str], message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an unchecked key, and an error that does not lead to its place."""
    monkeypatch.setattr("replication.training.first_stage.MOST_LAYERS", 1000)  # what is allowed takes seconds to build
    path = write_tiny(project, change)
    if message is None:
        assert plan(path)
        return
    with pytest.raises(InputError, match=message) as caught:
        plan(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_editors(project: Path, encoding: str) -> None:
    """A byte-order mark is no content; another encoding is named. Catches: "Invalid statement (at line 1, column 1)"."""
    path = write_tiny(project)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    if encoding == "utf-8-sig":
        assert plan(path)
    else:
        with pytest.raises(InputError, match=r"tiny\.toml: this is not UTF-8"):
            plan(path)


def test_a_folder_or_a_hidden_file_is_no_experiment(project: Path) -> None:
    write_tiny(project)
    (project / "experiments" / "old.toml").mkdir()
    (project / "experiments" / "._tiny.toml").write_bytes(b"\0\5")
    (project / "experiments" / ".#tiny.toml").symlink_to("user@host.123")
    assert experiment_names() == ["tiny"]


def test_claims_of_one_name_are_refused(project: Path) -> None:
    """Catches: two claims of which the README shows whichever comes first."""
    path = write_tiny(project)
    text = path.read_text()
    claim = text[text.index("[[claim]]") : text.index("[profiles.cpu]")]
    path.write_text(text.replace(claim, claim + claim))
    with pytest.raises(InputError, match=r"tiny\.toml: claim 'few' is there 2 times"):
        claims_of(load_experiment(str(path)))


def test_missing_files_are_named(project: Path) -> None:
    write_tiny(project)
    with pytest.raises(InputError, match="unknown experiment 'tinny'; did you mean 'tiny'"):
        load_experiment("tinny")
    with pytest.raises(InputError, match=r"nowhere/a\.toml: there is no such file"):
        load_experiment("nowhere/a.toml")


def test_profile_that_is_not_there(project: Path) -> None:
    path = write_tiny(project)
    with pytest.raises(InputError, match=r"unknown profile of tiny\.toml 'gpu'.*valid: cpu"):
        cells_of(load_experiment(str(path)), "gpu")


def test_set_changes_one_key(project: Path) -> None:
    path = write_tiny(project)
    before, after = plan(path), plan(path, **{"protocol.n": "12", "recipe.schedule": "cosine"})
    assert (before[0].protocol.n, after[0].protocol.n) == (16, 12)
    assert str(after[0].recipe.schedule) == "cosine"
    assert before[0].key != after[0].key


@pytest.mark.parametrize(
    ("key", "message"),
    [("protocl.n", "profiles.cpu: unknown key 'protocl'; did you mean 'protocol'"), ("protocol.seed", "unknown key 'seed'; did you mean 'seeds'"),
     ("batch_size.n", "profiles.cpu.batch_size: input should be a valid integer")],
)  # fmt: skip
def test_set_of_a_key_that_is_not_there(project: Path, key: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(write_tiny(project), **{key: "5"})


def test_key_holds_what_matters_and_nothing_else(project: Path) -> None:
    """Labels, published values and the batch size are not what a cell is. Catches: a key over the whole file."""
    cells = plan(write_tiny(project))
    same = plan(
        write_tiny(
            project,
            ('label = "DDPM"', 'label = "Ho"'),  # in the claim
            ('label = "DDPM"', 'label = "Ho"'),  # in the row
            ("batch_size = 8\n[prof", "batch_size = 5\n[prof"),
            ("6.84", "1.0"),
        )
    )
    assert [c.key for c in cells] == [c.key for c in same]
    for change in (
        ("seeds = [0]", "seeds = [1]"), ("resamples = 5", "resamples = 6"), ("warmup = 1", "warmup = 2"), ("nll_images = 4", "nll_images = 3"),
        ("beta_end = 0.3", "beta_end = 0.2"), ('reference = "test"', 'reference = "train"'), ('clip = "x0"', 'clip = "x0+eps"'),
    ):  # fmt: skip
        assert plan(write_tiny(project, change))[0].key != cells[0].key, change


def test_cells_that_differ_in_protocol_alone_share_their_samples(project: Path) -> None:
    cells = plan(write_tiny(project))
    other = plan(write_tiny(project, ('reference = "test"', 'reference = "train"'), ("n = 16", "n = 12")))
    assert [c.sample_key for c in cells] == [c.sample_key for c in other]
    assert len({c.sample_key for c in cells}) == len(cells)


def test_options_of_a_part_merge_and_another_part_replaces_it() -> None:
    """Exact. Catches options of one part that are handed to another, and a part given by name that takes no options."""
    base = {
        "objective": {"name": "bound", "variance": "learned"},
        "network": "dit",
        "training": {"steps": 1, "seed": 0},
    }
    assert merged(base, {"objective": {"name": "simple"}, "training": {"seed": 5}}) == {
        "objective": {"name": "simple"}, "network": "dit", "training": {"steps": 1, "seed": 5},
    }  # fmt: skip
    changed = merged(base, {"objective": {"variance": "fixed-large"}, "network": {"block": "adaln"}})
    assert changed["objective"] == {"name": "bound", "variance": "fixed-large"}
    assert changed["network"] == {"name": "dit", "block": "adaln"}
    assert merged(base, {"objective": {"name": "bound", "T": 3}})["objective"] == {
        "name": "bound",
        "variance": "learned",
        "T": 3,
    }
    assert merged(base, {"objective": "bound"})["objective"] == "bound"


def test_ddpm_paper_profile_states_the_published_tables() -> None:
    """DDPM Table 1 and DDIM Table 1, cell by cell. Catches: a value in the wrong column."""
    cells = cells_of(load_experiment("ddpm"), "paper")
    fd = {
        (c.label, c.sampling.steps): p.value
        for c in cells
        for p in c.published
        if p.metric == "fd" and p.paper.startswith("arXiv:")
    }
    assert (fd["DDPM", 1000], fd["DDPM, test reference", 1000]) == (3.17, 5.24)
    assert [fd["DDIM", s] for s in (10, 20, 50, 100, 1000)] == [13.36, 6.84, 4.67, 4.16, 4.04]
    assert [fd["DDIM, eta 1.0", s] for s in (10, 20, 50, 100, 1000)] == [41.07, 18.36, 8.01, 5.78, 4.73]
    assert [fd["sigma-hat", s] for s in (10, 20, 50, 100, 1000)] == [367.43, 133.37, 32.72, 9.99, 3.17]
    on_cifar10 = {c.recipe.key for c in cells if c.recipe.dataset.name == "cifar10"}
    assert len(on_cifar10) == 6  # one checkpoint per training, not per row


OTHER = """
title = "o"
papers = []
[bases.shared]
label = "shared"
sampler = "ddim"
spacing = "uniform"
steps = [5]
clip = "none"
[profiles.cpu]
base = "tiny"
protocol = { n = 12 }
rows = [{ base = "shared" }, { base = "shared", label = "other", sampler = { eta = 0.5 } }, { base = "other", label = "third" }]
"""


def test_tables_start_from_others(project: Path) -> None:
    """A profile from another file's, rows from a base and from each other. Catches rows of the other file beside those that
    this one gives, a lookup that misses the list's labels, and a change that is lost on the way.
    """
    write_tiny(project)
    path = project / "experiments" / "other.toml"
    path.write_text(OTHER)
    cells = plan(path)
    assert [(c.label, str(c.sampling.sampler)) for c in cells] == [
        ("shared", "ddim"),
        ("other", "ddim(eta=0.5)"),
        ("third", "ddim(eta=0.5)"),
    ]
    assert (cells[0].protocol.n, cells[0].protocol.name) == (12, "tiny")
    assert cells[0].recipe == plan(project / "experiments" / "tiny.toml")[0].recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('base = "tiny"', 'base = "tyni"'), r"profiles\.cpu\.base: unknown table 'tyni'; did you mean 'tiny'.*valid: shared, "),
        (('base = "tiny"', 'base = "tiny.gpu"'), r"profiles\.cpu\.base: unknown table of tiny\.toml 'gpu'.* \(valid: cpu\)"),
        (('{ base = "shared" }', '{ base = "shard" }'), r"rows\[0\]\.base: unknown table 'shard'; did you mean 'shared'"),
        (('{ base = "shared" }', '{ base = "third", label = "first" }'), None),
        (('{ base = "shared", label', '{ base = "third", label'), "rows.*base: tables start from each other, in a circle"),
        (('label = "shared"\n', 'label = "shared"\nbase = "shared"\n'), "bases.shared.base: .*unknown table 'shared'"),
        (('base = "tiny"', "base = 3"), r"profiles\.cpu\.base: unknown table '3'"),
        (('label = "third"', 'label = "other"'), r"profiles\.cpu: row 'other' is there twice at 5 steps"),
        (('steps = [5]', 'steps = [5]\ngird = 1'), r"unknown key 'gird'; did you mean 'grid'\? \(valid: base, beside, clip, exclude, grid, guidance"),
    ],
)  # fmt: skip
def test_what_no_base_can_be_is_refused(project: Path, change: tuple[str, str], message: str | None) -> None:
    """Catches an endless loop, and an error that does not lead to its place."""
    write_tiny(project)
    path = project / "experiments" / "other.toml"
    assert change[0] in OTHER
    path.write_text(OTHER.replace(*change, 1))
    if message is None:
        assert plan(path)[0].label == "first"
        return
    with pytest.raises(InputError, match=message):
        plan(path)


@pytest.mark.parametrize("name", ["ddpm", "samplers", "schedules", "ldm", "dit", "guidance", "scaling"])
def test_every_committed_experiment_is_valid(name: str) -> None:
    """Catches: a sampler whose name or options changed under an experiment file."""
    experiment = load_experiment(name)
    for profile in experiment.profiles:
        assert cells_of(experiment, profile)


def test_samplers_share_the_checkpoint_and_cells_of_ddpm() -> None:
    """`make replicate-ddpm` trains what `samplers` samples from. Catches: two recipes that drift apart."""
    ddpm, samplers = (cells_of(load_experiment(name), "cpu") for name in ("ddpm", "samplers"))
    assert {c.recipe.key for c in ddpm} == {c.recipe.key for c in samplers}
    assert {c.sample_key for c in ddpm if c.label in ("DDPM", "DDIM")} <= {c.sample_key for c in samplers}
    assert len({str(c.sampling.sampler) for c in samplers}) >= 12


GRID = """label = "{size}, {sampler}, seed {recipe.training.seed}"
exclude = [{ size = "wide", recipe.training.seed = 3 }, { sampler = "euler", size = "wide" }]
[profiles.cpu.rows.grid]
size = { narrow = {}, wide = { recipe.parameterization = "x0", steps = [3] } }
sampler = [{ name = "ddim", eta = 0.0 }, "euler"]
recipe.training.seed = [0, 3]
"""
SIGMA = 'label = "sigma-hat"\nsampler = { name = "ancestral", variance = "fixed-large" }\nspacing = "uniform"\nsteps = [2]\nclip = "x0"\n'


def gridded(project: Path, *changes: tuple[str, str]) -> Path:
    text = 'spacing = "uniform"\nsteps = [2]\nclip = "x0"\n' + GRID
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return write_tiny(
        project, (SIGMA, text), ('baseline = { label = "sigma-hat", steps = 2 }', 'baseline = "DDIM x 2"')
    )


def test_a_grid_is_a_row_of_each_combination(project: Path) -> None:
    """Exact order and labels. Catches seeds that share a checkpoint, an exclusion of too much, and labels that claims could
    not name.
    """
    cells = {cell.label: cell for cell in plan(gridded(project))}
    assert list(cells)[2:] == [
        "narrow, ddim, seed 0", "narrow, ddim, seed 3", "narrow, euler, seed 0", "narrow, euler, seed 3", "wide, ddim, seed 0",
    ]  # fmt: skip
    assert cells["narrow, ddim, seed 0"].recipe.key == cells["DDIM"].recipe.key
    assert cells["narrow, ddim, seed 3"].recipe.training.seed == 3
    assert len({cell.recipe.key for cell in cells.values()}) == 3
    assert cells["wide, ddim, seed 0"].sampling.steps == 3
    assert cells["wide, ddim, seed 0"].recipe.parameterization == "x0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 3 }", "seed = 4 }"), r"rows\[2\]\.exclude\[0\]: .* excludes nothing"),
        (('{ size = "wide", ', '{ sise = "wide", '), r"exclude\[0\]: unknown axis 'sise'; did you mean 'size'"),
        (("recipe.training.seed = [0, 3]", "recipe.training.seed = []"), r"grid\.recipe\.training\.seed: an axis is a key of the row"),
        (("recipe.training.seed = [0, 3]", "recipe.training.seed = [3, 3]"), "two of its values are one"),
        (("recipe.training.seed = [0, 3]", "recipe.training.sead = [0, 3]"), "unknown axis 'recipe.training.seed'"),
        (("narrow = {}", "narrow = 3"), r"grid\.size: an axis is a key of the row"),
        (("{sampler}, ", ""), "row 'narrow, seed 0' is there twice at 2 steps"),
        (("exclude = [{", "exclude = [3, {"), "exclude a list of combinations"),
    ],
)  # fmt: skip
def test_what_no_grid_can_be_is_refused(project: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(gridded(project, change))


def test_an_old_shorthand_is_an_unknown_key(project: Path) -> None:
    for change, message in (
        (
            ('label = "sigma-hat"\n', 'label = "sigma-hat"\ntraining_seeds = [0, 3]\n'),
            "unknown key 'training_seeds'.*grid",
        ),
        (("[profiles.cpu]\n", '[profiles.cpu]\nlike = "ddpm"\n'), "unknown key 'like'.*valid: base"),
        (('title = "tiny"\n', 'title = "tiny"\nbases = 5\n'), "bases = 5: a table of tables"),
        (('title = "tiny"\n', 'title = "tiny"\nrows = []\n'), "top level: unknown key 'rows'.*bases"),
    ):
        with pytest.raises(InputError, match=message):
            plan(write_tiny(project, change))


def test_a_profile_of_any_name_says_what_it_counts_as(project: Path) -> None:
    """Catches a claim that is judged on a profile of unknown size, and a name that folders and commands could not hold."""
    path = write_tiny(
        project, ('papers = ["arXiv:2006.11239"]', 'papers = ["arXiv:2006.11239"]\nprofiles.laptop.base = "cpu"')
    )
    with pytest.raises(InputError, match=r"profiles\.laptop\.counts_as: .* cpu, evening, gpu, paper"):
        load_experiment(str(path))
    path.write_text(
        path.read_text()
        .replace('base = "cpu"', '{ base = "cpu", counts_as = "gpu" }')
        .replace("profiles.laptop.{", "profiles.laptop = {")
    )
    experiment = load_experiment(str(path), {"protocol.n": "12"}, "laptop")
    cells = cells_of(experiment, "laptop")
    assert [cell.protocol.n for cell in cells] == [12, 12, 12]
    assert Evidence(experiment, "laptop", cells, {}).size == Evidence(experiment, "gpu", [], {}).size
    with pytest.raises(InputError, match=r"unknown profile of tiny\.toml 'labtop'; did you mean 'laptop'"):
        load_experiment(str(path), {"protocol.n": "12"}, "labtop")
    path.write_text(path.read_text().replace("laptop", "Laptop"))
    with pytest.raises(InputError, match="Laptop"):
        load_experiment(str(path))


def test_a_scale_makes_a_part_of_everything() -> None:
    """Steps of all trainings, images of all rows; a first stage of the profile stays that of its rows."""
    (whole,) = {row.label: row for row in load_experiment("ldm").profile("gpu").rows if row.label == "f = 4"}.values()
    experiment = load_experiment("ldm", {"scale": "0.001"}, "gpu")
    profile = experiment.profile("gpu")
    (row,) = (row for row in profile.rows if row.label == "f = 4")
    training = {"steps": 5, "warmup": 0}
    assert row.recipe.training == whole.recipe.training.with_fields(**training)
    assert row.recipe.first_stage is not None
    assert row.recipe.first_stage.training.steps == 4
    assert row.recipe.first_stage == profile.first_stages["kl-f4"].first_stage
    assert (row.protocol.n, row.protocol.changes) == (10, whole.protocol.changes.replace("3000", "10"))
    assert load_experiment("ldm", {"scale": "0.1"}, "gpu").profile("gpu").rows[0].protocol.n == 300
    assert load_experiment("ldm", {"scale": "1.0"}, "gpu").profile("gpu") == load_experiment("ldm").profile("gpu")


def test_a_scale_reaches_what_is_not_stated(isolated: Path) -> None:
    """An NLL of all test images, when a discriminator comes in, and the first stage that a decoder is trained on from."""
    (nll, *_) = (row for row in load_experiment("ddpm", {"scale": "0.001"}, "paper").profile("paper").rows if row.nll)
    assert nll.protocol.nll_images == 10
    stages = load_experiment("dit", {"scale": "0.001"}, "paper").profile("paper").first_stages
    decoder = stages["kl-f8-ema"].decoder_of
    assert decoder is not None
    assert decoder.loss.discriminator_start == 50
    assert decoder == stages["kl-f8"].first_stage


@pytest.mark.parametrize("scale", ["0", "1.5", "-1", "half", "nan"])
def test_no_other_scale(scale: str) -> None:
    with pytest.raises(InputError, match=r"profiles\.gpu\.scale"):
        load_experiment("ddpm", {"scale": scale}, "gpu")


def test_a_rehearsal_supports_no_claim() -> None:
    experiment = load_experiment("ddpm", {"scale": "0.1"}, "gpu")
    claims = claims_of(experiment)
    evidence = Evidence(experiment, "gpu", [], {}, claims, {}, {})
    assert {evidence.shortfall(claim) for claim in claims} == {"profile gpu at scale 0.1 is a rehearsal"}
