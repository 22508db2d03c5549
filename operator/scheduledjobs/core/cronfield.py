"""The fields of a cron expression: what each takes, which is what the CRD's pattern takes, and what its ranges mean.

A range is its two ends and what lies between, past the end of the field if the first is the larger: `22-2` is 22, 23,
0, 1, 2. Ranges are written out here, since croniter reads `5-5` as every hour and loses count of a step past the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VALUE = "[0-9]{1,2}|[a-z]{3}"
PART = re.compile(rf"(?:\*|({VALUE})(?:-({VALUE}))?)(?:/[0-9]*[1-9][0-9]*)?")
STAR = re.compile(r"\*(?:/0*1)?")
NTH = re.compile(r"l[0-7]|(?:[0-7]|sun|mon|tue|wed|thu|fri|sat)#[1-5]")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `size` numbers from `low` on, or the names of these; `largest` is 7 where that is another word for 0.

    `digits` are allowed at most; `known` says to a person what it takes; `others` are parts that are no numbers.
    """

    name: str
    known: str
    low: int
    size: int
    largest: int
    digits: int = 2
    names: tuple[str, ...] = ()
    others: re.Pattern[str] | None = None

    def written_out(self, part: str) -> str:
        """Return a part of a list in lower case, its range as a list of numbers.

        `ValueError`, with a phrase, for what the field does not take.
        """
        text = part.lower()
        ends = self.ends(part)
        if ends is None:
            return text
        begin, end = ends
        _, _, step = text.partition("/")
        if begin > end:
            end += self.size
        numbers = ((number - self.low) % self.size + self.low for number in range(begin, end + 1, int(step or 1)))
        return ",".join(map(str, dict.fromkeys(numbers)))

    def ends(self, part: str) -> tuple[int, int] | None:
        """Return the two ends of a range as they are written, None for a part that is no range.

        `ValueError`, with a phrase, for what the field does not take.
        """
        text = part.lower()
        if self.others is not None and self.others.fullmatch(text):
            return None
        found = PART.fullmatch(text)
        if found is None:
            raise self._unknown(part)
        first, last = found.groups()
        begin = self.low if first is None else self._number(first, part)
        return None if last is None else (begin, self._number(last, part))

    def _number(self, text: str, part: str) -> int:
        if text in self.names:
            return self.low + self.names.index(text)
        if text.isdigit() and len(text) <= self.digits and self.low <= int(text) <= self.largest:
            return int(text)
        raise self._unknown(part)

    def _unknown(self, part: str) -> ValueError:
        return ValueError(f"{part!r} is no {self.name} ({self.known}; *, a-b, a,b and /n are allowed)")


FIELDS = (
    Field("second", "0-59", 0, 60, 59),
    Field("minute", "0-59", 0, 60, 59),
    Field("hour", "0-23", 0, 24, 23),
    Field("day of month", "1-31 or L", 1, 31, 31, others=re.compile("l")),
    Field("month", "1-12 or JAN-DEC", 1, 12, 12, names=MONTHS),
    Field("day of week", "0-7 or SUN-SAT, 5#3, L5", 0, 7, 7, digits=1, names=WEEKDAYS, others=NTH),
)


def has_star(parts: list[str]) -> bool:
    """Return whether a list holds `*` or `*/1`: then it restricts nothing, whatever else it holds."""
    return any(STAR.fullmatch(part) for part in parts)
