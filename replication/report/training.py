"""How trainings went: their curves as the journal has them, one line each."""

from collections.abc import Sequence

from replication.harness.journal import Curve
from replication.report.plots import COLOURS, DASHES, new_figure, png, style

TRAINING = ("training", "Training", "loss, gradient norm, learning rate and speed of each training against its steps")
PANELS = {
    "loss": "loss of a batch",
    "gradient_norm": "gradient norm, not clipped",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
LOGARITHMIC = ("loss", "gradient_norm")


def training_plot(curves: Sequence[Curve], title: str) -> bytes:
    """PNG bytes of a panel each for what was watched."""
    with style():
        figure = new_figure(10, max(5.0, 0.6 + 0.2 * len(curves)))
        for axes, (column, label) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS.items(), strict=True):
            for i, curve in enumerate(curves):
                colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
                axes.plot(curve["step"], curve[column], dash, color=colour, linewidth=0.9, label=curve["title"])
            if column in LOGARITHMIC:
                axes.set_yscale("log")
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.5)
        for axes in figure.axes[2:]:
            axes.set_xlabel("training steps")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
        figure.suptitle(f"{title}: training")
        return png(figure)
