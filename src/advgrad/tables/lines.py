"""The lines of a CSV file that a stage wrote."""

import csv
from collections.abc import Sequence
from pathlib import Path

from advgrad.errors import InputError


def read_lines(file: Path, what: str, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Each line by column. columns: all of them, in their order; None: whatever the file has.

    what: what the file should be, for messages. InputError if there is no such file, or something else in it.
    """
    try:
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            if columns is not None and tuple(reader.fieldnames or ()) != tuple(columns):
                raise InputError(f"{file}: columns must be {','.join(columns)}")
            lines = list(reader)
        if any(None in line or None in line.values() for line in lines):
            raise ValueError("a line is too short or too long")
        return lines
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file}: not {what}: {error}") from None
