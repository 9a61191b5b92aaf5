"""Compiles protos/ into typed stubs beside the services, on every install, wheel and `make protos`.

Stubs are never committed: this is a hatch build hook, and `python protos/build.py` does the same by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside a build
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUT = ROOT / "services"
DESCRIPTORS = OUT / "cordboard" / "api.binpb"
# No proto of ours imports them, and without them the transcoder leaves the body of a JSON error empty.
ERROR_DETAILS = ("google/rpc/error_details.proto", "google/rpc/status.proto")


def includes() -> list[str]:
    """Returns protoc's import roots: ours, protobuf's own, and googleapis."""
    import grpc_tools
    from google.api import annotations_pb2

    # Not sysconfig: it points outside pip's isolated build environment.
    googleapis = Path(annotations_pb2.__file__).parent.parent.parent
    return [f"-I{PROTOS}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}", f"-I{googleapis}"]


def run(*arguments: str) -> None:
    """Runs protoc with our import roots and stops the build when it fails."""
    from grpc_tools import protoc

    if protoc.main(["protoc", *includes(), *arguments]) != 0:
        raise SystemExit("protoc failed: the lines above say where")


def compile_protos() -> None:
    """Writes the stubs, their types, and the descriptor set that Envoy's JSON transcoder reads."""
    sources = sorted(str(path) for path in PROTOS.glob("cordboard/**/*.proto"))
    run(
        f"--python_out={OUT}",
        f"--grpc_python_out={OUT}",
        f"--mypy_out={OUT}",
        f"--mypy_grpc_out={OUT}",
        *sources,
    )
    run("--include_imports", f"--descriptor_set_out={DESCRIPTORS}", *sources, *ERROR_DETAILS)
    # A stub whose proto is gone would go on being importable.
    stems = {Path(source).relative_to(PROTOS).with_suffix("") for source in sources}
    for stub in OUT.glob("cordboard/*/v1/*_pb2*"):
        if stub.relative_to(OUT).with_name(stub.name.partition("_pb2")[0]) not in stems:
            stub.unlink()
    for package in {Path(source).relative_to(PROTOS).parent for source in sources}:
        (OUT / package / "__init__.py").touch()  # import-linter sees regular packages only


def write_image(path: str, *, comments: bool = True) -> None:
    """Writes a descriptor set to `path`, for `buf lint` (which reads comments) and `buf breaking`."""
    sources = sorted(str(source) for source in PROTOS.glob("cordboard/**/*.proto"))
    run("--include_imports", *(["--include_source_info"] if comments else []), f"--descriptor_set_out={path}", *sources)


class StubsHook(BuildHookInterface):  # type: ignore[misc]
    """Hatch calls this before it collects files, for editable installs too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatch's signature
        """Compiles the protos with the tools of the build environment."""
        # mypy-protobuf's plugins are console scripts beside this interpreter, which pip does not put on PATH.
        import os

        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        compile_protos()


if __name__ == "__main__":
    StubsHook.initialize(None, "", {})  # type: ignore[arg-type]
