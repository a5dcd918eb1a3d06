"""Compute book/real_numbers.csv from a folder that holds SRP169576.h5ad.

    python scripts/real_numbers.py FOLDER

A few minutes on one core.  The table is committed; the cells are not.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from scarafm_utils.errors import InputError
from scarafm_utils.real_numbers import write_real_numbers


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            today = datetime.date.today().isoformat()
            path = write_real_numbers(
                arguments[0], Path(folder), date=today, command="python scripts/real_numbers.py FOLDER"
            )
        except InputError as error:
            print(f"real_numbers: {error}", file=sys.stderr)
            return 1
    print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
