"""Find every DL/T 645 meter of a line without knowing one address: shortened addresses, narrowed where they collide.

A request may leave the high digits of the address open (``AA`` bytes): every meter whose low digits fit answers. Where
one answers, its frame names its whole address. Where several do, their answers collide on the wire: bytes come, but no
frame. Then the hundred values of the next two digits are asked one by one.

This is bookkeeping without I/O: `AddressTree.next` says what to ask, `AddressTree.heard` takes what came.

References
----------
DL/T 645-2007, 5.2.3 (shortened addresses: the low bytes are given, the high ones filled up with AAH); the 1997
edition, 5.2.2, likewise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

WILD = "AA"


def mask_of(suffix: str, digits: int = 12) -> str:
    """The shortened address of some low digits: ``34`` is ``AAAAAAAAAA34``."""
    return WILD * ((digits - len(suffix)) // 2) + suffix


@dataclass
class AddressTree:
    """The search over one line.

    Parameters
    ----------
    digits
        Of a whole address: 12, or 14 for CJ/T 188.

    Attributes
    ----------
    found
        Whole addresses, in the order they were heard.
    doubled
        Whole addresses under which answers still collide: two meters share the address, or the line is bad.
    asked
        Questions so far.
    """

    digits: int = 12
    found: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    asked: int = 0
    _todo: deque[str] = field(default_factory=lambda: deque([""]))
    _open: dict[str, _Branch] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Questions already certain to be asked; every further collision adds a hundred."""
        return len(self._todo)

    @property
    def below_the_root(self) -> bool:
        """Whether one question for everybody was not enough."""
        return bool(self._open)

    def is_repeat(self, suffix: str) -> bool:
        """Whether some low digits are asked for a second time, because too few answered below a collision."""
        branch = self._open.get(suffix[2:]) if suffix else None
        return branch is not None and branch.asked_twice

    def next(self) -> str | None:
        """The next low digits to ask for; None when all is known."""
        return self._todo[0] if self._todo else None

    def heard(self, suffix: str, addresses: Iterable[str], *, collided: bool) -> None:
        """Take in what came for some low digits.

        Parameters
        ----------
        addresses
            Whole addresses of valid answers; also such that belong to an earlier question and came late.
        collided
            Whether there were bytes that belong to no frame, or more than one answer.
        """
        self._todo.remove(suffix)
        self.asked += 1
        own = [address for address in addresses if address.endswith(suffix)]
        self.note(addresses)
        if collided or len(set(own)) > 1:
            self._divide(suffix)
        self._settle(suffix)

    def note(self, addresses: Iterable[str]) -> None:
        """Meters heard at any time, whatever was asked."""
        for address in addresses:
            if address not in self.found:
                self.found.append(address)

    def _divide(self, suffix: str) -> None:
        if len(suffix) == self.digits:
            self.doubled.append(suffix)
            return
        children = [f"{number:02d}{suffix}" for number in range(100)]
        # Meters are bought by the box: digits seen elsewhere come first.
        at = self.digits - len(suffix) - 2
        seen = {address[at : at + 2] for address in self.found}
        children.sort(key=lambda child: child[:2] not in seen)
        self._open[suffix] = _Branch(set(children))
        self._todo.extendleft(reversed(children))

    def _settle(self, suffix: str) -> None:
        """A collision has two causes at least: where its branches show fewer, the silent ones are asked once more."""
        parent = suffix[2:]
        branch = self._open.get(parent) if suffix else None
        if branch is None:
            return
        branch.left.discard(suffix)
        branch.silent.add(suffix)
        if branch.left or branch.asked_twice:
            return
        inside = sum(1 for address in self.found if address.endswith(parent))
        divided = any(child in self._open or child in self.doubled for child in branch.silent)
        if inside >= 2 or divided:
            return
        branch.asked_twice = True
        known = {address[len(address) - len(suffix) :] for address in self.found}
        again = [child for child in sorted(branch.silent) if child not in known]
        branch.left = set(again)
        self._todo.extendleft(reversed(again))


@dataclass
class _Branch:
    """The hundred questions below one collision."""

    left: set[str]
    silent: set[str] = field(default_factory=set)
    asked_twice: bool = False
