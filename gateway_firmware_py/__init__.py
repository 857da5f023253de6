"""Edge, box side: polls become durable batches and leave, and nothing is forgotten in between.

Read along the path of the data:

- :mod:`~gateway_firmware_py.batcher`: polls of about a second become drafts of batches;
- :mod:`~gateway_firmware_py.keeper`: a draft is numbered, chained, signed and kept, on disk before anything else;
- :mod:`~gateway_firmware_py.segments`, :mod:`~gateway_firmware_py.journal`, :mod:`~gateway_firmware_py.files`: how the
  disk keeps it, through the one object all file I/O goes through;
- :mod:`~gateway_firmware_py.frames`: the raw requests and answers, for `trace`;
- :mod:`~gateway_firmware_py.state`: what the head-end has acknowledged;
- :mod:`~gateway_firmware_py.lanes`, :mod:`~gateway_firmware_py.window`, :mod:`~gateway_firmware_py.outbox`: which
  batch is sent next, how many at a time, when again;
- :mod:`~gateway_firmware_py.uplink`: MQTT;
- :mod:`~gateway_firmware_py.hatch`: where commands on the same box ask the running gateway to read a meter;
- :mod:`~gateway_firmware_py.health`, :mod:`~gateway_firmware_py.timekeeping`, :mod:`~gateway_firmware_py.supervise`,
  :mod:`~gateway_firmware_py.main`: what holds it together.

The one promise: every sequence number ends in the head-end's store or in a `LostRange` with a reason.
"""

from __future__ import annotations

from gateway_firmware_py.hatch import ask_gateway
from gateway_firmware_py.last_good import choose, sources_of
from gateway_firmware_py.main import public_key, run_gateway

__all__ = ["ask_gateway", "choose", "public_key", "run_gateway", "sources_of"]
