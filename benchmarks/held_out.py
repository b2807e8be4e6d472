"""PGD and PGD++ on training images that no training saw: python benchmarks/held_out.py MODEL ... --images N

For the MNIST companions at scale quick, which train on the first 20,000 images: another sample than the test images by
which their recipes could have been chosen. Attacks the last images of the training set as the model's evaluation does
its test images, in L-infinity.
"""

import argparse
import sys
from pathlib import Path

from advgrad import config, determinism


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", type=int, default=500)
    told = parser.parse_args()
    settings = config.load_settings()
    determinism.prepare(settings.determinism)

    from advgrad.attacks.evaluate import evaluate
    from advgrad.data.batches import to_device
    from advgrad.data.pack import read_split
    from advgrad.models import registry, weights

    device = determinism.configure(settings)
    for name in told.models:
        run = config.load_run(name, settings)
        model = registry.build(run.network, run.dataset)
        weights.load_weights(Path("models", name, "weights.safetensors"), model)
        images, labels = to_device(*read_split(Path("data", f"{run.dataset}.safetensors"), "train"), device)
        linf = {"images": told.images, "attacks": {"pgd_linf": run.evaluation.attacks["pgd_linf"]}}
        found = evaluate(
            model, images[-told.images :], labels[-told.images :], run.evaluation.model_copy(update=linf), run.network,
            seed=run.seed, device=device,
        )  # fmt: skip
        rates = {"clean": found.clean.mean()} | {key: rows[-1, -1].mean() for key, rows in found.correct.items()}
        sys.stdout.write(f"{name}  {'  '.join(f'{key} {100 * rate:.1f} %' for key, rate in rates.items())}\n")


if __name__ == "__main__":
    main()
