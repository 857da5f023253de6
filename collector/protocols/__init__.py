"""Pure codecs, one module a protocol."""
