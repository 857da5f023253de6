"""The search for meters with addresses of many digits: wildcards first, shortened addresses where answers collide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from collector.address_tree import AddressTree, mask_of
from collector.bus import Line, Question
from collector.overheard import Overheard, overhear
from collector.protocols import dlt645
from collector.scan_plan import FIRST_QUESTIONS, Tongue
from meterline.errors import LineDown, Refused

ENERGY = {"dlt645": "00010000", "dlt645-1997": "9010"}
"""What every meter of an edition knows: forward active energy."""
NUMBER = {"dlt645": "04000401", "dlt645-1997": "C032"}
CONFIRM_TRIES = 2
TELLING_METERS = 3
"""So many meters' answer times are known before they are believed."""
MARGIN_S = 0.1
LEAST_PATIENCE_S = 0.2


class Everything:
    """A question whose answer is whatever comes until time is over: a second meter may answer after the first."""

    __slots__ = ("_within_s", "answer_length", "parted_by_silence", "request")

    def __init__(self, question: Question) -> None:
        self.parted_by_silence = question.parted_by_silence
        self.request = question.request
        self.answer_length = question.answer_length
        self._within_s = question.slowest_s

    @property
    def slowest_s(self) -> float:
        """See `collector.bus.Question`."""
        return self._within_s

    def answer(self, received: bytearray) -> bytes | None:
        """Never complete."""
        return None

    def following(self) -> Self | None:
        """Nothing follows."""
        return None

    def foreign(self, received: bytearray) -> bool:
        """Keeps the line listening to the end."""
        return True

    def echoed(self, received: bytearray) -> bool:
        """See `collector.bus.Question`."""
        return received.startswith(self.request)


class ItemSearch:
    """The search for all meters of one protocol on a line.

    Attributes
    ----------
    deaf_to_masks
        Somebody answers to the wildcard, but nobody to a shortened address: the addresses must come from the plates.
    """

    def __init__(self, tongue: Tongue, line: Line) -> None:
        self._tongue, self._line = tongue, line
        self._tree = AddressTree()
        self._roots = list(self._root_questions())
        self._root: list[Overheard] = []
        self._fresh: list[tuple[str, float | None]] = []
        self._confirmed: set[str] = set()
        self._bus = line.bus
        self._begins_s: list[float] = []
        self.deaf_to_masks = False
        self.finished = False

    @property
    def left(self) -> int:
        """Questions certain to come."""
        return 0 if self.finished else len(self._roots) or self._tree.left

    @property
    def doubled(self) -> Sequence[str]:
        """Addresses under which answers collide for good."""
        return self._tree.doubled

    def fresh(self) -> list[tuple[str, float | None]]:
        """Meters found since the last call, with their answer time. [s]"""
        fresh, self._fresh = self._fresh, []
        return fresh

    async def step(self) -> Overheard:
        """Ask one question, and confirm what it brings to light.

        Raises
        ------
        LineDown
            The line is gone.
        """
        if self._roots:
            return await self._ask_everybody()
        suffix = self._tree.next()
        assert suffix is not None
        self._line.bus = self._bus.model_copy(update={"timeout_s": self._patience_s(suffix)})
        what = await self._hear(self._question(mask_of(suffix)))
        self._line.bus = self._bus
        true = [address for address in dict.fromkeys(what.items) if await self._confirm(address)]
        collided = what.rest > 0 or len(true) < len(set(what.items))
        self._tree.heard(suffix, true, collided=collided)
        self._end_if_done()
        return what

    async def _ask_everybody(self) -> Overheard:
        what = await self._hear(self._roots.pop(0))
        self._root.append(what)
        if self._roots:
            return what
        heard = [each for each in self._root if not each.silent]
        addresses = list(dict.fromkeys(address for each in heard for address in each.items))
        true = [address for address in addresses if await self._confirm(address)]
        alone = len(true) == 1 == len(addresses) and not any(each.rest for each in heard)
        self._tree.heard("", true, collided=bool(heard) and not alone)
        self._end_if_done()
        return what

    def _patience_s(self, suffix: str) -> float | None:
        """How long meters below a collision are waited for: as long as the slowest heard so far took, with a margin.

        A slower one is not lost: its late answer names it, or spoils another and is looked for there.
        """
        usual = self._bus.timeout_s
        if len(suffix) <= 2 or len(self._begins_s) < TELLING_METERS or self._tree.is_repeat(suffix):
            return usual
        short = max(LEAST_PATIENCE_S, max(self._begins_s) + MARGIN_S)
        return short if usual is None else min(usual, short)

    def _end_if_done(self) -> None:
        self.finished = self._tree.next() is None
        if self.finished and self._tree.below_the_root and not self._confirmed and not self._tree.doubled:
            self.deaf_to_masks = True

    async def _confirm(self, address: str) -> bool:
        """Whether a meter of this address answers by itself: a checksum of one byte lets a collision pass at times."""
        if address in self._confirmed:
            return True
        if not address.isdecimal():
            return False
        for _ in range(CONFIRM_TRIES):
            outcome = await self._line.ask(lambda: self._question(address), keep_quiet=False)
            if isinstance(outcome.error, LineDown):
                raise outcome.error
            if outcome.error is None or isinstance(outcome.error, Refused):
                self._confirmed.add(address)
                self._fresh.append((address, outcome.took_s))
                wire_s = len(outcome.exchange.response) * self._line.settings.character_s
                self._begins_s.append(max(0.0, outcome.took_s - wire_s))
                return True
        return False

    async def _hear(self, question: Question) -> Overheard:
        outcome = await self._line.ask(lambda: Everything(question), keep_quiet=False)
        if isinstance(outcome.error, LineDown):
            raise outcome.error
        return overhear(outcome.late + outcome.exchange.response.removeprefix(outcome.exchange.request))

    def _question(self, address: str) -> Question:
        return dlt645.Dlt645Question(dlt645.ReadItem(address, ENERGY[self._tongue], 4, preamble=4))

    def _root_questions(self) -> Iterator[Question]:
        """Several, because not every meter knows each; the protocol is there if any of them is answered."""
        yield self._question(dlt645.ANYBODY)
        if self._tongue == "dlt645":
            yield dlt645.AddressQuestion()
        else:
            yield self._question(dlt645.ANYBODY)
        yield dlt645.Dlt645Question(dlt645.ReadItem(dlt645.ANYBODY, NUMBER[self._tongue], 6, preamble=4))
        assert FIRST_QUESTIONS[self._tongue] == 3
