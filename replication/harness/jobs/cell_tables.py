"""The tables that cells are shown in."""

from replication.harness.table import Column, TableSpec, metrics_in
from replication.metrics.metric import VARIETY

NAMED = (
    Column("sampler", "label"),
    Column("spacing", "sampling.spacing"),
    Column("steps", "sampling.steps"),
    Column("NFE", "sampling.nfe"),
)
_MAIN = (
    *metrics_in(""),
    Column("ms/image", "timing.seconds_per_image", "{:.3g}", 1000),
    Column("images/s", "timing.images_per_second", "{:.3g}"),
    Column("floor, ms/image", "timing.floor_seconds", "{:.3g}", 1000),
    Column("decoded, ms/image", "timing.image_seconds", "{:.3g}", 1000, only_if="recipe.first_stage"),
)
# In what papers call Gflops: multiply-adds, of one forward pass, of the whole training and of one image.
_COST = (
    Column("{fd}", "metric.fd", "{:.3g}", spread="interval"),
    Column("parameters", "cost.parameters", "{:,.0f}"),
    Column("multiply-adds, M", "cost.multiply_adds", "{:,.2f}", 1e-6),
    Column("activations, MB", "cost.activation_bytes", "{:,.2f}", 1e-6),
    Column("training, T", "cost.training_multiply_adds", "{:,.3f}", 1e-12),
    Column("image, G", "cost.image_multiply_adds", "{:,.2f}", 1e-9),
)
# The mean of the blocks of n images, how far they lie apart, and the smallest, which papers print.
_BLOCKS = (
    Column("blocks", "protocol.seeds", lambda seeds: str(len(seeds.split()))),
    Column("{fd}, mean", "metric.fd", "{:.3g}"),
    Column("standard deviation", "metric.fd_std", "{:.2g}"),
    Column("smallest", "metric.fd_min", "{:.3g}"),
    Column("largest", "metric.fd_max", "{:.3g}"),
)
CELL_TABLES = (
    TableSpec("", NAMED + _MAIN),
    TableSpec(VARIETY, NAMED + metrics_in(VARIETY), needs="metric.precision"),
    TableSpec("Cost", NAMED + _COST, needs="cost.multiply_adds"),
    TableSpec("Seed blocks", NAMED + _BLOCKS, needs="metric.fd_std"),
)
