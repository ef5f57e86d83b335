"""Pure: no await, no clock, no random, no I/O. What happens next is decided here, and only here."""
