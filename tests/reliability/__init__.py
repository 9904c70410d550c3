"""Long runs behind `docs/reliability.md`: ``python -m tests.reliability`` makes that page.

Each module does one thing for as long as it is told and says what came of it; the test suite runs
the same for a moment.
"""

import sys
from pathlib import Path

# The lists of the tests are found as they are by pytest.
sys.path.insert(0, str(Path(__file__).parent.parent))
