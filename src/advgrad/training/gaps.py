"""Whether float32 can still resolve the gradient of a network's loss, and what its batch normalisation hides.

The softmax of logits whose largest is 17 above the others rounds the winner's share to 1 in float32; from a gap of
about 100 on every other share underflows. An attack that follows cross-entropy then has no gradient to follow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advgrad.attacks.losses import cross_entropy
from advgrad.attacks.target import pixels
from advgrad.data.batches import as_float

BATCH = 250  # images at once
ROUNDED, UNDERFLOWN = 17.0, 100.0  # gaps from which 1 - p is rounded to 0, and from which every other p is 0


def measure(model: nn.Module, images: Tensor, labels: Tensor, *, divisor: int) -> dict[str, float]:
    """gap_median, gap_over_17, gap_over_100, zero_gradient of images (n,C,H,W) uint8; the model is frozen.

    The gap is between the largest logit and the second. zero_gradient: share of input-gradient entries that are exactly
    0, of cross-entropy summed over images and divided by `divisor`, as the attacks have it.
    """
    gaps, zeros = [], []
    for part, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        x = pixels(part).requires_grad_()
        with torch.enable_grad():
            logits = model(x).float()
            (gradient,) = torch.autograd.grad(cross_entropy(logits, y, divisor), x)
        top = logits.detach().topk(2, dim=1).values
        gaps.append(top[:, 0] - top[:, 1])
        zeros.append((gradient == 0).flatten(1).double().mean(dim=1))
    gap = torch.cat(gaps)
    return {
        "gap_median": float(gap.median()),
        "gap_over_17": float((gap > ROUNDED).double().mean()),
        "gap_over_100": float((gap > UNDERFLOWN).double().mean()),
        "zero_gradient": float(torch.cat(zeros).mean()),
    }


@contextmanager
def recalibrated(model: nn.Module, batches: Sequence[Tensor]) -> Iterator[None]:
    """Inside, batch normalisation has the mean statistics of these batches (n,C,H,W) uint8 under the present weights.

    After an epoch of binary training its running ones still are of the weights' real values. They are put back.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    momenta, mode = [norm.momentum for norm in norms], model.training
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        model.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for batch in batches:
                model(as_float(batch))
        model.train(mode)
        yield
    finally:
        model.train(mode)
        for norm, buffers, momentum in zip(norms, kept, momenta, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
