"""The `advgrad` command: its words and options. Each imports what it needs when it runs."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from advgrad import config
from advgrad.errors import InputError

ROOT = Path()


def check(_: argparse.Namespace) -> int:
    for scale in sorted({config.load_settings().scale, *config.scales()}):
        for paper in config.papers():
            config.load_paper(paper, config.load_scale(scale))
    return 0


def repro(arguments: argparse.Namespace) -> int:
    from advgrad.run import repro

    check(arguments)
    return repro(config.load_settings(), arguments.targets, arguments.profile, arguments.jobs)


def record(_: argparse.Namespace) -> int:
    from advgrad.provenance import record

    record(ROOT)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    from advgrad.compare.compare import compare, render

    comparison = compare(arguments.a, arguments.b, ROOT, tables=arguments.tables, alpha=arguments.alpha)
    say(render(comparison, arguments.format, all_cells=arguments.all).rstrip("\n"))
    return int(comparison.fails(arguments.fail_on))


def archive_create(arguments: argparse.Namespace) -> int:
    from advgrad.archive import create

    create(ROOT, arguments.out, say)
    return 0


def archive_verify(arguments: argparse.Namespace) -> int:
    from advgrad.archive import verify

    return verify(arguments.file, say, render=not arguments.no_render)


def say(line: str) -> None:
    print(line, flush=True)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="advgrad", description="From parameter files to every table of three papers.")
    known = top.add_subparsers(dest="command", required=True)

    def add(name: str, about: str, does: Any, to: Any = known) -> argparse.ArgumentParser:
        command = to.add_parser(name, help=about, description=about)
        command.set_defaults(does=does)
        return command

    add("check", "hold every parameter file against its schema", check)
    command = add("repro", "bring every result up to date, less what needs data that cannot be had here", repro)
    command.add_argument("targets", nargs="*", metavar="STAGE", help="with all that it needs; default: everything")
    command.add_argument("--jobs", type=int, metavar="N", help="cores for stages; default: what the profile says")
    command.add_argument("--profile", default="default", help="a folder of profiles/; default: %(default)s")
    add("record", "take this machine's measured seconds and fingerprint into reports/", record)
    command = add("compare", "which cells differ between two sets of results, and which by more than chance; "
                  "exits 1 if any does", compare)  # fmt: skip
    what = "a Git revision, an experiment of `dvc exp run`, `workspace`, or a folder: a clone or an unpacked archive"
    command.add_argument("a", nargs="?", default="HEAD", metavar="A", help=f"{what}; default: %(default)s")
    command.add_argument("b", nargs="?", default="workspace", metavar="B", help="another one; default: %(default)s")
    command.add_argument("--tables", nargs="+", default=[], metavar="NAME", help="only these, such as linbp-1")
    command.add_argument("--all", action="store_true", help="cells that do not differ, too")
    command.add_argument("--alpha", type=float, default=0.05, help="level of significance; default: %(default)s")
    command.add_argument("--fail-on", choices=["changed", "significant", "verdict", "never"], default="changed",
                         help="what makes the exit status 1; default: %(default)s")  # fmt: skip
    command.add_argument("--format", choices=["text", "md", "csv"], default="text")
    about = "one file for a submission"
    actions = known.add_parser("archive", help=about, description=about).add_subparsers(dest="action", required=True)
    command = add("create", "the last commit and its results; the same commit gives the same bytes", archive_create,
                  actions)  # fmt: skip
    command.add_argument("--out", type=Path, help="default: dist/advgrad-SCALE-COMMIT.tar.gz")
    command = add("verify", "check every byte, and make tables, figures and claims again from the outcomes. "
                  "Exit status 1: something is damaged or differs; 2: not an archive",
                  archive_verify, actions)  # fmt: skip
    command.add_argument("file", type=Path)
    command.add_argument("--no-render", action="store_true", help="check the bytes only")
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return arguments.does(arguments)
    except InputError as error:
        print(f"advgrad: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
