"""Whether hits have become wrong more often than they were: the Page–Hinkley test. Pure.

E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954); in this form J. Gama et al., "A Survey on Concept
Drift Adaptation", ACM Computing Surveys 46 (2014). What a threshold is learned from has to be like what it is used for:
where that has changed, old labels only hide it.
"""

from collections.abc import Iterable
from typing import Final

ALARM: Final = 6.0
"""How many wrong hits, above those that were to be expected, make an alarm.

With the error budget's bound as the tolerance: where the share of wrong ones is the bound all along, 1 or 2 in 100
series of 2000 hits alarm, and fewer where it is less; a rise from half the bound to five times the bound is seen within
about 90 hits at 2 %, 200 at 1 %.
"""


def began(wrong: Iterable[bool], tolerance: float) -> int | None:
    """Return the place of the first of a series' hits that belong to a rise of the share of wrong ones; None without.

    A rise of less than `tolerance` above the mean so far is none.
    """
    mean = total = least = 0.0
    since = 0
    for number, one in enumerate(wrong, 1):
        mean += (one - mean) / number
        total += one - mean - tolerance
        if total < least:
            least, since = total, number
        if total - least > ALARM:
            return since
    return None
