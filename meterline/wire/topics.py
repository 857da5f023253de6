"""The addresses of the contract."""

from __future__ import annotations

from meterline.errors import WireError

ALL_BATCHES = "ml1/up/+/batch"
ALL_HEALTH = "ml1/up/+/health"
ALL_ASKS = "ml1/up/+/ask"


def batch_topic(gateway: str) -> str:
    """Where a gateway publishes its batches; readable by the head-end only."""
    return f"ml1/up/{gateway}/batch"


def health_topic(gateway: str) -> str:
    """Where a gateway says how it is (retained; its last will stands there too)."""
    return f"ml1/up/{gateway}/health"


def ack_topic(gateway: str) -> str:
    """Where the head-end tells a gateway what is in the store (retained: a restarted gateway learns it at once)."""
    return f"ml1/down/{gateway}/ack"


def ask_topic(gateway: str) -> str:
    """Where a gateway asks what is stored of it, before it sends (QoS 0: nobody keeps a question for later)."""
    return f"ml1/up/{gateway}/ask"


def refused_topic(gateway: str) -> str:
    """Where the head-end tells a gateway which batch it could not take, and why (not retained)."""
    return f"ml1/down/{gateway}/refused"


def gateway_of(topic: str) -> str:
    """The gateway a topic belongs to.

    Raises
    ------
    WireError
        Not one of our topics.
    """
    parts = topic.split("/")
    if len(parts) != 4 or parts[0] != "ml1" or not parts[2]:
        raise WireError("topic", topic[:80])
    return parts[2]
