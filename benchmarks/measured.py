"""One line of the table in `benchmarks/README.md`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured, beside what it should be.

    Parameters
    ----------
    least, most
        What the value should be at least or at most; None where nothing was promised.
    """

    what: str
    value: float
    unit: str = "x"
    least: float | None = None
    most: float | None = None

    @property
    def falls_short(self) -> bool:
        """Whether it is not what it should be, at the digits that are printed."""
        shown = float(f"{self.value:.3g}")
        return (self.least is not None and shown < self.least) or (self.most is not None and shown > self.most)

    def markdown(self) -> str:
        """The line of the table."""
        reach = "" if self.least is None else f"at least {self.least:g}"
        reach = reach if self.most is None else f"at most {self.most:g}"
        return f"| {self.what} | {self.value:.3g} {self.unit} | {reach} | {'**no**' if self.falls_short else ''} |"
