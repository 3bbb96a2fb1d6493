"""What a run that copies says to people."""

from __future__ import annotations

from nile.sync.wording import MOST_COUNTS, MOST_DELETED, MOST_FOLDED, many_deletions

HEAD = "files and directories would be deleted: "


def test_what_would_be_deleted_is_shown_for_all_hosts_and_folded() -> None:
    doomed = {f"h{number}": (3, 6) for number in range(1, 13)}
    doomed |= {"h13": (4, 6), "h14": (1, 900), "h15": (0, 6)}
    assert many_deletions(doomed) == HEAD + "4 of 6 on h13 (1); 3 of 6 on h[1-12] (12); 1 of 900 on h14 (1)"


def test_a_few_deletions_are_no_question() -> None:
    assert many_deletions({"h1": (1, 10), "h2": (MOST_DELETED, 10 * MOST_DELETED), "h3": (0, 0)}) == ""
    assert many_deletions({"h1": (MOST_DELETED + 1, 10**6)}) == HEAD + "1001 of 1000000 on h1 (1)"


def test_a_question_is_short_whatever_hosts_are_called_and_would_lose() -> None:
    doomed = {f"{number * 7919 % 1000}-{'x' * 40}{number}y": (number, 6) for number in range(2, 1000)}
    said = many_deletions(doomed)
    assert said.endswith(f"; fewer on {len(doomed) - MOST_COUNTS} more")
    said = many_deletions(dict.fromkeys(doomed, (3, 6)))
    assert said.endswith(f" and {len(doomed) - 1} more")
    assert len(said) < 2 * MOST_FOLDED
