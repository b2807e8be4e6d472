"""The one exception that a user is meant to read."""


class InputError(Exception):
    """Bad input from outside (parameters, files, sources): one line saying what, where and what is allowed.

    A command that meets it prints the line to stderr and exits 2; nothing is left half-written.
    """
