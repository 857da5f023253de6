"""Live pages and their JSON."""
