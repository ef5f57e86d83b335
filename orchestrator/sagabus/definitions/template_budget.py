"""What one rendering may cost, counted before it is spent.

Counted and never timed: the same data must give the same outcome on a busy machine and when a
decision is taken again. A unit is about ten nanoseconds of work; the whole is well below a tenth
of a second.
"""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, Final

from jinja2 import Undefined
from jinja2.runtime import Context

#: Units that one rendering may spend.
COST_LIMIT: Final = 6_000_000
#: Longest text or list that an expression may make in one step.
MAX_LENGTH: Final = 1_000_000
#: Largest number that sizes, widths and precisions may take, and longest text that is wrapped.
MAX_SIZE: Final = 10_000
#: Longest text that says how something else is done: an attribute, an indentation.
MAX_WORD: Final = 1_000
MAX_INTEGER_BITS: Final = 4_096

#: Units of a call, of an element handed through a filter, of one that is compared or walked over.
CALL: Final = 120
ELEMENT: Final = 120
NODE: Final = 16
#: Under a name that no expression can spell.
BUDGET: Final = " budget"


class CostError(Exception):
    """An expression asks for more than a template may cost."""


class Budget:
    """What is left for one rendering."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = COST_LIMIT

    def charge(self, units: int) -> None:
        """Spend ``units``.

        Raises:
            CostError: more than is left.
        """
        self._left -= units
        if self._left < 0:
            raise CostError("more work than a template may make; leave it to an agent")

    def weigh(self, value: Any) -> None:
        """Pay for a walk over ``value`` and all in it, which a comparison may be."""
        kind = type(value)
        if kind is str:
            self.charge(1 + len(value) // 8)
        elif kind is list or kind is tuple:
            self.charge(NODE * len(value))
            for item in value:
                if type(item) in _LARGE:
                    self.weigh(item)
        elif kind is dict or (kind not in _SMALL and isinstance(value, Mapping)):
            self.charge(NODE * 2 * len(value))
            for item in value.values():
                if type(item) in _LARGE:
                    self.weigh(item)

    def handed(self, value: Any, units: int) -> Any:
        """``value``, paid for at ``units`` an element; what is made lazily is paid as it is drawn.

        A text counts by its characters, anything that is no collection is free.
        """
        if isinstance(value, Sized):
            self.charge(len(value) * units)
        elif isinstance(value, Iterator):
            return self.counted(value, units)
        return value

    def counted(self, items: Iterable[Any], units: int) -> Iterator[Any]:
        """``items``, each paid for as it is drawn."""
        for item in items:
            self.charge(units)
            yield item


_LARGE: Final = frozenset({str, list, tuple, dict})
_SMALL: Final = frozenset({int, float, bool, type(None)})


def budget_of(context: Context) -> Budget:
    """The budget of the rendering at hand."""
    budget: Budget = context.parent[BUDGET]
    return budget


def check_length(length: int) -> None:
    """Refuse a text or list of more than ``MAX_LENGTH`` elements."""
    if length > MAX_LENGTH:
        raise CostError(f"a text or list of {length:,} elements; at most {MAX_LENGTH:,}")


def check_size(size: int) -> None:
    """Refuse a size, width or precision of more than ``MAX_SIZE``."""
    if abs(size) > MAX_SIZE:
        raise CostError(f"a size of {size:,}; at most {MAX_SIZE:,}")


def check_measures(values: Iterable[Any]) -> None:
    """Refuse sizes and words that are too large, of those that say how something is done."""
    for value in values:
        if isinstance(value, int):
            check_size(value)
        elif isinstance(value, str):
            if len(value) > MAX_WORD:
                raise CostError(f"an argument of {len(value):,} characters; at most {MAX_WORD:,}")
        elif value is not None and not isinstance(value, float | Undefined):
            raise TypeError(f"an argument is a {type(value).__name__}; a number or a word can be")


def check_operands(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Refuse or pay for ``left operator right`` before it is done."""
    budget.charge(CALL)
    for value in (left, right):
        if isinstance(value, int):
            _check_bits(value.bit_length())
            budget.charge(value.bit_length() // 4)
    if operator == "*":
        _check_product(budget, left, right)
    elif operator == "**":
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * right)
            budget.charge(max(0, left.bit_length() * right) // 4)
    elif operator == "+" and isinstance(left, _JOINABLE) and isinstance(right, _JOINABLE):
        check_length(len(left) + len(right))
        budget.charge(len(left) + len(right))


_JOINABLE: Final = (str, list, tuple)


def _check_product(budget: Budget, left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, _JOINABLE) and isinstance(times, int):
            check_length(len(value) * times)
            budget.charge(max(0, len(value) * times))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise CostError(f"a number of about {bits:,} bits; at most {MAX_INTEGER_BITS:,}")
