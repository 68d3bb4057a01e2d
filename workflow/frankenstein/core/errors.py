"""The one error that a user can mend."""


class InputError(Exception):
    """Something given to us is wrong. The message is one line: what, where, and what to do next."""
