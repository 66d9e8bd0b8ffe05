"""The two errors that a user sees: one line each, without a traceback."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it, what was expected and what came."""


class FitError(RuntimeError):
    """A computation went wrong; the message says where and names the quantity."""
