"""The tables that cells are shown in."""

from replication.harness.table import NOT_RUN, Column, TableSpec

NAMED = (
    Column("sampler", "label"),
    Column("spacing", "sampling.spacing"),
    Column("steps", "sampling.steps"),
    Column("NFE", "sampling.nfe"),
)
_MAIN = (
    Column("{fd}", "metric.fd", "{:.3g}", spread="interval", absent=NOT_RUN),
    Column("{fd_infinity}", "metric.fd_infinity", "{:.3g}", spread="interval"),
    Column("{kid} x 1000", "metric.kid", "{:.2f}", 1000, spread="interval"),
    Column("{is}", "metric.is", "{:.2f}", spread="interval"),
    Column("class accuracy", "metric.class_accuracy", "{:.3f}", spread="interval"),
    Column("NLL, bits/dim", "metric.nll", "{:.3f}", spread="error"),
    Column("ms/image", "timing.seconds_per_image", "{:.3g}", 1000),
    Column("images/s", "timing.images_per_second", "{:.3g}"),
    Column("floor, ms/image", "timing.floor_seconds", "{:.3g}", 1000),
    Column("decoded, ms/image", "timing.image_seconds", "{:.3g}", 1000, only_if="recipe.first_stage"),
)
_SHARES = ("precision", "recall", "density", "coverage", "memorisation", "memorisation_auc")
_VARIETY = (
    Column("{sfd}", "metric.sfd", "{:.3g}", spread="interval"),
    *(Column(f"{{{share}}}", f"metric.{share}", "{:.3f}", spread="interval") for share in _SHARES),
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
    TableSpec("Fidelity, variety and memory", NAMED + _VARIETY, needs="metric.precision"),
    TableSpec("Cost", NAMED + _COST, needs="cost.multiply_adds"),
    TableSpec("Seed blocks", NAMED + _BLOCKS, needs="metric.fd_std"),
)
