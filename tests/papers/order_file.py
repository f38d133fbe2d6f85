"""The CDNOW sample as a company's own file of orders: `python -m tests.papers.order_file var/cdnow.csv`."""

import csv
import sys
from pathlib import Path

from tests.papers.cdnow import data_folder

HEADER = ("customer_code", "order_date", "units", "net_amount_usd")


def write_order_file(path: Path) -> None:
    """6,919 orders of 2,357 people who bought music in 1997 and 1998, one a row."""
    lines = (data_folder() / "CDNOW_sample.txt").read_text("utf-8").split("\n")
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for master, _, day, units, amount in (line.split() for line in lines if line.strip()):
            out.writerow((f"C{master}", f"{day[:4]}-{day[4:6]}-{day[6:]}", units, amount))


if __name__ == "__main__":
    write_order_file(Path(sys.argv[1]))
