"""Arrays in, arrays out: gathers, bands, splines, and how they are compiled and batched."""
