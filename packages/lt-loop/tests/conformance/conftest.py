"""Makes the plain implementations importable, wherever the suite is run from."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
