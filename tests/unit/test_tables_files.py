"""Files are whole or not there."""

from pathlib import Path

import pytest

from advgrad.files import write_bytes, write_text


def test_writes_folders_utf8_and_line_ends(tmp_path: Path):
    file = tmp_path / "a" / "b.txt"
    write_text(file, "— \n\r\n")
    assert file.read_bytes() == "— \n\r\n".encode()
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_link_is_replaced_not_followed(tmp_path: Path):
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_text("old")
    link.symlink_to(kept)
    write_text(link, "new")
    assert (kept.read_text(), link.read_text()) == ("old", "new")
    assert not link.is_symlink()


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "f"
    write_text(file, "old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
