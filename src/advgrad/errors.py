"""The one exception that a user is meant to read."""


class InputError(Exception):
    """Bad input from outside (parameters, files, sources): one line saying what, where and what is allowed.

    A command that meets it prints the line to stderr and exits 2; nothing is left half-written.
    """

    def __init__(self, text: str) -> None:
        # what cannot be printed is a space
        super().__init__(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
