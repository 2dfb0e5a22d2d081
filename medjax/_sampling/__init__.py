"""Sampling kernels, arrays in and arrays out: taps and boundaries, gathers, separable maps, and their transposes."""
