"""Edge, bus side: bytes on a wire become Polls."""
