"""Where readings live for good: one protocol, several engines."""
