"""What an archive has that follows from the rest of it: reports/, the report as a page, the appendix, the crate."""

import tempfile
from pathlib import Path

from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.report.page import page
from advgrad.submission.appendix import appendix
from advgrad.submission.contents import ABOUT, ADDED, APPENDIX, CRATE, PAGE, About, File, Files, about_json, is_rendered
from advgrad.submission.crate import metadata
from advgrad.visits.reports import rendered


def derive(about: About, files: Files) -> dict[str, bytes]:
    """By path in the archive: what the outcomes, analyses, trainings, specs and parameters among the files come to.

    What the files have of it already is not looked at. InputError: a spec or an outcome does not fit.
    """
    base = {path: file for path, file in files.items() if not is_rendered(path) and path not in ADDED}
    with tempfile.TemporaryDirectory(prefix="advgrad-") as name:
        try:
            return _derive(Path(name), about, base)
        except InputError as error:  # less a folder that nobody will find
            raise InputError(str(error).replace(f"{name}/", "")) from None


def _derive(folder: Path, about: About, base: Files) -> dict[str, bytes]:
    lay_out(folder, base)
    shown = {f"reports/{path}": content for path, content in rendered(folder, folder, about.scale).items()}
    for path, content in shown.items():
        write_bytes(folder / path, content)
    shown[PAGE] = page(folder, scale=about.scale, commit=about.commit[:12]).encode()
    every = {**{path: file.content for path, file in base.items()}, **shown, ABOUT: about_json(about)}
    shown[APPENDIX] = every[APPENDIX] = appendix(folder, about, every)
    return {**shown, CRATE: metadata(about, every)}


def lay_out(folder: Path, files: Files) -> None:
    """The files below the folder, with their modes."""
    for path, file in files.items():
        write_bytes(folder / path, file.content)
        if file.executable:
            (folder / path).chmod(0o755)


def differences(shown: dict[str, bytes], files: dict[str, File]) -> list[str]:
    """A line for each file of the archive that is not as derived, sorted by path."""
    lines = {path: "nothing makes it" for path in files if is_rendered(path) and path not in shown}
    lines |= {path: "not there" for path in shown if path not in files}
    same = {path: files[path].content == content for path, content in shown.items() if path in files}
    lines |= {path: "not as it is made from the outcomes" for path, equal in same.items() if not equal}
    return [f"{path}: {lines[path]}" for path in sorted(lines)]
