"""Makes the cost table that is shipped for the instruction set in use: products of the zoo's networks, dense and sparse.

[PYCOMPRESS_CPU=scalar] python bench/make_costs.py [--networks mobilenetv1,mobilenetv2]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import date
from pathlib import Path

import as_cpu
from bench_models import words
from peer_models import NETWORKS

from pycompress import optimize, zoo
from pycompress.advice import measure, products
from pycompress.cli.output import Output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=words, default=list(NETWORKS), metavar="A,B")
    as_cpu.add_argument(parser)
    args = parser.parse_args()
    as_cpu.enter(args)
    shapes = {shape for network in args.networks for _, shape in products(zoo.build(network))[0]}
    with Output().progress("measuring", len(shapes)) as tick:
        costs = measure(shapes, progress=lambda *_: tick())
    command = shlex.join(["python", "bench/make_costs.py", *sys.argv[1:]])
    path = Path(optimize.__file__).with_name(f"costs_{costs.isa.partition(' ')[0]}.json")
    costs.save(path, date=date.today().isoformat(), command=command)
    print(f"{path}: {len(shapes)} shapes")


if __name__ == "__main__":
    main()
