"""Runs over all images and restarts: an image is broken as soon as one restart has broken it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from advgrad.attacks.apgd import auto_pgd, checkpoints
from advgrad.attacks.gradients import Prepare
from advgrad.attacks.loop import iterates
from advgrad.attacks.losses import is_right
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import sample_noise
from advgrad.attacks.target import Target
from advgrad.config import AttackSpec, Peer

UNDECIDED = 2  # in the row of an unfinished restart: an image not attacked yet
SLOW = {"bba": 4, "square": 100, "deepfool": 100}  # images between two saves: a batch would take minutes


def _judging_logits(target: Target, x_adv: Tensor, passes: Passes) -> Tensor:
    """(k,d) logits that decide."""
    passes.add(forward=len(x_adv))
    with torch.no_grad():
        return (target.judge or target.model)(x_adv)


def _rows(
    target: Target, x: Tensor, y: Tensor, spec: AttackSpec, prepare: Prepare, noise: Tensor | None, passes: Passes
) -> tuple[Tensor, Tensor | None]:
    """`outcomes_of` one batch, on its device. Of Auto-PGD every iterate counts, with a judge the best one only."""
    if spec.method == "apgd":
        ascent = auto_pgd(target.model, x, y, spec, space=target.space, prepare=prepare, noise=noise, passes=passes)
        if target.judge is None:
            return ascent.correct[None], ascent.halvings
        return is_right(_judging_logits(target, ascent.best, passes), y)[None], ascent.halvings
    rows: list[Tensor] = []
    run = iterates(target.model, x, y, spec, space=target.space, prepare=prepare, noise=noise, passes=passes)
    for iterate in run:
        logits = iterate.logits if target.judge is None else None  # the attacked network's, not the judge's
        rows.append(is_right(_judging_logits(target, iterate.x_adv, passes) if logits is None else logits, y))
    return torch.stack(rows), None


def outcomes_of(
    target: Target, chosen: Tensor, spec: AttackSpec, prepare: Prepare, restart: int, passes: Passes,
    advance: Callable[[int], None],
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """One run of the images `chosen` (k,): (marks, k) bool, correct at each mark of `spec`; of Auto-PGD also its
    halvings (k, H) int16. On the CPU.
    """
    columns, halvings = list[Tensor](), list[Tensor]()
    for part in chosen.split(target.batch):
        on_device = part.to(target.images.device, non_blocking=True)
        x, y = target.inputs(on_device), target.labels[on_device]
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noise = None if spec.start == "none" else sample_noise(target.seed, target.index[part.numpy()], restart, shape)
        rows, when = _rows(target, x, y, spec, prepare, noise, passes)
        columns.append(rows)
        if when is not None:
            halvings.append(when)
        advance(len(part))
    return torch.cat(columns, dim=1).cpu(), torch.cat(halvings).cpu() if halvings else None


def standing(
    target: Target, spec: AttackSpec, prepare: Prepare, restarts: int, passes: Passes, advance: Callable[[int], None],
    known: Sequence[np.ndarray] = (),
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:  # fmt: skip
    """For each restart after the `known` ones (marks, n) uint8: 1 if none up to it broke the image at this mark.

    An image runs only to the last mark at which it is still correct, and not at all once there is none. With Auto-PGD's
    restart 0, in which all images run, come their halvings (n, H) int16, with all others None.
    """
    n, marks = len(target.index), len(spec.steps)
    alive = torch.from_numpy(known[-1]).bool() if known else torch.ones(marks, n, dtype=torch.bool)
    if known:
        advance(len(known) * n)
    for restart in range(len(known), restarts):
        reach = (alive * torch.arange(1, marks + 1)[:, None]).amax(0)  # how many marks the image still needs
        advance(int((reach == 0).sum()))
        recorded = restart == 0 and spec.method == "apgd"
        halvings = np.zeros((0, len(checkpoints(spec.steps[-1]))), np.int16) if recorded else None
        for length in range(marks, 0, -1):
            (chosen,) = torch.nonzero(reach == length, as_tuple=True)
            if len(chosen):
                short = spec.model_copy(update={"steps": spec.steps[:length]})
                rows, when = outcomes_of(target, chosen, short, prepare, restart, passes, advance)
                alive[:length, chosen] &= rows
                if recorded and when is not None:
                    halvings = when.numpy()
        yield alive.to(torch.uint8).numpy(), halvings


def standing_peer(
    target: Target, clean: np.ndarray, peer: Peer, passes: Passes, advance: Callable[[int], None],
    failed: list[int], known: Sequence[np.ndarray] = (), begun: np.ndarray | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """As `standing`, for a library's attack on the first k images, but whenever a part is done: (1, k) uint8.

    target: in pixel space. clean (k,) uint8: only images classified correctly are attacked. UNDECIDED marks those that
    the restart has not reached yet; begun: its row so far. failed: collects the images at which the library gave up.
    """
    last = known[-1] if known else clean[None]
    size = min(target.batch, SLOW.get(peer.attack, target.batch))
    advance(len(known) * len(clean))
    for restart in range(len(known), peer.restarts):
        row, begun = (last * np.uint8(UNDECIDED) if begun is None else begun), None
        advance(int((row != UNDECIDED).sum()))
        while (chosen := np.nonzero(row[0] == UNDECIDED)[0][:size]).size:
            from advgrad.attacks import peers  # brings in the libraries, which nothing else needs

            part = torch.from_numpy(chosen).to(target.images.device)
            correct = peers.correct_after(
                target.model, target.inputs(part), target.labels[part], peer, seed=target.seed,
                index=target.index[chosen], restart=restart, batch=target.batch, progress=advance, passes=passes,
                failed=failed,
            )  # fmt: skip
            row = row.copy()
            row[0, chosen] = correct.numpy()
            if (row == UNDECIDED).any():
                yield row
        yield row
        last = row
