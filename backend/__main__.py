"""`python -m backend` and `selvedge`."""

import os
import sys

# before anything imports numpy: its threads cost more than they bring on the small machines this runs on
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from backend.cli.main import run  # noqa: E402


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
