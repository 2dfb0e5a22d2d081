"""Where the public test scans lie that are not part of the repository; tests that need them skip where they are missing.

Use: `from shared_data import DATA, needs_data`.
"""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
