"""What is stated beside weights, against a recipe: diffusers' config.json and scheduler_config.json, or LDM's config.yaml.

Options that change what a network computes and the shape of no tensor (layers/weights.py has them), the noise schedule and
what the output means: tensors tell none of them, and weights under another option give wrong images without an error.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from replication.diffusion.objective import Objective
from replication.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from replication.diffusion.schedules.continuous import Flow
from replication.layers.weights import Options
from replication.registry import SCHEDULES
from replication.training.official_config import official_config
from replication.types import InputError

CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
OUTPUTS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}  # their words and ours
SCHEDULE_NAMES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid_beta",
}
DEFAULTS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
ENDS, EXACT = 12, 1e-8  # of what is written: decimal places of the betas' ends, and how near a named schedule has to be
PRECONDITIONED = ("EDM", "CM", "KarrasVe", "ScoreSdeVe")  # beginnings of classes whose networks see x_t scaled
OF_SCHEDULE = (*DEFAULTS, "trained_betas", "rescale_betas_zero_snr")
OF_SHAPE = {  # options that tensors show
    "in_channels", "out_channels", "block_out_channels", "layers_per_block", "down_block_types", "mid_block_type",
    "up_block_types", "downsample_type", "upsample_type", "add_attention", "num_class_embeds", "cross_attention_dim",
    "transformer_layers_per_block", "use_linear_projection", "encoder_hid_dim", "addition_time_embed_dim",
    "time_embedding_dim", "conv_in_kernel", "conv_out_kernel", "reverse_transformer_layers_per_block",
    "projection_class_embeddings_input_dim", "addition_embed_type_num_heads", "latent_channels", "num_vq_embeddings",
    "vq_embed_dim", "use_quant_conv", "use_post_quant_conv", "mid_block_add_attention", "attention_head_dim", "num_layers",
    "patch_size", "num_embeds_ada_norm", "attention_bias",
}  # fmt: skip
OF_NOTHING = {  # options that change no function, or that are read otherwise, or that come with an average
    "norm_num_groups", "norm_eps", "num_train_timesteps", "sample_size", "dropout", "force_upcast", "upcast_attention",
    "scaling_factor", "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step",
    "use_ema_warmup",
}  # fmt: skip


class Meaning(NamedTuple):
    """What a recipe says of its network's output."""

    parameterization: str
    schedule: NoiseSchedule
    named: str  # the schedule, in words
    objective: Objective


def check_options(folder: Path, options: Options, meaning: Meaning | None) -> list[str]:
    """Compare the configurations beside weights with the network's options and, of a network, what its output means.

    Returns what is to be said of those that could not be compared. Raises InputError that names every option which is not
    the recipe's.
    """
    config, remarks = read_config(folder / CONFIG), []
    scheduler = None if meaning is None else scheduler_beside(folder)
    of, by = CONFIG, SCHEDULER
    if meaning is not None and config is None and scheduler is None and (official := official_config(folder)):
        config, scheduler, of, by = official.network, official.scheduler, official.file.name, official.file.name
    of_network = [f"{of}: {one}" for one in _differing(config, options)] if config else []
    of_training = [f"{by}: {one}" for one in differing_training(scheduler, meaning)] if scheduler and meaning else []
    if found := of_network + of_training:
        ways = ["give weights of the recipe's options"]
        ways += ["state these in the recipe"] if of_training else []
        if meaning and of_network:
            ways.append(f'take the network as it is: network = {{ name = "diffusers", path = "{folder}" }}')
        listed, on = "; ".join(found), ", or ".join(ways)
        raise InputError(f"{folder}: these weights compute something else than the recipe: {listed}. The ways on: {on}")
    if config:
        known = {name for of_class in options.values() for name in of_class} | OF_SHAPE | OF_NOTHING
        if new := [name for name, value in config.items() if not (name in known or name.startswith("_") or not value)]:
            remarks.append(f"{folder / CONFIG}: not known here, and not compared: {', '.join(sorted(new))}")
    lacking = [] if config and options else [CONFIG]
    lacking += [SCHEDULER] if scheduler is None and meaning is not None else []
    if lacking:
        remarks.append(
            f"no {' and no '.join(lacking)} beside the weights speaks of them: what only that could say was not checked, such "
            "as options that change no tensor's shape, and the recipe's word stands"
        )
    return remarks


