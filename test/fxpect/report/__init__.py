"""What a run did, as records, one screen, JUnit XML and JSON; without torch.

``fxpect.report.tally`` is the counter that everything which explores or compares adds to.
"""

from fxpect.report.counts import Tally, tally

__all__ = ["Tally", "tally"]
