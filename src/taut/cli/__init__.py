"""The `taut` command: the stages of the library from a shell.

Nothing here imports NumPy, JAX or NumPyro before the command line has been read, so that
`taut --help` answers at once.
"""

from taut.cli.command import main

__all__ = ["main"]