def check_stated(file: Path, stated: Mapping[str, object]) -> None:
    """Raises InputError where a configuration says another value of one of these options; one that it lacks is as here."""
    config = read_config(file, "model_type") or {}
    if found := [
        f"{key} = {_json(config[key])}, the recipe has {_json(ours)}"
        for key, ours in stated.items()
        if not _same(config.get(key, ours), ours)
    ]:
        raise InputError(f"{file}: these weights compute something else than the recipe: {'; '.join(found)}")


def check_training(folder: Path, meaning: Meaning) -> None:
    """Raises InputError where the network of a folder was trained otherwise than the recipe says, as far as it is stated."""
    if (scheduler := scheduler_beside(folder)) and (found := differing_training(scheduler, meaning)):
        raise InputError(
            f"{folder}: the network was trained otherwise than the recipe says: {SCHEDULER}: {'; '.join(found)}"
        )


def read_config(file: Path, mark: str = "_class_name") -> dict[str, Any] | None:
    """A configuration that has the mark, by default of diffusers; None where there is none. Raises InputError for no JSON."""
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable as JSON ({error})") from error
    return config if isinstance(config, dict) and mark in config else None


def scheduler_beside(folder: Path) -> dict[str, Any] | None:
    """Of the network in that folder, in it or in its pipeline's folder for that: below it where one file holds all parts."""
    places = (folder, folder / "scheduler", folder.absolute().parent / "scheduler")
    return next((found for place in places if (found := read_config(place / SCHEDULER))), None)


def differing_training(scheduler: Mapping[str, Any], meaning: Meaning) -> list[str]:
    """Each option of a scheduler that is not how the network was trained; what only a sampler reads is no matter."""
    found, kind = [], _json(scheduler["_class_name"])
    flow = str(scheduler["_class_name"]).startswith("FlowMatch")
    if str(scheduler["_class_name"]).startswith(PRECONDITIONED):
        return [f"_class_name = {kind}, whose network sees its input scaled, and the recipe's sees x_t as it is"]
    output = scheduler.get("prediction_type", "epsilon")
    if ("velocity" if flow else OUTPUTS.get(str(output))) != meaning.parameterization:
        said = f"_class_name = {kind}" if flow else f"prediction_type = {_json(output)}"
        found.append(f"{said}, the recipe's parameterization is {meaning.parameterization!r}")
    if not (isinstance(meaning.schedule, Flow) if flow else _is_of(scheduler, meaning.schedule)):
        stated = [] if flow else [name for name in OF_SCHEDULE if scheduler.get(name) not in (None, False)]
        listed = ", ".join(f"{name} = {_json(scheduler[name])}" for name in stated) or f"_class_name = {kind}"
        found.append(f"{listed}, the recipe's schedule is {meaning.named}")
    variance, reading = str(scheduler.get("variance_type")), meaning.objective.variance_reading
    learned = meaning.objective.learns_variance and variance.startswith("learned")
    if learned and variance.replace("_", "-") != reading:
        found.append(f"variance_type = {_json(variance)}, the recipe's objective trains {reading!r}")
    return found


