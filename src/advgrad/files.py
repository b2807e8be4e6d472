"""Files that are whole or not there: written under a temporary name next to the target, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from advgrad.errors import InputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write content to path, or InputError; missing folders are made, a link at path is replaced, not followed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):  # it is not there, or its disk is read-only
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Inside, errors of reading the file are InputErrors: it is missing, or not `what`."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise InputError(f"{path}: not {what}: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path) -> str:
    """Its content; InputError if it is missing or not UTF-8."""
    with readable(path, "UTF-8"):
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    """Its content; InputError if it is missing or not JSON."""
    with readable(path, "JSON"):
        return json.loads(path.read_text(encoding="utf-8"))
