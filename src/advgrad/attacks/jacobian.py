"""The Jacobian of the logits with respect to the input, and its singular values."""

import torch
from torch import Tensor, nn

from advgrad.attacks.passes import Passes

CHUNK = 128  # images whose Jacobians exist at a time
WIDE = 8  # images whose Jacobians are widened to float64 at a time: for 100 classes 20 MB, not 315


def logits_jacobian(model: nn.Module, x: Tensor, passes: Passes | None = None) -> tuple[Tensor, Tensor]:
    """Logits (n,d) and Jacobian (n,d,D), D = C*H*W, at x (n,C,H,W): one forward and d backward passes.

    Needs a model that treats images independently (evaluation mode).
    """
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(point)
    classes = logits.shape[1]
    jacobian = x.new_empty(len(x), classes, *x.shape[1:])
    for k in range(classes):
        with torch.enable_grad():
            total = logits[:, k].sum()
        (jacobian[:, k],) = torch.autograd.grad(total, point, retain_graph=k + 1 < classes)
    if passes is not None:
        passes.add(forward=len(x), backward=len(x) * classes)
    return logits.detach(), jacobian.flatten(2)


def logits_gram(
    model: nn.Module, x: Tensor, *, chunk: int = CHUNK, passes: Passes | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (n,d) and G = J J^T (n,d,d) in float64; the Jacobians of at most `chunk` images exist at a time."""
    logits, grams = [], []
    for part in x.split(chunk):
        z, jacobian = logits_jacobian(model, part, passes)
        logits.append(z)
        for rows in jacobian.split(WIDE):
            wide = rows.double()
            grams.append(wide @ wide.mT)
    return torch.cat(logits), torch.cat(grams)


def singular_values(gram: Tensor) -> Tensor:
    """(n,d) singular values of J from G = J J^T (n,d,d), descending; on the CPU, where small matrices are quick.

    Zeros for an image whose Jacobian is not finite.
    """
    gram = gram.cpu().where(gram.isfinite().flatten(1).all(1).cpu()[:, None, None], 0.0)
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(-1)


def mean_singular_value(model: nn.Module, x: Tensor, *, chunk: int = CHUNK, passes: Passes | None = None) -> float:
    """Mean of all singular values of the logits' Jacobians over the images x; its inverse is NJS's beta_1."""
    return float(singular_values(logits_gram(model, x, chunk=chunk, passes=passes)[1]).mean())
