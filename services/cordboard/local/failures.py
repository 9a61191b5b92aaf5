"""What can keep a local mesh from running, each failure named by its fact."""

from __future__ import annotations


class MeshFailure(Exception):
    """The local mesh cannot do what was asked; the text says why and what to do."""


class AlreadyRunning(MeshFailure):
    """Another mesh holds the state directory."""


class NotRunning(MeshFailure):
    """No mesh runs in the state directory."""


class ProgramMissing(MeshFailure):
    """A program that the mesh needs is not installed."""


class StartFailed(MeshFailure):
    """A process of the mesh did not become ready."""


class Unusable(MeshFailure):
    """The state directory or the account does not allow to run here."""
