"""`python -m medjax`."""

import sys

from medjax._cli import main

if __name__ == "__main__":
    sys.exit(main())
