"""One file for a submission: the last commit, which has all results but weights. The same commit, the same bytes.

A commit has results of one scale or of several, each in reports/SCALE with the dvc.lock that made it.
"""

import gzip
import hashlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import advgrad
from advgrad.config import parse_yaml
from advgrad.errors import InputError
from advgrad.files import readable, write_bytes

# An archive holds every file of the commit, and ADDED; of what the locks name all that is not LEFT_OUT.
LOCK, SETTINGS, CITATION = "dvc.lock", "params.yaml", "CITATION.cff"
LEFT_OUT = re.compile(r"(data|models)/.+")
RENDERED = re.compile(
    r"reports/(?!specs/|benchmarks/)[^/]+/((tables|figures|claims|findings)/.+|[^/]+\.(csv|html|json|md|parquet|tex))"
)
RENDERERS = ["tables", "figures", "claims", "report"]  # stages, in the order in which they run
ADDED = CRATE, MANIFEST = "ro-crate-metadata.json", "manifest-sha256.txt"
STAGES = Path(advgrad.__file__).parents[2] / "stages"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LIMIT = 2**31  # bytes of an unpacked archive
Lock = Mapping[str, Mapping[str, Any]]  # stage -> its entry in dvc.lock


@dataclass(kw_only=True)
class Contents:
    commit: str  # all 40 digits
    time: int  # of the commit, seconds since 1970
    files: dict[str, bytes]  # by path
    executable: set[str]

    def yaml(self, path: str) -> Any:
        if path not in self.files:
            raise InputError(f"{path}: not there, and an archive needs it")
        return parse_yaml(self.files[path].decode(errors="replace"), path)

    @property
    def locks(self) -> dict[str, Lock]:
        """Scale -> the stages in its lock. InputError: dvc.lock is none of them."""
        named = {
            path.split("/")[1]: path for path in sorted(self.files) if re.fullmatch(r"reports/[^/]+/dvc.lock", path)
        }
        scale = str(self.yaml(SETTINGS)["scale"])
        if scale not in named or self.files[named[scale]] != self.files.get(LOCK):
            raise InputError(f"reports/{scale}/{LOCK}: not there, or another one than {LOCK}; `make repro` writes it")
        return {name: self.yaml(path)["stages"] for name, path in named.items()}

    def md5(self, path: str) -> str:
        """Of a file or, as DVC has it, of a folder; "" if there is neither."""
        if path in self.files:
            return hashlib.md5(self.files[path], usedforsecurity=False).hexdigest()
        below = [name.removeprefix(f"{path}/") for name in sorted(self.files) if name.startswith(f"{path}/")]
        entries = json.dumps([{"md5": self.md5(f"{path}/{name}"), "relpath": name} for name in below])
        return f"{hashlib.md5(entries.encode(), usedforsecurity=False).hexdigest()}.dir" if below else ""

    @property
    def folder(self) -> str:
        return f"advgrad-{self.yaml(SETTINGS)['scale']}-{self.commit[:12]}"


def create(root: Path, out: Path | None, say: Callable[[str], None]) -> Path:
    """Write the archive of the last commit. InputError: uncommitted changes, or `verify` would find a flaw."""
    contents = committed(root)
    contents.files[CRATE] = metadata(contents)
    contents.files[MANIFEST] = manifest(contents.files)
    tar, packed = tarred(contents), io.BytesIO()
    if flaws := check(tar, render=True):
        raise InputError(f"{flaws[0]}; make it again, then commit")
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(tar)
    target = out or root / "dist" / f"{contents.folder}.tar.gz"
    write_bytes(target, packed.getvalue())
    say(f"{target}: {len(contents.files)} files, {packed.tell():,} bytes")
    return target


