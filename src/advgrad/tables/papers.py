"""The papers, as tables and reports call them."""

from dataclasses import dataclass
from typing import Literal

Paper = Literal["linbp", "attack-bnn", "gaat"]


@dataclass(frozen=True, kw_only=True)
class Published:
    name: str
    title: str
    arxiv: str


PAPERS: dict[Paper, Published] = {  # in the order in which they are shown
    "linbp": Published(
        name="LinBP",
        title="A Theoretical View of Linear Backpropagation and Its Convergence",
        arxiv="2112.11018",
    ),
    "attack-bnn": Published(
        name="attack-bnn",
        title="Improved Gradient based Adversarial Attacks for Quantized Networks",
        arxiv="2003.13511",
    ),
    "gaat": Published(
        name="GAAT",
        title="Reducing Adversarial Training Cost with Gradient Approximation",
        arxiv="2309.09464",
    ),
}
ORDER: tuple[Paper, ...] = tuple(PAPERS)


def place(paper: Paper, number: int | str) -> tuple[int, bool, int, str]:
    """Where a table or figure stands among all: by paper, its own by number, then ours by name."""
    own = isinstance(number, int)
    return ORDER.index(paper), not own, number if own else 0, "" if own else number
