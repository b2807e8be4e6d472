"""What the attacks did to a few images, as a picture."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from advgrad.showcase.attacks import Attacked

ROWS, CELL = 8, 1.35  # images at most; inches
RIGHT, WRONG = "#1a6b3c", "#a62b1f"


def picture(found: Sequence["Attacked"], classes: Sequence[str], names: Mapping[str, str]) -> bytes:
    """PNG: a row for each image, a column for it and for what each attack made of it, and what each attack added,
    brought to the full range. Below each the network's guess. Same images, same bytes.

    found: the clean images first; classes: names of the labels; names: of the gradients.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, attacks = telling(found), found[1:]
    columns = 1 + 2 * len(attacks)
    figure = Figure(figsize=(CELL * columns, 1.2 * CELL * len(rows) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    reach = [float(np.abs(one.images - found[0].images).max()) or 1.0 for one in attacks]
    for line, number in zip(axes, rows, strict=True):
        for axis, one in zip(line, found, strict=False):
            _draw(axis, one.images[number])
            guess = int(one.guesses[number])
            axis.set_xlabel(classes[guess], color=RIGHT if one.correct[number] else WRONG, fontsize=8)
        for axis, one, most in zip(line[len(found) :], attacks, reach, strict=True):
            _draw(axis, 0.5 + (one.images[number] - found[0].images[number]) / (2 * most))
    titles = ["no attack", *(names.get(one.gradient or "", str(one.gradient)) for one in attacks)]
    for axis, title in zip(axes[0], [*titles, *(f"{title}, change" for title in titles[1:])], strict=True):
        axis.set_title(title, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()


def telling(found: Sequence["Attacked"]) -> list[int]:
    """Numbers of the images to show: first those that were right, where the attacks differ most."""
    right = np.stack([one.correct for one in found]).astype(int)
    kept, differs = right[0], right[1:].max(0, initial=0) - right[1:].min(0, initial=1)
    order = sorted(range(right.shape[1]), key=lambda at: (-kept[at], -differs[at], at))
    return order[:ROWS]


def _draw(axis: Any, image: np.ndarray) -> None:
    """image: (C,H,W) in [0,1]."""
    shown = np.moveaxis(np.clip(image, 0, 1), 0, -1)
    axis.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
