"""Command line: the composition root; nobody imports it."""
