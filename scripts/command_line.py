"""What the scripts beside this share as programs: arguments, exit codes, errors of one line."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from ekd_files import Problem


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        raise Problem(f"{message} (--help lists the options)")


def main_of(function: Callable[[list[str]], int | None]) -> int:
    """Runs function(arguments) as a program: its exit code (0 for None), or 2 with one line `error: …` on stderr."""
    try:
        return function(sys.argv[1:]) or 0
    except (Problem, OSError) as error:
        named = isinstance(error, OSError) and error.filename is not None
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and named else str(error)
        print("error: " + " ".join(text.split()), file=sys.stderr)
        return 2
