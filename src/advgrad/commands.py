"""What each `advgrad` command does: (settings, arguments) -> exit status.

Settings are None for those that run anywhere. Each imports what it needs when it runs: on a machine for visits most of
it is not there.
"""

import argparse
import sys
from pathlib import Path

from advgrad import config
from advgrad.errors import InputError

ROOT = Path()
MIB = 2**20


def check() -> config.Settings:
    """Every parameter file against its schema, at every scale."""
    settings = config.load_settings()
    for scale in {settings.scale, *config.scales()}:
        for paper in config.PAPERS:
            config.load_paper(paper, config.load_scale(scale))
    return settings


def repro(settings: config.Settings, told: argparse.Namespace) -> int:
    from advgrad.pipeline import repro

    return repro(settings, told.targets, told.jobs)


def parallel(settings: config.Settings, told: argparse.Namespace) -> int:
    from advgrad.parallel import parallel

    return parallel(settings, told.profile, told.targets)


def record(_: config.Settings, __: argparse.Namespace) -> int:
    from advgrad.provenance import record

    record(ROOT)
    return 0


def readme(settings: config.Settings, _: argparse.Namespace) -> int:
    from advgrad.files import write_text
    from advgrad.tables.summary import summary, with_summary

    file = ROOT / "README.md"
    told = summary(ROOT / "reports", settings.scale, base="reports/")["summary.md"]
    write_text(file, with_summary(file.read_text(encoding="utf-8"), told, file))
    return 0


def bundle(settings: config.Settings, told: argparse.Namespace) -> int:
    from advgrad.visits.bundle import bundle

    bundle(
        ROOT, told.scale or settings.scale, told.out, datasets=told.data, source_only=told.source_only,
        part_limit=told.part * MIB, python=told.python, platform=told.platform, say=say,
    )  # fmt: skip
    return 0


def run(_: config.Settings, told: argparse.Namespace) -> int:
    from advgrad.visits.run import Order, run
    from advgrad.visits.schedule import duration

    order = Order(
        budget=None if told.budget is None else duration(told.budget),
        papers=tuple(told.papers),
        targets=tuple(told.targets),
        jobs=told.jobs,
        memory=told.memory,
        whole=told.whole,
        any_code=told.any_code,
        out=told.out,
        weights=told.weights,
        part=told.part * MIB,
        most=told.most * MIB,
        dry=told.dry_run,
    )
    return run(ROOT, order, say)


def collect(settings: config.Settings, told: argparse.Namespace) -> int:
    from advgrad import tracking
    from advgrad.visits.collect import collect

    status = collect(ROOT, told.parts, say, scale=told.scale)
    tracking.drain_now(ROOT, settings.tracking)
    return status


def restore(_: config.Settings, told: argparse.Namespace) -> int:
    from advgrad.visits.restore import restore

    restore(ROOT, told.scale, say)
    return 0


def compare(_: object, told: argparse.Namespace) -> int:
    from advgrad.compare.compare import FAILS, compare, summary
    from advgrad.compare.render import render
    from advgrad.files import write_text

    found = compare(told.a, told.b, ROOT, names=told.tables, alpha=told.alpha)
    text = render(found, told.format, every=told.all)
    if told.out:
        try:
            write_text(told.out, text)
        except OSError as error:
            raise InputError(f"--out: {told.out}: cannot be written: {error.strerror}") from None
    say(summary(found) if told.out else text.rstrip("\n"))
    return int(FAILS[told.fail_on](found))


def showcase(_: config.Settings | None, told: argparse.Namespace) -> int:
    from advgrad.showcase.run import showcase

    return showcase(ROOT, told.scale, told.model, told.images, told.out, say)


def archive_create(_: config.Settings | None, told: argparse.Namespace) -> int:
    from advgrad.submission.create import create

    create(ROOT, told.out, say)
    return 0


def archive_verify(_: config.Settings | None, told: argparse.Namespace) -> int:
    from advgrad.submission.verify import verify

    return verify(told.file, say, tell, render=not told.no_render)


def archive_restore(_: config.Settings | None, told: argparse.Namespace) -> int:
    from advgrad.submission import restore

    if told.into is None:
        restore.active(ROOT, told.file, say)
    else:
        restore.into(told.file, told.into, say)
    return 0


def say(line: str) -> None:
    print(line, flush=True)


def tell(line: str) -> None:
    """What is going on, beside what comes of it."""
    print(line, file=sys.stderr, flush=True)
