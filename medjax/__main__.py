"""`python -m medjax`."""

import sys

from medjax._cli._main import main

if __name__ == "__main__":
    sys.exit(main())
