"""What can go wrong: bad input, said in one line, and a failure inside a notebook."""


class InputError(ValueError):
    """Something the user gave is wrong, and the message says what, where and what to do.

    The message is one line.  The command line prints it without a traceback and exits
    with status 2; in a notebook it is an ordinary exception.
    """


class ChapterError(RuntimeError):
    """A notebook failed for a reason that is not bad input; carries the notebook's traceback."""

    def __init__(self, message: str, traceback: str = ""):
        super().__init__(message)
        self.traceback = traceback


def suggest(name: str, allowed) -> str:
    """Name what is allowed, and the nearest match first.

    >>> suggest("leef", ["leaf", "root"])
    "did you mean 'leaf'? Allowed: leaf, root"
    """
    import difflib

    allowed = [str(a) for a in allowed]
    near = difflib.get_close_matches(str(name), allowed, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Allowed: {', '.join(allowed)}"
