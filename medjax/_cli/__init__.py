"""The command line."""

from medjax._cli._main import main as main
