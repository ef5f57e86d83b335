"""What every way from the root of a graph to a node goes through.

Source: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm" (2001).
"""

from collections.abc import Mapping, Sequence


class Dominators:
    """The dominator tree of what ``root`` leads to in ``graph``, successors by node."""

    def __init__(self, graph: Mapping[str, Sequence[str]], root: str) -> None:
        self._root = root
        #: The nodes, in postorder: the root is the last.
        self.order = _postorder(graph, root)
        #: Nodes that lead to a node.
        self.before: dict[str, list[str]] = {name: [] for name in self.order}
        for name in self.order:
            for target in dict.fromkeys(graph[name]):
                self.before[target].append(name)
        self._number = {name: index for index, name in enumerate(self.order)}
        #: The last node that every way to a node goes through; of the root itself.
        self.immediate = {root: root}
        while self._refine():
            pass

    def chain(self, name: str) -> list[str]:
        """Everything that every way to ``name`` goes through, from it on up to the root."""
        found = [name]
        while found[-1] != self._root:
            found.append(self.immediate[found[-1]])
        return found

    def _refine(self) -> bool:
        is_changed = False
        for name in reversed(self.order[:-1]):
            known = [arm for arm in self.before[name] if arm in self.immediate]
            best = known[0]
            for arm in known[1:]:
                best = self._common(best, arm)
            if self.immediate.get(name) != best:
                self.immediate[name] = best
                is_changed = True
        return is_changed

    def _common(self, one: str, two: str) -> str:
        number, immediate = self._number, self.immediate
        while one != two:
            while number[one] < number[two]:
                one = immediate[one]
            while number[two] < number[one]:
                two = immediate[two]
        return one


def _postorder(graph: Mapping[str, Sequence[str]], root: str) -> list[str]:
    order: list[str] = []
    seen = {root}
    stack = [(root, iter(graph[root]))]
    while stack:
        name, following = stack[-1]
        new = next((one for one in following if one not in seen), None)
        if new is None:
            order.append(name)
            stack.pop()
        else:
            seen.add(new)
            stack.append((new, iter(graph[new])))
    return order
