"""What was tried, what survived: rows of a table, filled by attempts that run side by side."""

import collections
import concurrent.futures
import subprocess
import sys
import threading


class Lost(Exception):
    """What did not survive, in words."""


class Row:
    def __init__(self, event, holds):
        self.event, self.holds = event, holds
        self.tried, self.losses, self.notes = 0, [], collections.Counter()
        self._lock = threading.Lock()

    def add(self, tried=1, losses=(), **notes):
        with self._lock:
            self.tried += tried
            self.losses += losses
            self.notes.update({name: count for name, count in notes.items() if count})

    def attempt(self, work, item):
        """work(item) may return how much it tried (1), and raises Lost."""
        try:
            done = work(item)
            self.add(1 if done is None else done)
        except (Lost, AssertionError, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            text = f"{item}: {type(error).__name__}: {error}"
            self.add(1, [text])
            print(f"LOST {self.event}: {text}", file=sys.stderr, flush=True)

    def attempts(self, work, items, jobs):
        together([(self, work, items)], jobs)

    def note(self):
        return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.notes.items())

    def cells(self):
        lost = len(self.losses)
        return [self.event, self.holds, f"{self.tried:,}", f"{self.tried - lost:,}", f"{lost:,}", self.note()]


def together(rows, jobs):
    """[(row, work, items)]: all their attempts, some side by side."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda one: one[0].attempt(*one[1:]), [(row, work, item) for row, work, items in rows for item in items]))


HEADER = ["what happens", "what has to hold", "tried", "survived", "lost", "of these"]


def require(condition, text):
    if not condition:
        raise Lost(text)
