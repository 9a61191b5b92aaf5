"""A stand-in SaaS vendor, "Acme Desk": the demo's vendor and the tests' upstream; it knows nothing of Cordboard."""

from __future__ import annotations

from cordboard.sandbox.browser import ConsentFailed, consent
from cordboard.sandbox.faults import Fault
from cordboard.sandbox.server import serving
from cordboard.sandbox.settings import Settings
from cordboard.sandbox.vendor import Vendor

__all__ = ["ConsentFailed", "Fault", "Settings", "Vendor", "consent", "serving"]
