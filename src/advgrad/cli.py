"""The `advgrad` command."""

import argparse
import sys
from pathlib import Path

from advgrad import config
from advgrad.errors import InputError


def check() -> config.Settings:
    """Every parameter file against its schema, at every scale."""
    settings = config.load_settings()
    for scale in {settings.scale, *config.scales()}:
        for paper in config.PAPERS:
            config.load_paper(paper, config.load_scale(scale))
    return settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="advgrad", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="hold every parameter file against its schema")
    commands.add_parser("repro", help="bring every result up to date, less what needs data that cannot be had here")
    commands.add_parser("record", help="take this machine's measured seconds and fingerprint into reports/")
    command = parser.parse_args(argv).command
    try:
        settings = check()
        if command == "repro":
            from advgrad.pipeline import repro

            return repro(settings)
        if command == "record":
            from advgrad.provenance import record

            record(Path())
    except InputError as error:
        print(f"advgrad: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
