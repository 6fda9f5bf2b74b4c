"""Generation: image i depends on (seed, i) only, whatever was interrupted, split, or drawn before."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from training_recipes import CPU

import replication.sampling.chunks
from replication import progress
from replication.check.models import randomize
from replication.checkpoint import save_checkpoint
from replication.diffusion import Denoiser, sample
from replication.diffusion.denoiser import Counted, Denoise
from replication.files import Damaged
from replication.harness.measuring import other_work_columns, timing_columns, unlike_times
from replication.metrics import timing
from replication.metrics.timing import OtherWork
from replication.noise import ImageNoise
from replication.registry import MODELS, SAMPLERS, SCHEDULES
from replication.sampling.chunks import Chunk, Chunks, SampleSet, Seconds, gaps
from replication.sampling.generation import SamplePlace, SampleRequest, Sampling, Source, draw, generate
from replication.types import InputError, RunError

SHAPE = (1, 8, 8)
SETTINGS = [("ddim", "uniform", "none"), ("ddim", "quadratic", "x0+eps"), ("ancestral", "uniform", "x0")]


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    network = MODELS.build("ddpm-digits").eval().requires_grad_(False)
    randomize(network, seed=2)
    return Denoiser(network, SCHEDULES.build("linear"), "v")  # eps would multiply float32 rounding by 1 / alpha


def sampling(sampler: str = "ancestral", spacing: str = "uniform", clip: str = "x0", steps: int = 4) -> Sampling:
    return Sampling.model_validate({"sampler": sampler, "spacing": spacing, "steps": steps, "clip": clip})


def made(
    denoiser: Denoise,
    folder: Path,
    n: int = 12,
    batch_size: int = 5,
    seed: int = 0,
    weights: str = "",
    drawn_by: str = "",
) -> SampleSet:
    place = SamplePlace(folder, batch_size, CPU, drawn_by, progress=False)
    return generate(Source(denoiser, SHAPE, weights=weights), SampleRequest(sampling(), n, seed), place)


@pytest.mark.parametrize(("sampler", "spacing", "clip"), SETTINGS)
def test_an_image_is_the_same_in_any_batch(denoiser: Denoiser, sampler: str, spacing: str, clip: str) -> None:
    """max-abs 1e-5, before quantizing. Catches noise per batch, and norms over the batch."""
    settings = sampling(sampler, spacing, clip)
    times, rule = settings.times(denoiser.schedule), SAMPLERS.build(sampler)

    def in_batches_of(size: int) -> Tensor:
        pieces = []
        for start in range(0, 64, size):
            noise = ImageNoise(3, torch.arange(start, min(start + size, 64)))
            pieces.append(sample(denoiser, rule, times, noise.prior((len(noise.indices), *SHAPE)), noise, clip))
        return torch.cat(pieces)

    whole = in_batches_of(64)
    for size in (1, 7):
        assert (in_batches_of(size) - whole).abs().max() <= 1e-5


def test_sample_sets_are_the_same_for_any_batch_size(denoiser: Denoiser, tmp_path: Path) -> None:
    """Equal but for pixels that 1e-5 pushes over a grey level's edge: one level, one in 1000. Catches indices per chunk."""
    sets = [made(denoiser, tmp_path / str(size), n=64, batch_size=size).images for size in (64, 7, 1)]
    assert sets[0].shape == (64, *SHAPE)
    assert sets[0].dtype == torch.uint8
    assert len(sets[0].unique()) > 50
    for other in sets[1:]:
        difference = (other.int() - sets[0].int()).abs()
        assert difference.max() <= 1
        assert difference.float().mean() <= 1e-3


def test_the_first_images_are_as_many_in_any_batch(denoiser: Denoiser, tmp_path: Path) -> None:
    """Exact. Catches: a strip of the first batch alone, one image where batches are of one."""
    found = {size: made(denoiser, tmp_path / str(size), batch_size=size) for size in (1, 5, 12)}
    for samples in found.values():
        assert [len(samples.first(count)) for count in (1, 10, 12, 20)] == [1, 10, 12, 12]
        assert torch.equal(samples.first(10), samples.images[:10])


