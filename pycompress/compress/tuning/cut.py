"""The cheapest division of a graph in two: the minimum cut, by Dinic's algorithm."""

from __future__ import annotations

from collections import deque


class Cut:
    """Binary variables, each true or false at a cost, with costs of pairs that differ.

    Source of the method: Kolmogorov and Zabih, "What energy functions can be minimized via graph cuts?", 2004.
    """

    def __init__(self):
        self.ends: list[int] = []
        self.capacity: list[float] = []
        self.edges: list[list[int]] = [[], []]  # of the source, which is true, and of the sink
        self.names: dict[str, int] = {}

    def _node(self, name: str) -> int:
        if name not in self.names:
            self.names[name] = len(self.edges)
            self.edges.append([])
        return self.names[name]

    def _edge(self, a: int, b: int, capacity: float) -> None:
        for start, end, size in ((a, b, capacity), (b, a, 0.0)):
            self.edges[start].append(len(self.ends))
            self.ends.append(end)
            self.capacity.append(size)

    def choice(self, name: str, true: float, false: float) -> None:
        """The costs of `name` being true, and being false; only their difference matters."""
        node, base = self._node(name), min(true, false)
        self._edge(0, node, false - base)
        self._edge(node, 1, true - base)

    def differ(self, true: str, false: str, cost: float) -> None:
        """The cost of the first being true while the second is false."""
        self._edge(self._node(true), self._node(false), cost)

    def solve(self) -> dict[str, bool]:
        """The cheapest values."""
        while (levels := self._levels())[1] >= 0:
            at = [0] * len(self.edges)
            while self._push(0, float("inf"), levels, at) > 0:
                pass
        return {name: levels[node] >= 0 for name, node in self.names.items()}

    def _levels(self) -> list[int]:
        levels, queue = [-1] * len(self.edges), deque([0])
        levels[0] = 0
        while queue:
            node = queue.popleft()
            for e in self.edges[node]:
                if self.capacity[e] > 1e-12 and levels[self.ends[e]] < 0:
                    levels[self.ends[e]] = levels[node] + 1
                    queue.append(self.ends[e])
        return levels

    def _push(self, node: int, flow: float, levels: list[int], at: list[int]) -> float:
        """Pushes flow along one path of the layered graph, without recursion; returns how much."""
        path: list[int] = []
        while node != 1:
            while at[node] < len(self.edges[node]):
                e = self.edges[node][at[node]]
                if self.capacity[e] > 1e-12 and levels[self.ends[e]] == levels[node] + 1:
                    break
                at[node] += 1
            else:
                if not path:
                    return 0.0
                node = self.ends[path.pop() ^ 1]
                at[node] += 1
                continue
            path.append(e)
            node = self.ends[e]
        flow = min(flow, *(self.capacity[e] for e in path))
        for e in path:
            self.capacity[e] -= flow
            self.capacity[e ^ 1] += flow
        return flow
