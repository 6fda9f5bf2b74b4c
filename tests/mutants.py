"""Mutation test of `replication/diffusion`: each change below to a copy of it must make a test that it names fail.

    python tests/mutants.py            every mutant, a few seconds each
    python tests/mutants.py unipc      those whose file or reason has that word

The named tests must pass on the unchanged copy first, or a failure would prove nothing. Exit code 1 if one survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ORDERS, CONTRACT = "test_sampler_orders.py", "test_sampler_contract.py"
THEORY, PEERS, LOOP = "test_samplers_against_theory.py", "test_samplers_against_diffusers.py", "test_sampling.py"
WRAPPERS, SPACED, OBJECTIVE = "test_guidance.py", "test_spacings.py", "test_objectives.py"


class Mutant(NamedTuple):
    """`old`, which occurs once in replication/diffusion/`file`, becomes `new`; `tests`: a file and pytest's -k."""

    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, str]


MUTANTS = [
    Mutant("the ratio of steps is inverted (2M's global slope stays 2)", "exponential.py",
           "(place - start) / length", "length / (place - start)", (ORDERS, "test_local_order and dpmpp_2m")),
    Mutant("x0 is held as if the SDE were the ODE", "exponential.py",
           "torch.expm1(-(1 + eta) * h)", "torch.expm1(-h)", (ORDERS, "test_weak_order and dpmpp_2m_sde")),
    Mutant("x_t is not damped under the SDE", "exponential.py",
           "torch.exp(-eta * h) if eta > 0 else 1.0", "1.0", (ORDERS, "test_weak_order and dpmpp_2m_sde")),
    Mutant("another eps is held with the wrong x0", "exponential.py",
           "torch.exp(-schedule.half_log_snr(t))", "torch.exp(schedule.half_log_snr(t))",
           (ORDERS, "test_local_order and dpm_2")),
    Mutant("a divided difference is taken for a derivative", "exponential.py",
           "math.factorial(i) * phi", "phi", (ORDERS, "test_local_order and (dpmpp_3m-exact or unipc-3)")),
    Mutant("the series of phi stops early", "exponential.py",
           "range(20)", "range(2)", (THEORY, "test_moments_of")),
    Mutant("a repeated time enters the history twice", "samplers/multistep.py",
           "lam != half_log_snr and not", "not", (CONTRACT, "test_a_repeated_time_changes_nothing_later and dpmpp")),
    Mutant("a value at infinite half_log_snr stays in the history", "samplers/multistep.py",
           " and not math.isinf(lam)", "", (CONTRACT, "test_from_pure_noise and flow and (3m or lms)")),
    Mutant("fewer than 10 steps becomes 10 or fewer", "samplers/multistep.py",
           "steps < self.lower_below", "steps <= self.lower_below", (THEORY, "test_the_last_steps")),
    Mutant("the steps left are not counted down", "samplers/multistep.py",
           "self.left - 1", "self.left", (THEORY, "test_the_last_steps")),
    Mutant("churn adds its variance instead of its standard deviation", "samplers/euler.py",
           "variance.sqrt() * self.S_noise", "variance * self.S_noise", (ORDERS, "test_weak_order and heun")),
    Mutant("churn does not scale the image", "samplers/euler.py",
           "scale * x_t", "x_t", (ORDERS, "test_weak_order and heun")),
    Mutant("churn counts times for steps", "samplers/euler.py",
           "self.S_churn / (len(times) - 1)", "self.S_churn / len(times)", (THEORY, "test_churn_is_edms")),
    Mutant("churn goes beyond the schedule", "samplers/euler.py",
           "torch.maximum(lam - math.log1p(gamma), schedule.half_log_snr(torch.ones_like(t)))",
           "lam - math.log1p(gamma)", (THEORY, "test_churn_stays_within")),
    Mutant("churn at alpha = 0", "samplers/euler.py", "lam.isinf() or ", "", (CONTRACT, "test_from_pure_noise and flow and 5.0")),
    Mutant("churn ignores its limits", "samplers/euler.py", " or not within", "", (THEORY, "test_churn_is_edms")),
    Mutant("churn at a repeated time", "samplers/euler.py",
           "t == s or ", "", (CONTRACT, "test_a_repeated_time_is_an_identity and 5.0")),
    Mutant("Euler asks the network before it churns", "samplers/euler.py",
           "denoise(x, back)", "denoise(x, t)", (THEORY, "test_churn_is_edms and euler")),
    Mutant("Heun's slopes are not averaged", "samplers/euler.py",
           "(here.eps + there.eps) / 2", "there.eps", (ORDERS, "test_global_order and heun")),
    Mutant("Heun corrects at sigma = 0", "samplers/euler.py",
           "schedule, t, s).isinf()", "schedule, t, s).isnan()", (LOOP, "evaluations and heun")),
    Mutant("DPM-Solver-2's stage is not in the middle", "samplers/dpm_solver.py",
           "stage(0.5, eps)", "stage(1 / 3, eps)", (ORDERS, "test_local_order and dpm_2")),
    Mutant("DPM-Solver-3's last weight is simplified", "samplers/dpm_solver.py",
           "moments(h, 1)", "moments(0, 1)", (ORDERS, "test_local_order and dpm_3")),
    Mutant("DPM-Solver-3's inner weight is simplified", "samplers/dpm_solver.py",
           "moments(2 / 3 * h, 1)", "moments(0, 1)", (PEERS, "test_dpm_singlestep and 3-eps-5")),
    Mutant("2S asks at the image it started from", "samplers/dpm_solver.py",
           "hold_x0(schedule, x_t, x0, t, u)", "x_t", (ORDERS, "test_local_order and dpmpp_2s")),
    Mutant("2M takes the exact weight", "samplers/multistep.py",
           "return moments(0, past)", "return moments(-h, past)", (PEERS, "test_dpmpp_multistep and 2-eps-5")),
    Mutant("3M's exact weights are the published ones", "samplers/multistep.py",
           'second if self.weights == "exact" else second / 2', "second / 2", (ORDERS, "test_local_order and 3m")),
    Mutant("the SDE's noise has e^-h", "samplers/multistep.py",
           "-2 * self.eta * h", "-self.eta * h", (ORDERS, "test_weak_order and dpmpp_2m_sde")),
    Mutant("LMS has its polynomial in half_log_snr", "samplers/linear_multistep.py",
           "(torch.exp(-lam), eps) for", "(lam, eps) for", (ORDERS, "test_local_order and lms")),
    Mutant("PLMS starts with one evaluation", "samplers/linear_multistep.py",
           "return all(lam == now.nodes[0][0] for lam, _ in before.nodes)", "return False", (LOOP, "evaluations and plms")),
    Mutant("PLMS uses three values", "samplers/linear_multistep.py", "keep=4", "keep=3", (PEERS, "test_plms_and_pndm and plms-5-eps")),
    Mutant("PLMS has no start after a repeated first time", "samplers/linear_multistep.py",
           "return all(lam == now.nodes[0][0] for lam, _ in before.nodes)", "return not before.nodes",
           (CONTRACT, "test_a_repeated_time_changes_nothing_later and plms")),
    Mutant("a repeated first time is looked into", "samplers/linear_multistep.py",
           "and 0 < log_snr_step", "and -1 < log_snr_step", (LOOP, "test_evaluations_are_those_that_the_sampler_declares and plms")),
    Mutant("PNDM starts with two Runge-Kutta steps", "samplers/linear_multistep.py",
           "len(now.nodes) < 4", "len(now.nodes) < 3", (LOOP, "evaluations and pndm")),
    Mutant("PNDM counts a repeated time for one of its first three", "samplers/linear_multistep.py",
           "len(now.nodes) < 4", "len(before.nodes) < 3", (CONTRACT, "test_a_repeated_time_changes_nothing_later and pndm")),
    Mutant("PNDM's second stage repeats its first", "samplers/linear_multistep.py",
           "eps_at(middle, first)", "eps_at(middle, here.eps)", (ORDERS, "test_each_runge_kutta_step and VE")),
    Mutant("PNDM's last stage holds the first one's eps", "samplers/linear_multistep.py",
           "eps_at(s, second)", "eps_at(s, first)", (ORDERS, "test_each_runge_kutta_step")),
    Mutant("PNDM has its middle in half_log_snr", "samplers/linear_multistep.py",
           "(t + s) / 2", "schedule.time_at((schedule.half_log_snr(t) + schedule.half_log_snr(s)) / 2)",
           (PEERS, "test_plms_and_pndm and pndm-5-eps")),
    Mutant("UniPC never corrects", "samplers/multistep.py",
           "if state.x_t is not None and state.t is not None:", "if False:", (ORDERS, "test_global_order and unipc-2")),
    Mutant("UniPC corrects without the new value", "samplers/multistep.py",
           "(*state.nodes, (lam, x0))", "state.nodes", (ORDERS, "test_unipc_corrects")),
    Mutant("UniPC's bh1 has bh2's weight", "samplers/multistep.py",
           "0.5 * float(h / -torch.expm1(-h))", "0.5", (PEERS, "test_unipc and 2-bh1-eps-5")),
    Mutant("eta scales the variance instead of the standard deviation", "samplers/first_order.py",
           "self.eta**2", "self.eta", (PEERS, "test_ddim and 0.5-eps-5")),
    Mutant("DDIM's direction keeps all of sigma", "samplers/first_order.py",
           "(schedule.sigma(s) ** 2 - variance).sqrt()", "schedule.sigma(s)", (ORDERS, "test_weak_order and ddim")),
    Mutant("the variance is added as a standard deviation", "samplers/first_order.py",
           "variance.sqrt() * noise", "variance * noise", (ORDERS, "test_weak_order and ancestral")),
    Mutant("noise on the last step", "samplers/first_order.py",
           "noise is None or s == 0 or", "noise is None or", (LOOP, "test_no_noise_reaches and ancestral")),
    Mutant("noise where a spacing repeats a time", "samplers/first_order.py",
           " or s == t  #", "  #", (CONTRACT, "a_learned_variance_has_no_say")),
    Mutant("the posterior mean weighs x0 with alpha_t", "forward.py",
           "per_image(schedule.alpha(s) * lost, x_t)", "per_image(schedule.alpha(t) * lost, x_t)",
           (ORDERS, "test_weak_order and ancestral")),
    Mutant("the state is kept in the dtype of x_T", "sampling.py", "x_T.double(), ", "x_T, ", (LOOP, "dtype")),
    Mutant("noise is drawn for deterministic samplers", "sampling.py",
           "if sampler.stochastic and noise is not None else None", "if noise is not None else None",
           (LOOP, "test_noise_is_asked and ddim")),
    Mutant("every step gets the first draw", "sampling.py", "noise(i, x.shape)", "noise(0, x.shape)", (LOOP, "test_noise")),
    Mutant("a NaN among the times passes", "sampling.py",
           "bool((times.diff() <= 0).all())", "not bool((times.diff() > 0).any())", (LOOP, "test_times_that_are_no_way")),
    Mutant("only the ends of the times are looked at", "sampling.py",
           "bool((times.diff() <= 0).all())", "times[0] >= times[-1]", (LOOP, "test_times_that_are_no_way")),
    Mutant("repeated times count as more than the schedule has", "sampling.py",
           "len(times.unique())", "len(times)", (LOOP, "test_more_distinct_times")),
    Mutant("times may repeat anywhere", "sampling.py",
           ".isinf().any()", ".isnan().any()", (LOOP, "test_times_that_repeat")),
    Mutant("x0 is clipped too late to matter", "denoiser.py", "return x0.clamp(-1, 1)", "return x0",
           (THEORY, "test_x0_is_clipped_before")),
    Mutant("the clipped x0 keeps its eps whatever was asked", "denoiser.py",
           "if self.rederive else", "if False else", (PEERS, "test_ddim_clipped")),
    Mutant("the two halves of the output change places", "denoiser.py",
           "output, about_variance = output.chunk", "about_variance, output = output.chunk",
           (PEERS, "test_ancestral_with_learned_variance and range-eps-5")),
    Mutant("thresholding shrinks images within [-1, 1] too", "denoiser.py",
           ".clamp(min=1)", "", (WRAPPERS, "test_dynamic_thresholding")),
    Mutant("the learned range runs from the large variance to the small", "forward.py",
           "(v + 1) / 2", "(1 - v) / 2", (PEERS, "test_ancestral_with_learned_variance and range-eps-5")),
    Mutant("the learned log-variance is taken for that of a standard deviation", "forward.py",
           "prediction.log_var.exp()", "(2 * prediction.log_var).exp()",
           (PEERS, "test_ancestral_with_learned_variance and learned-eps-5")),
    Mutant("v weighs eps with sigma", "parameterization.py",
           "(sigma * x_t + alpha * output) / norm", "(alpha * x_t + sigma * output) / norm", (PEERS, "test_ddim and 0.0-v-5")),
    Mutant("guidance weight 0 is off", "guidance.py", "(self.weight != 1)", "(self.weight != 0)",
           (WRAPPERS, "test_guidance_is_uncond")),
    Mutant("all channels are guided", "guidance.py",
           "weights[:, :count]", "weights[:, :]", (WRAPPERS, "test_only_the_first_channels")),
    Mutant("the guidance interval has no lower end", "guidance.py",
           "(t >= low) & ", "", (WRAPPERS, "test_outside_its_interval")),
    Mutant("a guided evaluation counts once", "guidance.py",
           "(2 if bool(self._on(t).any()) else 1)", "1", (WRAPPERS, "test_an_evaluation_counts")),
    Mutant("the Karras ramp is straight", "spacings/off_grid.py",
           "(top + ramp * (bottom - top)) ** self.rho", "highest + ramp * (lowest - highest)", (SPACED, "test_karras_on_ve")),
    Mutant("trailing begins one index late", "spacings/strided.py",
           ".flip(0) - 1", ".flip(0) - 2", (SPACED, "test_timesteps_are_those_of_diffusers and trailing")),
    Mutant("the bound trains the mean as well", "objectives/bound.py",
           "predicted.x0.detach()", "predicted.x0", (OBJECTIVE, "test_the_bound_trains_the_variance")),
    Mutant("the bound's term is not summed over T", "objectives/bound.py",
           "self.weight * denoiser.schedule.T", "self.weight", (OBJECTIVE, "test_hybrid_is_equation_16")),
    Mutant("what hybrid trains is read as a log-variance", "objectives/bound.py",
           'variance_reading = "learned-range"', 'variance_reading = "learned"', (OBJECTIVE, "test_a_recipe_reads")),
    Mutant("times are uniform", "objectives/simple.py",
           "torch.sigmoid(self.mean + self.std * torch.randn(n, device=device, dtype=torch.float64))",
           "torch.rand(n, device=device, dtype=torch.float64)", (OBJECTIVE, "test_times_are_logit_normal")),
]  # fmt: skip


def fails(copy: Path, file: str, expression: str) -> bool:
    """Whether one of the tests fails in the copy; a selection without tests is an error of this file."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/diffusion/{file}"]
    done = subprocess.run([*command, "-k", expression], cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{file} -k {expression!r} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def caught(copy: Path, mutant: Mutant) -> bool:
    path = copy / "replication" / "diffusion" / mutant.file
    source = path.read_text()
    if source.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: {mutant.old!r} occurs {source.count(mutant.old)} times, not once")
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        return fails(copy, *mutant.tests)
    finally:
        path.write_text(source)


def main() -> int:
    word = " ".join(sys.argv[1:])
    chosen = [m for m in MUTANTS if word in m.file or word in m.why]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("replication", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for file in sorted({m.tests[0] for m in chosen}):
            named = " or ".join(f"({m.tests[1]})" for m in chosen if m.tests[0] == file)
            if fails(copy, file, named):
                raise SystemExit(f"{file}: a named test fails on the unchanged source")
        for mutant in chosen:
            killed = caught(copy, mutant)
            survivors += not killed
            print(f"{'caught  ' if killed else 'SURVIVED'} {mutant.file}: {mutant.why}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
