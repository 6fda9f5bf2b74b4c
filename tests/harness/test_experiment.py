"""Experiment files: what is wrong is said in one sentence with file, key, value and the nearest valid name."""

from pathlib import Path

import pytest
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.experiment_file import merged
from replication.harness.jobs.cell import cells_of
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
        (('title = "tiny"', ""), "title: this key is missing"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(project: Path, change: tuple[str, str], message: str) -> None:
    """Catches: an unchecked key, and an error that does not lead to its place."""
    path = write_tiny(project, change)
    with pytest.raises(InputError, match=message) as caught:
        plan(path)
    assert str(caught.value).startswith(str(path))


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
    [("protocl.n", "unknown table 'protocl'; did you mean 'protocol'"), ("protocol.seed", "unknown key 'seed'; did you mean 'seeds'"),
     ("batch_size.n", "batch_size is not a table")],
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


def test_merged_replaces_a_part_whole_and_a_table_by_key() -> None:
    base = {"objective": {"name": "bound", "variance": "learned"}, "training": {"steps": 1, "seed": 0}}
    result = merged(base, {"objective": {"name": "simple"}, "training": {"seed": 5}})
    assert result == {"objective": {"name": "simple"}, "training": {"steps": 1, "seed": 5}}


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
    assert len({c.recipe.key for c in cells}) == 5  # one checkpoint per training, not per row


def test_profile_like_another_experiments(project: Path) -> None:
    """Recipe and protocol come from the other file, rows do not, and what is said here goes on top."""
    write_tiny(project)
    path = project / "experiments" / "other.toml"
    path.write_text(
        'title = "o"\npapers = []\n[[rows]]\nlabel = "shared"\nsampler = "ddim"\nspacing = "uniform"\nsteps = [5]\nclip = "none"\n'
        '[profiles.cpu]\nlike = "tiny"\nprotocol = { n = 12 }\n'
    )
    cells = plan(path)
    assert [c.label for c in cells] == ["shared"]
    assert (cells[0].protocol.n, cells[0].protocol.name) == (12, "tiny")
    assert cells[0].recipe == plan(project / "experiments" / "tiny.toml")[0].recipe
    path.write_text(path.read_text().replace('like = "tiny"', 'like = "tyni"'))
    with pytest.raises(InputError, match=r"profiles\.cpu\.like: unknown experiment 'tyni'; did you mean 'tiny'"):
        plan(path)


@pytest.mark.parametrize("name", ["ddpm", "samplers", "schedules", "ldm", "dit"])
@pytest.mark.parametrize("profile", ["cpu", "gpu", "paper"])
def test_every_committed_experiment_is_valid(name: str, profile: str) -> None:
    """Catches: a sampler whose name or options changed under an experiment file."""
    assert cells_of(load_experiment(name), profile)


def test_samplers_share_the_checkpoint_and_cells_of_ddpm() -> None:
    """`make replicate-ddpm` trains what `samplers` samples from. Catches: two recipes that drift apart."""
    ddpm, samplers = (cells_of(load_experiment(name), "cpu") for name in ("ddpm", "samplers"))
    assert {c.recipe.key for c in ddpm} == {c.recipe.key for c in samplers}
    assert {c.sample_key for c in ddpm if c.label in ("DDPM", "DDIM")} <= {c.sample_key for c in samplers}
    assert len({str(c.sampling.sampler) for c in samplers}) >= 12


def test_named_recipes_and_every_row_are_written_out(project: Path) -> None:
    """Equal keys to the same rows in full. Catches a default that wins over a row, and a name that is left standing."""
    long = cells_of(
        load_experiment(
            str(write_tiny(project, ('label = "DDIM"\n', 'label = "DDIM"\nrecipe = { parameterization = "x0" }\n')))
        ),
        "cpu",
    )
    short = (
        ('[[profiles.cpu.rows]]\nlabel = "DDPM"', '[profiles.cpu.recipes.clean]\nparameterization = "x0"\n[profiles.cpu.every_row]\nspacing = "uniform"\nclip = "x0"\n[[profiles.cpu.rows]]\nlabel = "DDPM"'),
        ('spacing = "uniform"\nsteps = [4]\nclip = "x0"\n', "steps = [4]\n"),
        ('label = "DDIM"\n', 'label = "DDIM"\nrecipe = "clean"\n'),
    )  # fmt: skip
    of_short = cells_of(load_experiment(str(write_tiny(project, *short))), "cpu")
    assert [cell.key for cell in of_short] == [cell.key for cell in long]
    for change, message in (
        ((short[0], short[1], ('label = "DDIM"\n', 'label = "DDIM"\nrecipe = "clear"\n')), r"rows\[1\]\.recipe: unknown recipe 'clear'; did you mean 'clean'"),
        ((("[[profiles.cpu.rows]]", "[profiles.cpu.every_row]\nspacin = 1\n[[profiles.cpu.rows]]"),), "did you mean 'spacing'"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            cells_of(load_experiment(str(write_tiny(project, *change))), "cpu")


def test_training_seeds_make_a_row_and_a_checkpoint_each(project: Path) -> None:
    """Catches seeds that share a checkpoint, and labels that claims could not name."""
    path = write_tiny(project, ('label = "sigma-hat"\n', 'label = "sigma-hat"\ntraining_seeds = [0, 3]\n'), ("baseline = { label = \"sigma-hat\"", "baseline = { label = \"sigma-hat, seed 3\""))  # fmt: skip
    cells = {cell.label: cell for cell in cells_of(load_experiment(str(path)), "cpu")}
    assert list(cells)[2:] == ["sigma-hat, seed 0", "sigma-hat, seed 3"]
    assert cells["sigma-hat, seed 0"].recipe.key == cells["DDIM"].recipe.key
    assert cells["sigma-hat, seed 3"].recipe.training.seed == 3
    assert cells["sigma-hat, seed 3"].recipe.key != cells["DDIM"].recipe.key
