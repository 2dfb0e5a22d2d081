"""Where pickles of medjax 0.1.0 look for what is here; nothing of the package imports it."""