def committed(root: Path) -> Contents:
    """The last commit's files. InputError: there is no commit, or tracked files differ from it."""
    if changed := git(root, "diff", "--name-only", "--relative", "HEAD", "--", ".").decode().splitlines():
        raise InputError(f"{changed[0]}: differs from the last commit, which is what an archive holds; commit first")
    packed = git(root, "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [member for member in tar if not member.isdir()]
    if odd := [member.name for member in members if not member.isreg() or member.name in ADDED]:
        raise InputError(f"{odd[0]}: a link, or a name that `advgrad archive create` writes; remove it from the commit")
    return Contents(
        commit=tar.pax_headers["comment"],
        time=int(members[0].mtime),
        files={member.name: packed[member.offset_data :][: member.size] for member in members},
        executable={member.name for member in members if member.mode & 0o100},
    )


def git(root: Path, *words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise InputError(f"{root.resolve()}: not a Git repository with a commit")
    return done.stdout


def small_outputs(lock: Lock) -> Iterator[tuple[str, str, str]]:
    """(stage, path, md5) of the outputs that an archive holds."""
    for name, stage in lock.items():
        yield from ((name, out["path"], out["md5"]) for out in stage["outs"] if not LEFT_OUT.fullmatch(out["path"]))


def manifest(files: Mapping[str, bytes]) -> bytes:
    """As `sha256sum` writes it."""
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def tarred(contents: Contents) -> bytes:
    """Every byte follows from the contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in sorted(contents.files.items()):
            member = tarfile.TarInfo(f"{contents.folder}/{path}")
            member.size, member.mtime = len(content), contents.time
            member.mode = 0o755 if path in contents.executable else 0o644
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def verify(file: Path, say: Callable[[str], None], *, render: bool = True) -> int:
    """0: intact; 1: not, and each file at fault is named. InputError: no archive. render: make reports again, too."""
    with readable(file, "readable"):
        packed = file.read_bytes()
    try:
        tar = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(LIMIT + 1) if packed[:2] == b"\x1f\x8b" else b""
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        say(f"{file}: its gzip stream is damaged: {error}")
        return 1
    if MANIFEST.encode() not in tar or len(tar) > LIMIT:
        raise InputError(f"{file}: not an archive that `advgrad archive create` wrote")
    flaws = check(tar, render=render)
    made = "tables, figures and claims are what the outcomes give" if render else "nothing was made again"
    for line in flaws or [f"all files are intact; {made}"]:
        say(f"{file}: {line}")
    return int(bool(flaws))


def check(tar: bytes, *, render: bool) -> list[str]:
    """What is wrong with an archive, a line for each file: with its bytes or, if nothing is, with what they say."""
    try:
        contents, flaws = read(tar)
        if flaws:
            return flaws
        for scale, lock in contents.locks.items():
            for name, path, md5 in small_outputs(lock):
                if contents.md5(path) != md5:
                    flaws.append(f"{path}: not there, or not the one in the {LOCK} of {scale} ({name} makes it)")
        if flaws or not render:
            return flaws
        made: dict[str, bytes] = {}
        for scale, lock in contents.locks.items():
            made |= rendered(contents.files, scale, lock)
        made[CRATE] = metadata(contents)
        paths = made.keys() | {path for path in contents.files if RENDERED.fullmatch(path)}
        other = sorted(path for path in paths if contents.files.get(path) != made.get(path))
        return [f"{path}: not what the code and packages here make of the other files" for path in other]
    except Exception as error:  # whatever a forged file leads to
        return [str(error) if isinstance(error, InputError) else f"{LOCK} or another file is malformed: {error!r}"]


def read(tar: bytes) -> tuple[Contents, list[str]]:
    """The contents, and what is wrong with the tar or the manifest. Nothing is unpacked."""
    contents = Contents(commit="", time=0, files={}, executable=set())
    places, flaws = [(0, "its first bytes")], []
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", ignore_zeros=True) as opened:  # past bad headers
            for member in opened:
                path, parts = member.name.partition("/")[2], member.name.split("/")
                named = len(parts) > 1 and not {"", ".", ".."} & set(parts) and re.fullmatch("[ -~]+", member.name)
                if not named or member.type != tarfile.REGTYPE or member.issparse() or path in contents.files:
                    flaws.append(f"{member.name!r}: not a plain file below the archive's folder, or there twice")
                    continue
                contents.files[path] = tar[member.offset_data :][: member.size]
                contents.executable |= {path} if member.mode & 0o100 else set()
                contents.time = int(member.mtime)
                places.append((member.offset, path))
    except tarfile.TarError as error:
        flaws.append(f"its tar is damaged: {error}")
    if MANIFEST not in contents.files:
        return contents, [*flaws, f"{MANIFEST}: not there, or its tar header is damaged"]
    listed = set(re.findall(r"(?m)^(\S+)  ([ -~]+)$", contents.files.pop(MANIFEST).decode(errors="replace")))
    hashed = {(hashlib.sha256(content).hexdigest(), path) for path, content in contents.files.items()}
    flaws += [f"{path}: not there, or not as in {MANIFEST}" for path in sorted({path for _, path in listed ^ hashed})]
    contents.commit = b"".join(re.findall(rb'"version": "([0-9a-f]{40})"', contents.files.get(CRATE, b""))).decode()
    flaws += [] if contents.commit else [f"{CRATE}: says no commit"]
    contents.files[MANIFEST] = manifest(contents.files)
    if not flaws and (again := tarred(contents)) != tar:
        at = next((at for at, (new, old) in enumerate(zip(again, tar, strict=False)) if new != old), len(tar))
        flaws.append(f"{[path for start, path in places if start <= at][-1]}: it, or its tar header, is not as written")
    return contents, flaws


def rendered(files: Mapping[str, bytes], scale: str, lock: Lock) -> dict[str, bytes]:
    """What the scale's stages that write RENDERED files make of the others. InputError: one fails, in its words."""
    outs = {path: name for name, path, _ in small_outputs(lock) if RENDERED.fullmatch(path)}
    commands = [lock[name]["cmd"].removeprefix("stages/run ") for name in dict.fromkeys(outs.values())]
    for command in commands:
        if not re.fullmatch(rf"({'|'.join(RENDERERS)})( [\w.@-]+)?", command):
            raise InputError(f"{LOCK}: {command!r} is none of the stages {', '.join(RENDERERS)}")
    commands.sort(key=lambda command: RENDERERS.index(command.split()[0]))
    with tempfile.TemporaryDirectory(prefix="advgrad-") as folder:
        below = tuple(f"{path}/" for path in outs)
        for path, content in files.items():
            if path not in outs and not path.startswith(below):
                (target := Path(folder, path)).parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        settings = re.sub(rb"(?m)^scale: \S+", b"scale: " + scale.encode(), files[SETTINGS])
        write_bytes(Path(folder, SETTINGS), settings)
        words = [sys.executable, "-P", "-m", "advgrad.archive", str(STAGES), *commands]
        paths = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(words, cwd=folder, env=paths, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise InputError((done.stderr.splitlines() or ["a stage fails"])[-1].removeprefix("error: "))
        made = {path.relative_to(folder).as_posix(): path for path in Path(folder, "reports", scale).rglob("*.*")}
        return {name: path.read_bytes() for name, path in made.items() if name in outs or name.startswith(below)}


def metadata(contents: Contents) -> bytes:
    """RO-Crate 1.1 by the profile Process Run Crate: the files, and what each stage read and wrote of them."""
    from rocrate.rocrate import ROCrate

    crate, cited, known = ROCrate(version="1.1"), contents.yaml(CITATION), dict[str, Any]()

    def add(kind: str, identifier: str, **properties: Any) -> Any:
        return crate.get(identifier) or crate.add_jsonld({"@id": identifier, "@type": kind, **properties})

    def people(authors: Sequence[Mapping[str, str]]) -> list[Any]:
        names = [author.get("name") or f"{author['given-names']} {author['family-names']}" for author in authors]
        return [add("Person", f"#{name.replace(' ', '-')}", name=name) for name in names]

    for path in sorted(contents.files.keys() - set(ADDED)):
        kind = ["File", "SoftwareSourceCode"] if path.startswith("stages/") else "File"
        known[path] = crate.add_file(dest_path=path, properties={"@type": kind, "name": path})
    for scale, lock in contents.locks.items():
        for name, stage in lock.items():
            deps, outs = ([known[f["path"]] for f in stage[key] if f["path"] in known] for key in ("deps", "outs"))
            action = crate.add_action(known[f"stages/{stage['cmd'].split()[1]}.py"], f"#{scale}/{name}", deps, outs)
            crate.root_dataset.append_to("mentions", action)
    papers = [add("ScholarlyArticle", paper["url"], name=paper["title"], author=people(paper["authors"]))
              for paper in cited["references"]]  # fmt: skip
    properties = {
        "name": contents.folder, "version": contents.commit, "author": people(cited["authors"]), "citation": papers,
        "datePublished": datetime.fromtimestamp(contents.time, UTC).isoformat(),
        "description": f"{cited['title']}: source, small results, tables, figures and claims of one commit",
        "license": add("CreativeWork", f"https://spdx.org/licenses/{cited['license']}", name=cited["license"]),
        "conformsTo": add("CreativeWork", PROFILE, name="Process Run Crate", version="0.5"),
    }  # fmt: skip
    for name, value in properties.items():
        crate.root_dataset[name] = value
    graph = crate.metadata.generate()
    graph["@graph"].sort(key=lambda entity: entity["@id"])
    return (json.dumps(graph, indent=1, sort_keys=True) + "\n").encode()


if __name__ == "__main__":  # for `rendered`: run stages in this folder, in order, without a run in MLflow
    _, stages, *commands = sys.argv
    with mock.patch("advgrad.stage.tracked"):
        for command in commands:
            sys.argv = command.split()
            runpy.run_path(f"{stages}/{sys.argv[0]}.py", run_name="__main__")
