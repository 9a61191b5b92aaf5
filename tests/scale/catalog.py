"""Lists, searches, streams and memory of a catalog of 2,000 integrations with 60,000 actions.

CORDBOARD_SCALE_INTEGRATIONS and CORDBOARD_SCALE_ACTIONS (of each) make it another size. A missed aim ends the run with
status 1.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def main() -> None:
    """Measures, and prints the figures; exits with 1 where an aim was missed."""
    measured = Path(__file__).with_name("_catalog_measured.py")
    code = pytest.main([str(measured), "-q", "-s", "-p", "no:cacheprovider"])
    if code:
        raise SystemExit(int(code))


if __name__ == "__main__":
    main()
