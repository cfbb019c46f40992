"""Messages to users: names that nothing has, several things in a few words, and packages that are missing."""

from __future__ import annotations

import pytest

from kneeal.errors import UserError, count, extra, reason_of, some, unknown_name


def test_an_unknown_name_suggests_the_nearest_one_and_names_forty_at_most() -> None:
    assert unknown_name("cell", "entropi", ["margin", "entropy"], "see the list").cure == "did you mean 'entropy'?"
    far = unknown_name("cell", "x", [f"cell{k}" for k in range(43)], "see the list")
    assert far.cure == "see the list" and far.expected.endswith(", cell39 and 3 more")
    assert unknown_name("cell", "x", [], "see the list").expected == "one of: none"


def test_several_things_in_a_few_words() -> None:
    assert some(["a", "b"]) == "a, b" and some("abcdefg", 2) == "a, b and 5 more" and some([]) == ""
    assert [count(n, "knee") for n in (0, 1, 1200)] == ["0 knees", "1 knee", "1,200 knees"]


def test_the_reason_of_an_error_is_one_line_and_never_empty() -> None:
    assert reason_of(ValueError("one\n  two")) == "one two"
    assert reason_of(TimeoutError()) == "TimeoutError"
    assert len(reason_of(ValueError("x" * 1000))) == 300


def test_a_missing_package_is_named_with_its_extra_and_a_fault_of_our_own_is_not_taken_for_one() -> None:
    with pytest.raises(UserError, match=r"(?s)no_such_package is not installed.*'\.\[ray\]'"), extra("ray", "--ray"):
        import no_such_package  # noqa: F401
    with pytest.raises(ImportError, match="no_such_name"), extra("ray", "--ray"):
        from kneeal.errors import no_such_name  # type: ignore[attr-defined]  # noqa: F401
