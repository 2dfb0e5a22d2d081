"""Chains of steps as text: one grammar for the command line, for TOML files and for Python."""
