"""The `advgrad` command: its words and options."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advgrad import commands, config
from advgrad.errors import InputError

Does = Callable[[Any, argparse.Namespace], int]  # one of `commands`


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="advgrad", description=__doc__)
    known = top.add_subparsers(dest="command", required=True)

    def add(name: str, about: str, does: Does, *, anywhere: bool = False) -> argparse.ArgumentParser:
        """anywhere: without a checkout, too, so no parameter file is read; `does` gets None for the settings."""
        command = known.add_parser(name, help=about, description=about)
        command.set_defaults(does=does, anywhere=anywhere)
        return command

    add("check", "hold every parameter file against its schema", lambda *_: 0)
    command = add(
        "repro", "bring every result up to date, less what needs data that cannot be had here", commands.repro
    )
    command.add_argument("targets", nargs="*", metavar="STAGE", help="with all that it needs; default: everything")
    command.add_argument("--jobs", type=int, help="stages at once; default: one on a GPU, else as threads allow")
    command = add(
        "parallel", "the same by Snakemake, on all cores or on a cluster; DVC records what is done", commands.parallel
    )
    command.add_argument("targets", nargs="*", metavar="STAGE", help="with all that it needs; default: everything")
    command.add_argument("--profile", default="default", help="a folder of profiles/; default: %(default)s")
    add("record", "take this machine's measured seconds and fingerprint into reports/", commands.record)
    add("readme", "bring README.md's summary of the verdicts up to date", commands.readme)
    _add_bundle(add("bundle", "write all that a machine without network needs, as parts", commands.bundle))
    _add_run(add("run", "run the stages that are still missing, within a budget of time", commands.run))
    command = add("collect", "take the results of `advgrad run` into archives/SCALE", commands.collect)
    command.add_argument("parts", nargs="+", type=Path, metavar="PART", help="files, or folders with them")
    command.add_argument("--scale", help="take results of this scale only; default: the one that all parts are of")
    command = add(
        "restore", "make archives/SCALE the active results: params.yaml, dvc.lock, outputs, cache", commands.restore
    )
    command.add_argument("scale")
    about = "which cells differ between two sets of results, and which by more than chance; exits 1 if any does"
    _add_compare(add("compare", about, commands.compare, anywhere=True))
    command = add(
        "showcase", "attack a trained network of archives/SCALE by PGD and PGD++, with pictures", commands.showcase
    )
    command.add_argument("--scale", default="gpu", help="whose archive has it; default: %(default)s")
    command.add_argument("--model", default="bnn-resnet18-wq", help="default: %(default)s")
    command.add_argument(
        "--images", type=int, default=64, metavar="N", help="first N test images; default: %(default)s"
    )
    command.add_argument("--out", type=Path, default=Path("dist/showcase"), help="default: %(default)s")
    _add_archive(known.add_parser("archive", help="one file for a submission: create, verify, restore"))
    return top


def _add_archive(command: argparse.ArgumentParser) -> None:
    known = command.add_subparsers(dest="action", required=True)

    def add(name: str, about: str, does: Does, *, anywhere: bool = False) -> argparse.ArgumentParser:
        found = known.add_parser(name, help=about, description=about)
        found.set_defaults(does=does, anywhere=anywhere)
        return found

    one = add("create", "the last commit and its results as one file; the same commit gives the same bytes",
              commands.archive_create)  # fmt: skip
    one.add_argument("--out", type=Path, help="default: dist/advgrad-SCALE-COMMIT.tar.gz")
    one = add("verify", "check every byte, and make tables, figures and claims again from the outcomes. Exit status 1: "
              "something is damaged or differs, and is named; 2: not an archive", commands.archive_verify,
              anywhere=True)  # fmt: skip
    one.add_argument("file", type=Path)
    one.add_argument("--no-render", action="store_true", help="check the bytes only")
    about = "make an archive's results the active ones, or all of its files a folder"
    one = add("restore", about, commands.archive_restore, anywhere=True)
    one.add_argument("file", type=Path)
    one.add_argument("--into", type=Path, metavar="FOLDER", help="a new or empty folder for all of its files")


def _add_bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scale", help="smoke, quick, gpu, paper; default: the one in params.yaml")
    command.add_argument("--out", type=Path, default=Path("dist/bundle"), help="default: %(default)s")
    command.add_argument("--data", nargs="*", metavar="NAME",
                         help="data sets to take along; default: those that the models need")  # fmt: skip
    command.add_argument("--source-only", action="store_true", help="for a machine that has packages and data already")
    command.add_argument("--part", type=int, default=60, metavar="MIB", help="size of a part; default: %(default)s")
    command.add_argument("--python", default="3.12", help="that machine's Python; default: %(default)s")
    command.add_argument("--platform", default="x86_64-manylinux_2_28", help="default: %(default)s")


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("targets", nargs="*", help="stages or models; default: all")
    command.add_argument("--budget", metavar="TIME", help="stop in order before this long has passed: 90s, 8m, 1.5h")
    command.add_argument("--papers", nargs="+", default=[], choices=config.PAPERS)
    command.add_argument("--jobs", type=int, help="stages at once; default: 3 on a GPU, else as threads allow")
    command.add_argument("--memory", type=float, metavar="GIB", help="GPU memory to fill; default: what is free")
    command.add_argument("--whole", action="store_true", help="start only what should end within the budget")
    command.add_argument("--any-code", action="store_true", help="count results of other code as done")
    command.add_argument("--out", type=Path, default=Path("visit"), help="folder for the results; default: %(default)s")
    command.add_argument("--weights", choices=["none", "needed", "binary", "all"], default="needed",
                         help="which travel; needed: of models with attacks still to run")  # fmt: skip
    command.add_argument("--part", type=int, default=15, metavar="MIB", help="size of a part; default: %(default)s")
    command.add_argument("--most", type=int, default=60, metavar="MIB", help="size of all; default: %(default)s")
    command.add_argument("--dry-run", action="store_true", help="say what would run, and how long it would take")


def _add_compare(command: argparse.ArgumentParser) -> None:
    what = "a Git revision, an experiment of `dvc exp run`, a folder, a scale in archives/, a .tar.gz of an archive"
    command.add_argument("a", nargs="?", default="HEAD", metavar="A", help=f"{what}; default: %(default)s")
    command.add_argument("b", nargs="?", default=".", metavar="B", help="another one; default: this folder")
    command.add_argument("--tables", nargs="+", default=[], metavar="NAME", help="only these, such as linbp-1")
    command.add_argument("--all", action="store_true", help="cells that do not differ, too")
    command.add_argument("--alpha", type=float, default=0.05, help="level of significance; default: %(default)s")
    command.add_argument("--fail-on", choices=["changed", "significant", "verdict", "never"], default="changed",
                         help="what makes the exit status 1; default: %(default)s")  # fmt: skip
    command.add_argument("--format", choices=["text", "md", "json", "csv"], default="text")
    command.add_argument("--out", type=Path, metavar="FILE", help="write it there and print the last line only")


def main(argv: list[str] | None = None) -> int:
    told = parser().parse_args(argv)
    try:
        return told.does(None if told.anywhere else commands.check(), told)
    except InputError as error:
        print(f"advgrad: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
