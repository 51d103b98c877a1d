"""The roster: members that hear the same agree, and joins and leaves alternate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.socketio.roster import Place, Roster

TAGS = ["one", "two", "three"]
Step = tuple[str, Place, str, str | None]

steps = st.lists(
    st.tuples(
        st.sampled_from(TAGS),
        st.sampled_from([("/", None), ("/", "red"), ("/b", "red")]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from([None, "", "1", "2"]),
    ),
    max_size=40,
)


def hear(roster: Roster, step: Step) -> None:
    tag, place, who, meta = step
    if meta is None:
        roster.drop(tag, place, who)
    else:
        roster.put(tag, place, who, meta)


def listed(roster: Roster) -> dict[Place, dict[str, str]]:
    places = [("/", None), ("/", "red"), ("/b", "red")]
    return {place: dict(roster.present(place)) for place in places}


@given(steps, st.permutations(TAGS))
def test_the_order_of_members_does_not_matter(told: list[Step], order: list[str]) -> None:
    """Only the order of what one member tells is kept on the way."""
    mixed, by_member = Roster(1000), Roster(1000)
    for step in told:
        hear(mixed, step)
    for tag in order:
        for step in told:
            if step[0] == tag:
                hear(by_member, step)
    assert listed(mixed) == listed(by_member)
    assert len(mixed) == len(by_member) == sum(len(mixed.entries(tag)) for tag in TAGS)


@given(steps, st.sets(st.integers(0, 40)))
def test_changes_lead_from_one_list_to_the_next(told: list[Step], looks: set[int]) -> None:
    """Joins and leaves, taken now and then, say exactly who is there: none is told twice."""
    roster = Roster(1000)
    known: set[tuple[Place, str]] = set()
    for number, step in enumerate(told):
        hear(roster, step)
        if number in looks:
            _take(roster, known)
    for tag in TAGS:
        for place, who in tuple(roster.entries(tag)):
            roster.drop(tag, place, who)
    _take(roster, known)
    assert not known
    assert len(roster) == 0
    assert not roster.tags()


def _take(roster: Roster, known: set[tuple[Place, str]]) -> None:
    for change in roster.take_changes():
        key = change.place, change.who
        assert (key not in known) is change.has_joined
        (known.add if change.has_joined else known.remove)(key)
    assert known == {(place, who) for place, each in listed(roster).items() for who in each}


def test_a_full_roster_takes_nobody_but_those_it_has() -> None:
    roster = Roster(1)
    assert roster.put("one", ("/", "red"), "ann", "")
    assert not roster.put("one", ("/", "red"), "bob", "")
    assert not roster.put("two", ("/", "red"), "ann", "")
    assert roster.put("one", ("/", "red"), "ann", "1")
    assert listed(roster)["/", "red"] == {"ann": "1"}
