"""Files that are whole or not there: written under a temporary name next to the target, then renamed."""

import os
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write content to path; missing folders are made, and a link at path is replaced, not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))
