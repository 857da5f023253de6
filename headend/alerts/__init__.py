"""A finding becomes an alarm, an alarm becomes a mail."""
