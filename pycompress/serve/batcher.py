"""Runs the requests of one model: those that wait at the same time share a batch, where the model allows it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from .._pcx import lib
from ..batches import Batches
from ..errors import PycompressError
from ..session import InferenceSession
from .limits import Limits, Refused

Arrays = dict[str, np.ndarray]
SHORT = 0.002  # seconds of a run that is done in the event loop: handing it to a thread would take about as long


@dataclass(eq=False)
class Waiting:
    """A request in the queue; requests with equal keys may share a batch."""

    feed: Arrays
    samples: int
    key: object  # None: it is run alone
    since: float
    future: asyncio.Future


class Batcher:
    """A model with its queue and the threads that run it.

    While all threads are busy, requests gather; the thread that is free next takes as many as fit into a batch. Their
    samples lie in rows of their own, and a result depends on its own sample alone (``Batches.mixed`` has tried that).

    Parameters
    ----------
    session : InferenceSession
    max_batch : int
        The samples of a batch; 1: requests are run one by one.
    max_delay : float
        Seconds that a request may wait for others while a thread is free.
    workers : int
        Runs at a time.
    limits : Limits

    Attributes
    ----------
    why_alone : str
        Why requests do not share batches; empty if they do.
    """

    def __init__(self, session: InferenceSession, max_batch: int, max_delay: float, workers: int, limits: Limits):
        self.session, self.max_batch, self.max_delay, self.limits = session, max_batch, max_delay, limits
        self.batches = Batches(session, max_batch, self._within_memory)
        self.why_alone = self.batches.mixed() if max_batch > 1 else "a batch is one sample"
        with suppress(PycompressError):  # plan now what the first request needs, where no client chooses shapes
            session.explain()
        self.inputs, self.outputs = self.batches.inputs, self.batches.outputs
        shared = 0 if self.why_alone else 1  # the leading dimensions whose sizes have been planned
        self._planned = all(isinstance(d, int) for port in self.inputs for d in port.shape[shared:])
        self._seconds = math.inf  # of the last run, if it cannot have planned
        self.queue: list[Waiting] = []
        self.workers = workers
        self.observe: Callable[[int, float], None] = lambda samples, seconds: None
        self._pool = ThreadPoolExecutor(workers, "pycompress-serve")
        self._tasks: list[asyncio.Task] = []

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._wake = asyncio.Event()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.workers)]

    async def close(self) -> None:
        """Stop, when what runs has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown()

    async def infer(self, feed: Arrays) -> Arrays:
        """The outputs for one request; when the caller is cancelled, what still waits is not run."""
        rows = {len(x) if x.ndim else None for x in feed.values()}
        shared = not self.why_alone and len(rows) == 1 and None not in rows
        key = tuple((name, x.shape[1:]) for name, x in sorted(feed.items())) if shared else None
        future = asyncio.get_running_loop().create_future()
        self.queue.append(Waiting(feed, rows.pop() if shared else 1, key, time.monotonic(), future))
        self._wake.set()
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next()
            samples, began = sum(item.samples for item in batch), time.monotonic()
            try:
                if self._seconds < SHORT and samples <= self.max_batch:
                    results = self._run(batch)
                else:
                    results = await loop.run_in_executor(self._pool, self._run, batch)
            except Exception as error:  # a worker that ends would leave its requests waiting
                results = [error] * len(batch)
            seconds = time.monotonic() - began
            self.observe(samples, seconds)
            if self._planned:
                self._seconds = seconds
            for item, result in zip(batch, results):
                if item.future.done():  # its client has gone
                    continue
                if isinstance(result, BaseException):
                    item.future.set_exception(result)
                else:
                    item.future.set_result(result)
            await asyncio.sleep(0)  # short runs, too, let the event loop turn

    async def _next(self) -> list[Waiting]:
        """The requests to run next, when there are any."""
        while True:
            self.queue = [item for item in self.queue if not item.future.done()]
            if not self.queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            first, batch, samples = self.queue[0], [], 0
            for item in self.queue:
                fits = item.key is not None and item.key == first.key and samples + item.samples <= self.max_batch
                if item is first or fits:
                    batch.append(item)
                    samples += item.samples
            left = first.since + self.max_delay - time.monotonic()
            if first.key is not None and samples < self.max_batch and left > 0:
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), left)
                except asyncio.TimeoutError:
                    pass
                continue
            taken = set(map(id, batch))
            self.queue = [item for item in self.queue if id(item) not in taken]
            return batch

    def _run(self, batch: list[Waiting]) -> list[Arrays | Exception]:
        """A result or an exception for each request; where a batch fails, each of its requests is run by itself."""
        if len(batch) > 1:
            feed = {name: np.concatenate([item.feed[name] for item in batch]) for name in batch[0].feed}
            try:
                outputs = self.batches.run(feed)
            except Exception:  # it is told to the request that causes it
                return [result for item in batch for result in self._run([item])]
            ends = np.cumsum([item.samples for item in batch])
            return [{n: y[end - item.samples : end] for n, y in outputs.items()} for item, end in zip(batch, ends)]
        (item,) = batch
        try:
            if item.key is not None:
                return [self.batches.run(item.feed)]
            return [dict(zip([port.name for port in self.outputs], self._within_memory(item.feed)))]
        except Exception as error:
            return [error]

    def _within_memory(self, feed: Arrays) -> list[np.ndarray]:
        """One run, unless its activations take too much memory: clients may choose shapes."""
        program, _ = self.session._match(feed)
        need = lib.pcx_plan_arena(program.plan.handle, program.index)
        if need > self.limits.memory:
            raise Refused(413, f"activations of {need} bytes are above the limit of {self.limits.memory}")
        return self.session.run(None, feed)