def scheduler_of(meaning: Meaning, variance: str, clips: bool) -> tuple[str, dict[str, Any]]:
    """The class and the configuration of a scheduler that says the same of a network, in the words that are read above.

    variance: of an ancestral sampler, where the network has none of its own; clips: whether x0 is held in [-1, 1]. Raises
    InputError for what no scheduler says.
    """
    schedule, parameterization = meaning.schedule, meaning.parameterization
    if isinstance(schedule, Flow) and parameterization == "velocity":
        return "FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": schedule.T}
    words, own = {ours: theirs for theirs, ours in OUTPUTS.items()}, meaning.objective.variance_reading
    betas = _betas_of(schedule) if isinstance(schedule, DiscreteSchedule) else None
    if parameterization not in words or betas is None:
        said = f"parameterization {parameterization!r} on schedule {meaning.named}"
        raise InputError(
            f"no scheduler of diffusers says {said} (said are {', '.join(words)} on a schedule of betas below 1)"
        )
    return "DDPMScheduler", {
        **betas,
        "prediction_type": words[parameterization],
        "variance_type": (own if meaning.objective.learns_variance else variance).replace("-", "_"),
        "clip_sample": clips,
    }


def _betas_of(schedule: DiscreteSchedule) -> dict[str, Any] | None:
    """By a name where one means these very betas, else one by one; None where reading would not give them back."""
    steps = {"num_train_timesteps": schedule.T}
    ends = {"beta_start": round(float(schedule.betas[0]), ENDS), "beta_end": round(float(schedule.betas[-1]), ENDS)}
    named: list[dict[str, Any]]
    named = [{"beta_schedule": name, **({} if ours == "cosine" else ends)} for name, ours in SCHEDULE_NAMES.items()]
    said = ({**steps, **one} for one in [*named, {"trained_betas": schedule.betas.tolist()}])
    return next((one for one in said if _is_of(one, schedule, EXACT)), None)


def _differing(config: Mapping[str, Any], options: Options) -> list[str]:
    name = str(config["_class_name"])
    if options and name not in options:
        return [f"_class_name = {_json(name)}, the recipe's network is {' or '.join(options)}"]
    found = []
    for key, option in options.get(name, {}).items():
        value = _plain(config.get(key, option.default))
        if not any(_same(value, _plain(ours)) for ours in option.ours):
            wanted = _json(option.ours[0]) if option.ours else "nothing that this class can say"
            found.append(f"{key} = {_json(value)}{'' if key in config else ' (its default)'}, the recipe has {wanted}")
    return found


def _plain(value: object) -> object:
    """A list of equal values is as good as the value."""
    alike = isinstance(value, list | tuple) and value and all(one == value[0] for one in value)
    return value[0] if isinstance(value, list | tuple) and alike else value


def _same(a: object, b: object) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b


def _is_of(scheduler: Mapping[str, Any], ours: NoiseSchedule, precision: float = 1e-3) -> bool:
    """Whether a schedule of betas is ours, by default to the precision of their float32."""
    try:
        theirs = _schedule(scheduler)
    except (InputError, TypeError, ValueError, RuntimeError, OverflowError):
        return False
    if theirs is None or not isinstance(ours, DiscreteSchedule) or theirs.T != ours.T:
        return False
    return torch.allclose(theirs.alphas_cumprod, ours.alphas_cumprod, rtol=precision, atol=1e-3 * precision)


def _schedule(scheduler: Mapping[str, Any]) -> DiscreteSchedule | None:
    """As its betas say; None where they are none that is known here."""
    stated = {name: scheduler.get(name, default) for name, default in DEFAULTS.items()}
    if (trained := scheduler.get("trained_betas")) is not None:
        return DiscreteSchedule(torch.tensor(trained, dtype=torch.float64))
    name, steps = SCHEDULE_NAMES.get(str(stated["beta_schedule"])), stated["num_train_timesteps"]
    if name is None or not isinstance(steps, int):
        return None
    ends = {} if name == "cosine" else {end: float(stated[end]) for end in ("beta_start", "beta_end")}
    if scheduler.get("rescale_betas_zero_snr"):
        built: DiscreteSchedule = SCHEDULES.build("zero_terminal_snr", T=steps, base={"name": name, **ends})
    else:
        built = SCHEDULES.build(name, T=steps, **ends)
    return built


def _json(value: object) -> str:
    return json.dumps(value, default=str)
