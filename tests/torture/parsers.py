# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads damaged samples of what hosts, guests and other programs write, by each parser of the collection.

A parser may refuse a sample by the errors that it documents. Any other exception would be a traceback before a user.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import traceback
import typing as t
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from torture.mutations import changed, damaged, renamed
from torture.violations import ViolationError, class_of

# Far more than any sample takes on a busy machine.
_SECONDS = 5.0
_SHOWN = 600


# Each has a module of its own, with PARSERS.
KINDS = ("xml", "messages", "files", "state", "reports", "inventory")


@dataclass
class Parser:
    """What reads one kind of samples, and the errors by which it may refuse one. It counts its examples."""

    name: str
    samples: t.Sequence[t.Any]
    read: t.Callable[[t.Any], object]
    refuses: tuple[type[Exception], ...] = (MacvtapError,)
    # Whether the form is given by our own modules, or by a binding, and only texts are not.
    only_texts: bool = False
    examples: int = field(default=0, compare=False)

    def strategy(self) -> st.SearchStrategy[t.Any]:
        samples = list(self.samples)
        if isinstance(samples[0], bytes):
            return damaged(samples)
        return renamed(samples) if self.only_texts else changed(samples)

    def check(self, sample: t.Any) -> None:
        """Read one sample.

        :raises ViolationError: it raises another exception, or does not end.
        """
        self.examples += 1
        try:
            with _limited():
                self.read(sample)
        except self.refuses:  # pylint: disable=catching-non-exception
            return
        except ViolationError:
            raise
        except (Exception, RecursionError) as exc:
            kind = "endless" if isinstance(exc, _EndlessError) else "defect"
            trace = traceback.format_exc().splitlines()[-12:]
            raise class_of(f"{kind}-{type(exc).__name__}")(
                kind, f"{self.name} with {repr(sample)[:_SHOWN]}", trace
            ) from exc


class _EndlessError(Exception):
    """A parser does not end."""


def _stop(_number: int, _frame: object) -> None:
    raise _EndlessError


@contextlib.contextmanager
def _limited() -> t.Iterator[None]:
    former = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def all_parsers() -> list[Parser]:
    """Return all parsers, each of a name of its own."""
    modules = (importlib.import_module(f"torture.parsed_{kind}") for kind in KINDS)
    return [parser for module in modules for parser in module.PARSERS]


def fuzz(parser: Parser, *, examples: int, number: int | None = None, shrink: bool = True) -> None:
    """Check a parser with so many examples of the seed ``number``; without one, with the same in each run.

    :raises ViolationError: the first violation, with a sample made as small as possible.
    """
    config = settings(
        max_examples=examples,
        derandomize=number is None,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, *((Phase.shrink,) if shrink else ())),
        suppress_health_check=list(HealthCheck),
    )

    def checked(sample: t.Any) -> None:
        parser.check(sample)

    test = given(parser.strategy())(checked)
    config(test if number is None else seed(number)(test))()
