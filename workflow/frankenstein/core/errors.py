"""The error for invalid user input."""


class InputError(Exception):
    """Invalid user input. The one-line message says what is wrong, where, and what to do next."""
