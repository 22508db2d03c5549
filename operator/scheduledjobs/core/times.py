"""The times of a day that a cron names, by arithmetic: a list of them all would be 3 MB for `0-58 * * * * *`.

Expressions are remembered, and a tenant may write as many as there are, so none may keep more than its fields.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

HOUR, MINUTE, DAY = 3600, 60, 86_400


@dataclass(frozen=True, slots=True)
class Times:
    """Each of the hours with each of the minutes and each of the seconds: rising seconds of a day, from 0 to 86,399.

    None of the three is empty, and each rises.
    """

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    @property
    def in_busiest_hour(self) -> int:
        """How many there are in an hour that has any."""
        return len(self.minutes) * len(self.seconds)

    def __len__(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def __getitem__(self, index: int) -> int:
        """Return the time at an index from 0 on; `IndexError` past the last."""
        row, second = divmod(index, len(self.seconds))
        hour, minute = divmod(row, len(self.minutes))
        return HOUR * self.hours[hour] + MINUTE * self.minutes[minute] + self.seconds[second]

    def before(self, second: int) -> int:
        """Return how many times are before `second`, which may lie outside of the day: the index of the first from
        there on."""
        if second <= 0:
            return 0
        if second >= DAY:
            return len(self)
        hour, rest = divmod(second, HOUR)
        minute, rest = divmod(rest, MINUTE)
        index = bisect_left(self.hours, hour)
        rows = index * len(self.minutes)
        if index < len(self.hours) and self.hours[index] == hour:
            index = bisect_left(self.minutes, minute)
            rows += index
            if index < len(self.minutes) and self.minutes[index] == minute:
                return rows * len(self.seconds) + bisect_left(self.seconds, rest)
        return rows * len(self.seconds)

    def between(self, low: int, high: int) -> Iterator[int]:
        """Yield the times at the indexes [low, high)."""
        row, skipped = divmod(low, len(self.seconds))
        return islice(self._from(row), skipped, skipped + high - low)

    def _from(self, row: int) -> Iterator[int]:
        """Yield the times from a minute on, which is told as an index of the minutes that there are in a day."""
        hour, minute = divmod(row, len(self.minutes))
        for index in range(hour, len(self.hours)):
            for at in self.minutes[minute:]:
                base = HOUR * self.hours[index] + MINUTE * at
                for second in self.seconds:
                    yield base + second
            minute = 0


MIDNIGHT = Times((0,), (0,), (0,))
