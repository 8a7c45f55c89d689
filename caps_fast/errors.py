"""The one exception that users see."""


class InputError(ValueError):
    """Bad input: one line naming the file, row, column or option, its value and what was expected.

    The command line prints the message and exits with code 2.
    """
