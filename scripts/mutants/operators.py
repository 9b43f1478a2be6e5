"""Mutations: a selection of cosmic-ray's, and those that it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import parso
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

_BINARY = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitAnd", "LShift_RShift", "RShift_LShift"),
)
_COMPARISONS = (
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt"),
    *("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Is_IsNot", "IsNot_Is"),
)
_OTHERS = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr"),
    *("ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
)
_ARITHMETIC = ("arith_expr", "term", "expr", "xor_expr", "and_expr", "shift_expr", "power")


class _Own(Operator):
    """A mutation of one node: `changed` returns its new code, or None where it does not apply."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the node's place if it can be mutated."""
        if self.changed(node) is not None:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the new node."""
        first = node.get_first_leaf()
        return parso.parse(first.prefix + (self.changed(node) or ""))

    def changed(self, node: Any) -> str | None:
        """Return the new code of the node, without what stands before it."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> tuple[()]:
        """Return none: these are not used through cosmic-ray's own commands."""
        return ()


class ReturnNone(_Own):
    """Return None instead of a value."""

    def changed(self, node: Any) -> str | None:
        """Return the new code of the node, without what stands before it."""
        if node.type != "return_stmt" or node.children[1].get_code().strip() == "None":
            return None
        return "return None"


class RemoveStatement(_Own):
    """Do nothing instead of a call, a raise, or an assignment that changes what exists."""

    def changed(self, node: Any) -> str | None:
        """Return the new code of the node, without what stands before it."""
        if node.parent is None or node.parent.type != "simple_stmt":
            return None
        if node.type == "expr_stmt":
            target, operator = node.children[0], getattr(node.children[1], "value", "")
            is_new = operator == "=" and target.type not in ("atom_expr", "power")
            return "pass" if operator and not is_new else None
        is_call = node.type == "atom_expr" and node.get_last_leaf().value == ")"
        return "pass" if is_call or node.type in ("raise_stmt", "del_stmt") else None


class Membership(_Own):
    """Swap `in` and `not in`."""

    def changed(self, node: Any) -> str | None:
        """Return the new code of the node, without what stands before it."""
        if node.parent is None or node.parent.type != "comparison":
            return None
        return {"in": "not in", "not in": "in"}.get(node.get_code(include_prefix=False))


class AugmentedAssignment(_Own):
    """Swap `+=` and `-=`, `*=` and `/=`, `|=` and `&=`."""

    def changed(self, node: Any) -> str | None:
        """Return the new code of the node, without what stands before it."""
        swapped = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|="}
        return swapped.get(getattr(node, "value", ""))


def operators() -> dict[str, Operator]:
    """Return all mutations by name."""
    provider = OperatorProvider()
    names = [
        *(f"ReplaceBinaryOperator_{pair}" for pair in _BINARY),
        *(f"ReplaceComparisonOperator_{pair}" for pair in _COMPARISONS),
        *(name for name in provider if name.startswith("ReplaceUnaryOperator_Delete_")),
        *_OTHERS,
    ]
    own = (ReturnNone, RemoveStatement, Membership, AugmentedAssignment)
    return {name: provider[name]() for name in names} | {kind.__name__: kind() for kind in own}


def applies(name: str, node: Any) -> bool:
    """Whether a node that cosmic-ray would mutate is what it takes it for: stars often are not."""
    return not name.startswith("ReplaceBinaryOperator") or node.parent.type in _ARITHMETIC
