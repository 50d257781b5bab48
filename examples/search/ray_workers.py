"""Spreads the workers of a search over the machines of a Ray cluster, or over the cores of this one.

    pip install ray
    python examples/search/ray_workers.py SPACE.yaml --latency-us 100 --workers 2 --out OUT
        [--storage postgresql://...] [--address auto] [--method evolution] [--trials 100]

Latencies are those of the machine that this script runs on: it fills the table, and the workers only train. On several
machines the study needs a database that all of them reach, and the images the same path everywhere. Ray moves nothing but
the search's description; trials of a machine that disappears are repeated by the others.
"""

from __future__ import annotations

import argparse

import ray

from pycompress.search import front, study
from pycompress.search.setup import Options, setup
from pycompress.search.space import read


@ray.remote(num_cpus=1, max_retries=3)
def worker(search: study.Search) -> None:
    study.work(search)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("space")
    parser.add_argument("--latency-us", type=float, required=True)
    parser.add_argument("--method", default="evolution")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out")
    parser.add_argument("--storage", help="default: a sqlite file, for workers of this machine only")
    parser.add_argument("--address", help="of a cluster; default: this machine")
    args = parser.parse_args()
    options = Options(
        args.space, args.latency_us * 1e-6, args.method, args.trials, args.out, args.storage,
        workers=max(args.workers, 2), resume=True,
    )  # fmt: skip
    search, _ = setup(options)
    ray.init(address=args.address, num_cpus=None if args.address else args.workers, include_dashboard=False)
    ray.get([worker.remote(search) for _ in range(args.workers)])
    done = study.prepare(search)
    head, rows = front.rows(front.front(front.points(done, read(search.space))), [])
    for row in [head, *rows]:
        print(*row, sep="\t")


if __name__ == "__main__":
    main()
