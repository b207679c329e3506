"""The running operator: gathers, lets decide, applies, tells. All I/O of the control loop is here."""
