"""A keeper on a disk in memory, and what the tests of it need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_firmware_py.files import Files
from gateway_firmware_py.journal import Journal
from gateway_firmware_py.keeper import Draft, Keeper
from gateway_firmware_py.state import State
from meterline.clock import ManualClock
from meterline.wire import Sealed, unseal
from tests.gateway.polls import T0_NS, poll

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FOLDER = Path("/data/journal")


class Rig:
    """One life of a keeper. `sent` is what it said may be sent: from then on a batch exists."""

    def __init__(
        self,
        files: Files,
        state: State | None = None,
        clock: ManualClock | None = None,
        *,
        segment_bytes: int = 4000,
        room: Callable[[Journal], object] = lambda journal: None,
    ) -> None:
        self.files, self.state = files, state or State()
        self.clock = clock or ManualClock(T0_NS + 5_000_000_000)
        self.sent: list[Sealed] = []
        self.keeper = Keeper(
            gateway="gw1",
            key=KEY,
            clock=self.clock,
            software="test",
            open_journal=lambda: Journal(files, FOLDER, segment_bytes=segment_bytes),
            state=self.state,
            room=room,
            kept=self.sent.extend,
        )

    def keep(self, *numbers: int) -> list[Sealed]:
        """Keep a group commit of one batch that holds these polls (of the fast class but for multiples of 900)."""
        return self.keeper.keep([Draft(tuple(poll(number) for number in numbers))])


def numbers_of(batches: Sequence[Sealed]) -> list[int]:
    """The polls' numbers in these batches."""
    return [int(p.numbers[0] or 0) for batch in batches for p in unseal(batch.message).polls]