def test_chunks_keep_what_their_times_hang_on(denoiser: Denoiser, tmp_path: Path) -> None:
    """Batch size, threads and a floor of that batch, of the call that drew them. Catches: today's conditions beside an
    earlier time."""
    source, place = Source(denoiser, SHAPE, network=denoiser.network), SamplePlace(tmp_path, 8, CPU, progress=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        generate(source, SampleRequest(sampling(), 8, 0), place)
        torch.set_num_threads(2)
        seconds = generate(source, SampleRequest(sampling(), 11, 0), replace(place, batch_size=2)).seconds_per_image
    finally:
        torch.set_num_threads(before)
    assert [(s.batch, s.threads) for s in seconds] == [(8, 1), (2, 2), (2, 2)]
    assert seconds[1].floor == seconds[2].floor != seconds[0].floor
    assert all(s.floor is not None and 0 < 4 * s.floor < 1 for s in seconds)


def timed(*of_chunks: Seconds) -> SampleSet:
    samples = Mock(spec=SampleSet)
    samples.seconds_per_image, samples.nfe = list(of_chunks), 4
    return samples


def test_a_rows_time_is_of_chunks_drawn_alike() -> None:
    """Exact. Catches: a median over unlike batches, and a floor of today's beside it."""
    alone, batch = Seconds(9.0, 0.0, 1, 1, 0.5), Seconds(2.0, 1.0, 250, 1, 0.1)
    row = timing_columns(
        [timed(batch, batch), timed(batch._replace(sampling=3.0, batch=249, floor=0.2), alone)], {"timing.x": 1}
    )
    assert (row["timing.seconds_per_image"], row["timing.image_seconds"], row["timing.chunks"]) == (2.0, 3.0, 3)
    assert (row["timing.batch_size"], row["env.threads"], row["timing.floor_seconds"], row["timing.x"]) == (
        250,
        "1",
        0.4,
        1,
    )
    earlier = timing_columns([timed(Seconds(2.0, 0.0, 16))], {"timing.floor_seconds": 0.3})
    assert "env.threads" not in earlier
    assert earlier["timing.floor_seconds"] == 0.3
    assert timing_columns([timed()], {"timing.x": 1}) == {}


def test_times_compare_under_equal_conditions_alone() -> None:
    """Exact; a row from before its batch size was kept has no say. Catches: a speed that is one of the batch size."""
    row = {"env.device": "cpu", "env.threads": "1", "timing.batch_size": 250}
    assert unlike_times([row, {**row, "timing.batch_size": 240}, {"env.device": "cpu", "env.threads": "1"}]) == []
    assert unlike_times([row, {**row, "timing.batch_size": 1}]) == ["batch size 1 against 250"]
    assert unlike_times([row, {**row, "env.threads": "2"}]) == ["threads 1 against 2"]
    assert unlike_times([row, {**row, "env.device": "cpu, compiled"}]) == ["device cpu against cpu, compiled"]


BUSY, QUIET = OtherWork(1.4, 95.0, 0.0, True), OtherWork(0.0, 0.0, 0.0, False)


def test_a_time_beside_other_work_enters_no_verdict_silently() -> None:
    """Chunks beside other work count only where there are no others; then the row says so, and no time is compared with it.

    Catches: a median over both, and a mark that nothing reads.
    """
    busy, quiet = Seconds(9.0, 0.0, 250, 1, other_work=BUSY), Seconds(2.0, 0.0, 250, 1, other_work=QUIET)
    row = timing_columns([timed(busy, busy, quiet)], {})
    assert (row["timing.seconds_per_image"], row["timing.chunks"], row["timing.disturbed"]) == (2.0, 1, 0)
    marked = timing_columns([timed(busy, busy)], {})
    assert (marked["timing.seconds_per_image"], marked["timing.disturbed"]) == (9.0, 1)
    assert (marked["timing.other_processors"], marked["timing.other_switches"]) == (1.4, 95.0)
    assert unlike_times([row, row]) == []
    (why,) = unlike_times([row, {**marked, "label": "DDIM", "sampling.steps": 20}])
    assert why.startswith("1.40 processors of other work, 95 switches/s")
    assert "beside the timing of DDIM x 20:" in why
    assert "timing.disturbed" not in timing_columns([timed(Seconds(2.0, 0.0, 16))], {})
    first_stage = {"label": "f = 2", **other_work_columns([BUSY])}
    assert "beside the timing of f = 2:" in unlike_times([row, first_stage])[-1]


@pytest.mark.parametrize(("beside", "tries"), [([QUIET], 1), ([BUSY, QUIET], 2), ([BUSY] * timing.TRIES, timing.TRIES)])
def test_a_time_beside_other_work_is_taken_again(
    beside: list[OtherWork], tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a first try that counts, what was seen of another try, and a busy machine that is waited for without end."""
    seen, taken = iter(beside), []
    monkeypatch.setattr(timing, "_between", lambda *_: next(seen))
    monkeypatch.setattr(timing, "repeated", lambda *_: taken.append(1) or [float(len(taken))])
    assert timing.undisturbed(Mock(), torch.device("cpu"), 9) == ([float(tries)], beside[-1])


def test_flags_that_change_a_time_are_kept_with_it() -> None:
    """Of unlike chunks those of most images count; rows of unequal flags are not compared, and older ones have no say."""
    fast, slow = Seconds(2.0, 0.0, 9, 1, flags="none"), Seconds(8.0, 0.0, 8, 1, flags="deterministic algorithms")
    row = timing_columns([timed(fast, slow)], {})
    assert (row["timing.seconds_per_image"], row["env.flags"]) == (2.0, "none")
    unlike = {**row, "env.flags": "deterministic algorithms"}
    assert unlike_times([row, unlike]) == ["flags none against deterministic algorithms"]
    assert unlike_times([row, {name: value for name, value in row.items() if name != "env.flags"}]) == []


def test_other_work_is_seen_in_the_kernels_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact, of counters before and after ten seconds on two processors. Catches: our own work that counts as others', and
    a thread on a processor of its own that counts as disturbed.
    """
    monkeypatch.setattr(timing, "processors", lambda: frozenset({0, 1}))
    before = timing._Counters(100.0, 0.0, 50.0, 7)

    def beside(busy: float, stolen: float = 0.0, switches: int = 0, threads: int = 1) -> OtherWork:
        after = timing._Counters(110.0 + busy, stolen, 60.0, 7 + switches)
        found = timing._between(before, after, 10.0, threads)
        assert found is not None
        return found

    assert not beside(0.04).disturbs
    assert beside(8.04).processors == pytest.approx(0.8)
    assert not beside(8.04).disturbs
    assert beside(8.04, threads=2).disturbs
    assert beside(0.04, switches=1000).disturbs
    assert beside(0.04, stolen=2.0).disturbs
    monkeypatch.setattr(timing.Together, "companions", 1)
    assert not beside(0.04, switches=1000).disturbs  # it is they that put each other aside


def test_chunks_are_nearly_equal_and_timed(denoiser: Denoiser, tmp_path: Path) -> None:
    """Exact. Catches a last chunk of two images, whose seconds per image would not compare."""
    made_ = made(denoiser, tmp_path, n=12, batch_size=5)
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == [f"{a:07d}-{a + 4:07d}.safetensors" for a in (0, 4, 8)]
    assert made_.nfe == 4
    assert len(made_.seconds_per_image) == 3
    assert len(made_.seconds_per_image) == len(list((tmp_path).glob("*.safetensors")))
    assert min(s.sampling for s in made_.seconds_per_image) > 0
    assert made(denoiser, tmp_path, drawn_by="another device").seconds_per_image == []


def test_chunks_of_other_weights_are_made_again(denoiser: Denoiser, tmp_path: Path) -> None:
    """Catches: a set that joins images of two checkpoints."""
    first = made(denoiser, tmp_path, weights="a").images
    evaluated = Counted(denoiser)
    assert torch.equal(made(evaluated, tmp_path, weights="a").images, first)
    assert evaluated.nfe == 0
    made(evaluated, tmp_path, weights="b")
    assert evaluated.nfe > 0


class Killed(BaseException):
    """Like KeyboardInterrupt."""


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("then", [5, 3], ids=["same-batch", "other-batch"])
def test_a_killed_set_goes_on_to_the_same_images(
    denoiser: Denoiser, chunk: int, then: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one grey level where batches differ, else equal. Catches restarting, and skipping what was not finished."""
    whole, evaluated = made(denoiser, tmp_path / "whole"), Counted(denoiser)
    chunks = iter(range(1, 10))

    def saving(*args: object) -> None:
        if next(chunks) == chunk:
            (tmp_path / "killed").mkdir(exist_ok=True)
            (tmp_path / "killed" / ".0000000-0000004.safetensors.1.partial").write_bytes(b"half a chunk")
            raise Killed
        save_checkpoint(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(replication.sampling.chunks, "save_checkpoint", saving)
        with pytest.raises(Killed):
            made(denoiser, tmp_path / "killed")
    finished = made(evaluated, tmp_path / "killed", batch_size=then)
    left = -(-(12 - 4 * (chunk - 1)) // then)
    assert evaluated.nfe == 4 * left + 1  # one to warm up
    assert (finished.images.int() - whole.images.int()).abs().max() <= (0 if then == 5 else 1)


def test_a_finished_set_is_read_not_made(denoiser: Denoiser, tmp_path: Path) -> None:
    first, counted = made(denoiser, tmp_path), Counted(denoiser)
    again = made(counted, tmp_path)
    assert counted.nfe == 0
    assert torch.equal(again.images, first.images)
    assert (again.nfe, again.seconds_per_image) == (first.nfe, first.seconds_per_image)


def test_a_longer_set_begins_with_a_shorter_one(denoiser: Denoiser, tmp_path: Path) -> None:
    """Exact for what is stored, one level for what is made in other batches. Catches a set that is thrown away."""
    short = made(denoiser, tmp_path / "a", n=7)
    long = made(denoiser, tmp_path / "a", n=12)
    assert torch.equal(long.images[:7], short.images)
    assert (long.images.int() - made(denoiser, tmp_path / "b", n=12).images.int()).abs().max() <= 1
    assert torch.equal(made(denoiser, tmp_path / "a", n=5).images, short.images[:5])


def test_seeds_differ_and_their_order_does_not_matter(denoiser: Denoiser, tmp_path: Path) -> None:
    """Exact. Catches a global generator."""
    forwards = [made(denoiser, tmp_path / f"a{seed}", seed=seed).images for seed in (0, 1)]
    torch.manual_seed(5)
    backwards = [made(denoiser, tmp_path / f"b{seed}", seed=seed).images for seed in (1, 0)]
    assert torch.equal(forwards[0], backwards[1])
    assert torch.equal(forwards[1], backwards[0])
    assert not torch.equal(forwards[0], forwards[1])


def test_a_missing_chunk_is_made_again_and_a_damaged_one_is_set_aside(
    denoiser: Denoiser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exact: in the same chunks. Catches a gap that shifts every image after it or has them drawn again, a dead end, and a
    flipped bit that passes for an image."""
    whole = made(denoiser, tmp_path).images
    chunk = tmp_path / "0000004-0000008.safetensors"
    evaluated, content = Counted(denoiser), chunk.read_bytes()
    chunk.unlink()
    assert torch.equal(made(evaluated, tmp_path).images, whole)
    assert evaluated.nfe == 4 + 1  # one to warm up
    chunk.write_bytes(content[:-1])
    assert torch.equal(made(denoiser, tmp_path).images, whole)
    assert "0000004-0000008.safetensors: damaged (" in capsys.readouterr().err
    assert chunk.with_name("0000004-0000008.safetensors.damaged").read_bytes() == content[:-1]
    header = {"nfe": 4, "seconds": 1.0, "weights": "", "drawn_by": ""}
    save_checkpoint(chunk, {"images": whole[:2]}, header)
    short = chunk.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    for spoilt, reason in (
        (short, "holds 2 images, by its name 4"),
        (flipped, "'images' is not the one that was written"),
    ):
        chunk.write_bytes(spoilt)
        with pytest.raises(Damaged, match=r"set aside; the same command draws its images again"):
            list(made(denoiser, tmp_path).batches())
        assert reason in capsys.readouterr().err
        assert torch.equal(made(denoiser, tmp_path).images, whole)


def test_chunks_from_before_they_held_their_conditions_are_read(denoiser: Denoiser, tmp_path: Path) -> None:
    whole = made(denoiser, tmp_path).images
    header = {"nfe": 4, "seconds": 1.0, "weights": "", "drawn_by": ""}
    save_checkpoint(tmp_path / "0000004-0000008.safetensors", {"images": whole[4:8]}, header)
    assert torch.equal(made(Mock(), tmp_path).images, whole)


@pytest.mark.parametrize(
    ("chunks", "left"),
    [
        ([], [(0, 12)]),
        ([(0, 4), (8, 12)], [(4, 8)]),
        ([(4, 8), (2, 6)], [(0, 2), (8, 12)]),
        ([(0, 20)], []),
        ([(5, 20)], [(0, 5)]),
        ([(0, 5), (20, 30)], [(5, 12)]),
    ],
)
def test_gaps(chunks: list[tuple[int, int]], left: list[tuple[int, int]], tmp_path: Path) -> None:
    assert gaps([Chunk(tmp_path, *one) for one in chunks], 12) == [range(*one) for one in left]


def test_what_another_draws_is_left_to_it_and_a_dead_ones_is_taken_over(denoiser: Denoiser, tmp_path: Path) -> None:
    """A claim whose process was killed is a file that nobody holds. Catches: images drawn twice, a wait for a dead process,
    and chunks of other sizes where two draw."""
    whole = made(denoiser, tmp_path / "alone").images
    folder = tmp_path / "shared"
    request, place = SampleRequest(sampling(), 12, 0), SamplePlace(folder, 5, CPU, progress=False)
    folder.mkdir()
    (folder / ".0000008-0000012.claim").write_text("")
    with Chunks(folder, "").claimed(12, 5) as ours:
        assert ours is not None
        assert (ours[0].start, ours[0].stop, ours[1]) == (0, 4, 4)
        assert draw(Source(denoiser, SHAPE), request, place) == 8
        assert draw(Source(denoiser, SHAPE), request, place) == 0
    assert torch.equal(made(denoiser, folder).images, whole)
    assert [chunk.start for chunk in Chunks(folder, "").stored()] == [0, 4, 8]
    assert list(folder.glob(".*.claim")) == []


def test_an_unwritable_folder_is_one_message(denoiser: Denoiser, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*what was finished before is kept"):
        made(denoiser, tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": "x_0"}, "did you mean 'x0'"),
        ({"sampler": "dim"}, "did you mean 'ddim'"),
        ({"spacing": "unifrom"}, "did you mean 'uniform'"),
        ({"steps": 2000}, "more than the schedule's T = 1000"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_work(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampling(**change).times(SCHEDULES.build("linear"))  # type: ignore[arg-type]


def test_the_bar_moves_with_every_step(denoiser: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a bar that stands still for a chunk. Two chunks of two images, four steps: eight updates of two image steps, as many as the total."""
    seen: list[int] = []
    update = progress.Bar.update
    monkeypatch.setattr(progress.Bar, "update", lambda bar, n=1: (seen.append(n), update(bar, n)))
    place = SamplePlace(tmp_path, 2, CPU)
    generate(
        Source(denoiser, SHAPE), SampleRequest(sampling(steps=3), 4, 0), place
    )  # uniform spacing divides by the rule of the paper
    assert seen == [2] * 8
