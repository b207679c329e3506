"""Pure decisions: from a snapshot and the time to a frozen plan. No I/O, no clock, no logging, no randomness."""
