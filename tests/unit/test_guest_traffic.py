# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What was noticed of a guest, by the times of its answers."""

from __future__ import annotations

import pytest
from guest_traffic import longest

MIDNIGHT = 24 * 60 * 60 * 1000


@pytest.mark.parametrize(
    ("answers", "silence", "still"),
    [
        # Its clock went on meanwhile, or stood still, also over midnight.
        ([(0.0, 0), (0.1, 100), (2.1, 2100), (2.2, 2200)], 2.0, 0.0),
        ([(0.0, 0), (0.1, 100), (2.1, 150), (2.2, 250)], 2.0, 1.95),
        ([(5.0, MIDNIGHT - 50), (7.0, 50)], 2.0, 1.9),
        # Only what it lost in the longest silence counts.
        ([(0.0, 0), (1.0, 500), (3.0, 2500)], 2.0, 0.0),
    ],
)
def test_the_longest_silence_and_what_the_clock_lost_in_it(
    answers: list[tuple[float, int]], silence: float, still: float
) -> None:
    assert list(longest(answers)) == pytest.approx([silence, still])


def test_one_answer_is_no_silence() -> None:
    with pytest.raises(ValueError, match="has answered 1 times"):
        longest([(0.0, 0)])
