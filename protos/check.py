"""Lints the protos, and checks that they do not break what `baseline.binpb` promises. `--accept` makes a new baseline.

buf reads descriptor sets that protoc made, so nothing is fetched from a registry.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from build import write_image

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.binpb"


def main() -> int:
    """Returns 0 when the protos are well."""
    buf = str(Path(sys.executable).parent / "buf")
    if sys.argv[1:] == ["--accept"]:
        write_image(str(BASELINE), comments=False)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        image = str(Path(folder) / "image.binpb")
        write_image(image)
        config = str(HERE / "buf.yaml")
        for arguments in (["lint", image], ["breaking", image, "--against", str(BASELINE)]):
            done = subprocess.run([buf, *arguments, "--config", config], cwd=HERE, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
