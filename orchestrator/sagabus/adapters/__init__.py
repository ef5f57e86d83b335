"""One file per outside thing; each translates its driver's errors at the boundary."""
